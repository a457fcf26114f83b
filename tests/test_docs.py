"""The code of the documentation runs: Python blocks of a page one after the other, commands as they stand."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sleap_infer.cli.app import app

REPOSITORY = Path(__file__).resolve().parents[1]
PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
NEEDS_A_SHELL = ("make", "pip")


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.fixture
def workplace(tmp_path: Path, models: Path, videos: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what the pages speak of: `video.mp4`, `session.mp4`, `labels.slp`, `videos/` and `models/`."""
    import sleap_io as sio

    for name in ("video.mp4", "session.mp4"):
        shutil.copy(videos / "two_flies.mp4", tmp_path / name)
    (tmp_path / "models").symlink_to(models)
    (tmp_path / "videos").mkdir()
    for name in ("a.mp4", "b.mp4"):
        shutil.copy(videos / "two_flies.mp4", tmp_path / "videos" / name)
    (tmp_path / "list.csv").write_text("video,output,frames\nvideos/a.mp4,first.slp,0-9\nvideos/b.mp4,,\n")
    truth = sio.load_slp(str(videos / "two_flies.truth.slp"), open_videos=False)
    truth.replace_filenames(new_filenames=[str(tmp_path / "video.mp4")])
    truth.labeled_frames = truth.labeled_frames[:5]
    truth.save(str(tmp_path / "labels.slp"), embed=False, verbose=False)
    monkeypatch.setenv("SLEAP_INFER_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_blocks_run(page: Path, workplace: Path) -> None:
    namespace: dict[str, object] = {}
    for block in blocks(page, "python"):
        exec(compile(block, str(page), "exec"), namespace)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_run(page: Path, workplace: Path) -> None:
    for block in blocks(page, "bash"):
        for line in block.splitlines():
            program, *arguments = shlex.split(line, comments=True) or [""]
            if program == "sleap-infer":
                result = CliRunner().invoke(app, arguments, catch_exceptions=False)
                assert result.exit_code == 0, result.output
            else:
                assert program in ("", *NEEDS_A_SHELL), f"{page.name}: {line!r} is not tested"


def test_links_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
