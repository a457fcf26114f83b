"""The code of the documentation runs, its links resolve, and it uses the words of the field.

Python blocks of a page run one after the other, commands as they stand. Most pages run only with --exhaustive: what
they do is tested elsewhere. Names and options of all pages are checked each time.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import json
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from typer.testing import CliRunner

import sleap_infer
from sleap_infer.cli.app import app

REPOSITORY = Path(__file__).resolve().parents[1]
PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
QUICK = ("README.md", "python.md")
NEEDS_A_SHELL = ("make", "pip")
PROSE = [*PAGES, REPOSITORY / "CONTRIBUTING.md", REPOSITORY / "CHANGELOG.md"]
PRIVATE_WORDS = (
    r"lanes?",
    r"ledgers?",
    r"sentinels?",
    r"verdicts?",
    r"guilty",
    r"mend(s|ed|ing)?",
    r"baked",
    r"capped",
    r"surplus",
    r"by itself",
    r"bit by bit",
    r"so many",
    r"(look|looks|looked) (at )?twice",
    r"in (twos|fours|eights)",
    r"a processor",
    r"whole numbers",
    r"the gate",
)
"""Words of earlier documents that readers had to learn; code spans may still hold them, as names."""


STAYS = ('"lanes"', '"ledger"', "ledger.csv")
"""Names that users, files and other programs know."""
STORED = (r"verdicts?", r"baked", r"capped", r"surplus", r"so many")
"""Words that are names in stored files, or that code needs in another meaning."""


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


def run_or_exhaustive(page: Path) -> Any:
    """Return a page as a parameter: that of README runs in each run of the tests, that of others is exhaustive."""
    return pytest.param(page, id=page.name, marks=[] if page.name in QUICK else pytest.mark.exhaustive)


def commands(page: Path) -> list[list[str]]:
    """Return the words of each command of a page."""
    found = [shlex.split(line, comments=True) for block in blocks(page, "bash") for line in block.splitlines()]
    assert {words[0] for words in found if words} <= {"sleap-infer", *NEEDS_A_SHELL}, f"{page.name}: not tested"
    return [words for words in found if words and words[0] == "sleap-infer"]


@pytest.mark.parametrize("page", [run_or_exhaustive(page) for page in PAGES])
def test_python_blocks_run(page: Path, workplace: Path) -> None:
    namespace: dict[str, object] = {}
    for block in blocks(page, "python"):
        exec(compile(block, str(page), "exec"), namespace)


@pytest.mark.parametrize("page", [run_or_exhaustive(page) for page in PAGES])
def test_commands_run(page: Path, workplace: Path) -> None:
    for words in commands(page):
        result = CliRunner().invoke(app, words[1:], catch_exceptions=False)
        assert result.exit_code == 0, result.output


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_blocks_name_what_exists(page: Path) -> None:
    """Whatever they import is there; they run where a test of the same name does not."""
    for block in blocks(page, "python"):
        for node in ast.walk(ast.parse(block, str(page))):
            if isinstance(node, ast.ImportFrom) and node.module:
                module = importlib.import_module(node.module)
                for item in node.names:
                    assert hasattr(module, item.name) or importlib.import_module(f"{node.module}.{item.name}")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_have_these_options(page: Path, workplace: Path) -> None:
    """Each line is parsed, with its files in place."""
    group: Any = typer.main.get_command(app)
    for words in commands(page):
        context = group.make_context("sleap-infer", words[1:])
        name, command, rest = group.resolve_command(context, words[1:])
        command.make_context(name, rest, parent=context)


def slug(heading: str) -> str:
    """Return the anchor of a heading, as mkdocs and GitHub form it."""
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower())


def without_code(text: str) -> str:
    """Return Markdown without fenced and indented blocks, code spans and link targets."""
    text = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"^    .*$|`[^`]*`", "", text, flags=re.MULTILINE)
    return re.sub(r"\]\([^)]*\)", "]", text)


def test_links_resolve() -> None:
    for page in PROSE:
        text = page.read_text(encoding="utf-8")
        for target, anchor in re.findall(r"\]\(([^)#:]*)(?:#([^)]*))?\)", text):
            where = page.parent / target if target else page
            assert where.exists(), f"{page.name}: {target}"
            if anchor and where.name != "reference.md":
                headings = re.findall(r"^#+ (.*)$", where.read_text(encoding="utf-8"), re.MULTILINE)
                assert anchor in map(slug, headings), f"{page.name}: {target}#{anchor}"


def test_every_page_is_in_the_navigation() -> None:
    navigation = (REPOSITORY / "mkdocs.yml").read_text(encoding="utf-8")
    for page in (REPOSITORY / "docs").glob("*.md"):
        assert f": {page.name}\n" in navigation, page.name


def test_the_citation_names_this_version() -> None:
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == sleap_infer.__version__
    assert {"cff-version", "message", "title", "authors"} <= set(citation)


def test_the_readme_is_short() -> None:
    assert len((REPOSITORY / "README.md").read_text(encoding="utf-8").splitlines()) < 120


@pytest.mark.parametrize("page", PROSE, ids=lambda page: page.name)
def test_words_are_those_of_the_field(page: Path) -> None:
    prose = without_code(page.read_text(encoding="utf-8"))
    found = [word for word in PRIVATE_WORDS if re.search(rf"\b{word}\b", prose, re.IGNORECASE)]
    assert not found, f"{page.name}: {found}"


def test_images_are_small_and_the_chart_is_that_of_the_results() -> None:
    images = REPOSITORY / "docs" / "images"
    spec = importlib.util.spec_from_file_location("make_images", images / "make_images.py")
    assert spec is not None
    assert spec.loader is not None
    make_images = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make_images)
    results = json.loads(make_images.RESULTS.read_text(encoding="utf-8"))
    assert (images / "speed.svg").read_text(encoding="utf-8") == make_images.draw_speed(results)
    assert (images / "poses.png").stat().st_size < 200_000


def test_code_uses_the_words_of_the_field() -> None:
    """Identifiers, docstrings, comments, help and messages; names of stored fields may stay."""
    words = [word for word in PRIVATE_WORDS if word not in STORED]
    pattern = re.compile(rf"(?<![a-zA-Z])({'|'.join(words)})(?![a-zA-Z])", re.IGNORECASE)
    found = []
    for path in sorted((REPOSITORY / "sleap_infer").rglob("*.py")):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            for name in STAYS:
                line = line.replace(name, "")
            found += [f"{path.relative_to(REPOSITORY)}:{number}: {match[0]}" for match in pattern.finditer(line)]
    assert not found
