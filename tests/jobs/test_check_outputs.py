"""Nothing that a command opens is replaced by what it writes, whatever paths lead to it; all before anything runs."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from unittest import mock

import pytest
import sleap_io as sio
from jobs import models_of, task_in

from sleap_infer.choices import OutputFormat
from sleap_infer.errors import OptionError, OutputError, SourceFormatError, SourceNotFoundError
from sleap_infer.jobs import JobOptions, Outputs, Task, find_tasks, run_job
from sleap_infer.jobs.plan.check_outputs import check_targets, problem_of, refuse_targets
from sleap_infer.jobs.plan.naming import with_ending
from sleap_infer.jobs.write.merge import find_journals, merge_journals
from sleap_infer.system import files


@pytest.fixture
def place(tmp_path: Path, videos: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Labels of a video, as a person made them, and other things that a job may open."""
    for name in ("a.mp4", "b.mp4", "days/c.mp4", "days/c.avi", "images/1.png", "x.journal/1.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    labels = sio.load_slp(str(videos / "two_flies.truth.slp"), open_videos=False).extract([0, 1])
    labels.save(str(tmp_path / "labels.slp"), verbose=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def check(
    given: list[str], outputs: Outputs, formats: tuple[OutputFormat, ...] = (), models: tuple[str, ...] = ()
) -> None:
    """What a command checks before anything runs."""
    wanted = Outputs(outputs.name, outputs.folder, outputs.merge, formats)
    check_targets(find_tasks(given, wanted), formats or ("slp",), models)


@pytest.mark.parametrize(
    ("given", "outputs", "formats"),
    [
        (["labels.slp"], Outputs("labels"), ()),
        (["labels.slp"], Outputs("labels.slp"), ()),
        (["labels.slp"], Outputs("{stem}"), ()),
        (["labels.slp"], Outputs("../{parent}/{stem}"), ()),
        (["labels.slp"], Outputs("days/../labels.slp"), ()),
        (["labels.slp"], Outputs("labels"), ("csv", "slp")),
        (["labels.slp"], Outputs("{stem}.slp", folder=Path("days/..")), ()),
        (["days/../labels.slp"], Outputs("labels.slp"), ()),
        (["labels.slp", "a.mp4"], Outputs("{stem}.slp"), ()),
        (["*.slp", "a.mp4"], Outputs("labels.slp"), ()),
        (["x.journal"], Outputs("x.slp"), ()),
    ],
)
def test_sources_stay(given: list[str], outputs: Outputs, formats: tuple[OutputFormat, ...], place: Path) -> None:
    before = (place / "labels.slp").read_bytes()
    with pytest.raises(OutputError, match=r"is a source|part of|folder that holds|as a source|opened"):
        check(given, outputs, formats)
    assert (place / "labels.slp").read_bytes() == before


@pytest.mark.parametrize("link", [os.symlink, os.link])
@pytest.mark.parametrize("is_target", [True, False])
def test_links_to_sources(link: object, is_target: bool, place: Path) -> None:
    link(place / "labels.slp", place / "days" / "other.slp")  # type: ignore[operator]
    source, target = ("labels.slp", "days/other.slp") if is_target else ("days/other.slp", "labels.slp")
    with pytest.raises(OutputError, match="is a source"):
        check([source], Outputs(target))


def test_links_to_folders(place: Path) -> None:
    (place / "elsewhere").symlink_to(place)
    with pytest.raises(OutputError, match="is a source"):
        check(["labels.slp"], Outputs("elsewhere/labels.slp"))


def test_names_that_differ_in_case_where_the_file_system_ignores_it(place: Path) -> None:
    stat = Path.stat

    def ignoring(path: Path, **facts: bool) -> os.stat_result:
        folder = path.parent if path.name else path
        found = (
            [item for item in os.listdir(folder) if item.lower() == path.name.lower()] if os.path.isdir(folder) else []
        )
        return stat(folder / found[0] if found else path, **facts)

    with mock.patch.object(Path, "stat", ignoring), pytest.raises(OutputError, match="is a source"):
        check(["labels.slp"], Outputs("LABELS.SLP"))
    with mock.patch.object(files, "ignores_case", return_value=True), pytest.raises(OutputError, match="would both"):
        check_targets([Task(("a.mp4",), Path("p.slp")), Task(("b.mp4",), Path("P.slp"))], ("slp",))


def test_rows_of_a_manifest(place: Path) -> None:
    (place / "m.csv").write_text("video,output\nlabels.slp,one.slp\na.mp4,labels.slp\n")
    with pytest.raises(OutputError, match=r"labels\.slp is a source"):
        check(["m.csv"], Outputs())
    (place / "m.csv").write_text("video,output\na.mp4,later.slp\nlater.slp,one.slp\n")
    with pytest.raises(OutputError, match=r"later\.slp is a source"):
        check(["m.csv"], Outputs())
    (place / "m.csv").write_text("video,output\na.mp4,m.csv\n")
    with pytest.raises(OutputError, match="is the manifest"):
        check(["m.csv"], Outputs())
    (place / "m.csv").write_text("video,output\na.mp4,one.ledger.csv\nb.mp4,one.slp\n")
    with pytest.raises(OutputError, match="would both be written"):
        check(["m.csv"], Outputs())


@pytest.mark.parametrize("form", ["slp", "csv", "parquet", "analysis_h5", "ledger"])
def test_each_format_and_each_table(form: OutputFormat, place: Path) -> None:
    target = Task(("a.mp4",), place / "labels").target(form)
    os.replace(place / "labels.slp", place / "kept")
    os.symlink(place / "kept", target)
    with pytest.raises(OutputError, match="is a source"):
        check_targets([Task((str(place / "kept"),), place / "labels")], ("csv", form))


def test_files_behind_sources(place: Path) -> None:
    video = sio.Video(filename=str(place / "frames.h5"), backend_metadata={"type": "HDF5Video"}, open_backend=False)
    (place / "frames.h5").touch()
    sio.Labels(videos=[video]).save(str(place / "of_h5.slp"), verbose=False)
    with pytest.raises(OutputError, match=r"frames\.h5 is part of the source of_h5\.slp"):
        check(["of_h5.slp"], Outputs("frames.h5"))
    os.link(place / "images" / "1.png", place / "poses.slp")
    with pytest.raises(OutputError, match="is part of the source images"):
        check(["images"], Outputs("poses.slp"))


def test_files_of_models(place: Path, models: Path) -> None:
    os.symlink(models / "centroid" / "best.ckpt", place / "poses.slp")
    with pytest.raises(OutputError, match="is a file of the model"):
        check(["a.mp4"], Outputs("poses.slp"), models=(str(models / "centroid"),))


def test_a_second_run_is_not_refused(place: Path, models: Path) -> None:
    for name in ("a.predictions.slp", "b.predictions.slp"):
        (place / name).touch()
    check(["a.mp4", "b.mp4", "days"], Outputs("{name}.predictions.slp"), models=(str(models / "centroid"),))


def test_a_job_checks_its_tasks_too(place: Path, models: Path) -> None:
    tasks = [Task(("a.mp4",), place / "days" / ".." / "labels"), Task(("labels.slp",), place / "other")]
    with pytest.raises(OutputError, match="is a source"):
        run_job(models_of(models), tasks, JobOptions(overwrite=True), n_workers=0)


def test_other_commands_check_files(place: Path) -> None:
    refuse_targets([place / "new.slp"], [place / "labels.slp", place / "missing"])
    with pytest.raises(OutputError, match="opened by this command"):
        refuse_targets([place / "days" / ".." / "labels.slp"], [place / "labels.slp"])
    with pytest.raises(OutputError, match="holds"):
        refuse_targets([place / "days"], [place / "days" / "c.mp4"])


@pytest.mark.parametrize(
    "words",
    [
        ["export", "MODEL", "-o", "MODEL", "--overwrite"],
        ["export", "MODEL", "-o", "days", "--overwrite", "--frames", "days/c.mp4"],
        ["benchmark", "MODEL", "a.mp4", "-o", "link.json", "--overwrite"],
        ["export", "MODEL", "-o", "new", "--frames", "a.mp4", "--draw", "link.png"],
        ["validate", "MODEL", "-m", "MODEL", "--frames", "a.mp4", "--draw", "link.png"],
        ["validate", "MODEL", "-m", "MODEL", "--frames", "images", "--draw", "days/../images/1.png"],
        ["validate", "MODEL", "-m", "MODEL", "--draw", "weights.png"],
        ["live", "a.mp4", "-m", "MODEL", "-o", "link.slp", "--overwrite"],
        ["live", "file://a.mp4", "-m", "MODEL", "-o", "days/../link.slp", "--overwrite"],
        ["live", "x.journal/c.mp4", "-m", "MODEL", "-o", "x.slp", "--overwrite"],
        ["live", "a.mp4", "-m", "MODEL", "-o", "weights.slp", "--overwrite"],
    ],
)
def test_commands_refuse_targets(words: list[str], place: Path, models: Path) -> None:
    from typer.testing import CliRunner

    from sleap_infer.cli.app import app

    for name in ("link.json", "link.slp", "link.png"):
        (place / name).symlink_to(place / "a.mp4")
    model = place / "model"
    shutil.copytree(models / "single_instance", model)
    for name in ("weights.slp", "weights.png"):
        os.link(model / "best.ckpt", place / name)
    (place / "x.journal" / "c.mp4").touch()
    result = CliRunner().invoke(app, [str(model) if word == "MODEL" else word for word in words])
    assert isinstance(result.exception, OutputError), result.output
    assert (place / "link.slp").is_symlink()
    assert (place / "weights.slp").samefile(model / "best.ckpt")
    assert sorted(path.name for path in model.iterdir()) == ["best.ckpt", "training_config.yaml"]


@pytest.mark.parametrize("name", ["two.slp", "m.csv", "ckpt.csv", "clip.mp4"])
def test_merge_replaces_nothing_that_its_jobs_read(
    name: str, place: Path, models: Path, videos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A source, a manifest, a model or a video of label files, under the name that the journal has now."""
    source = place / "two.slp"
    labels = sio.load_slp(str(videos / "one_fly.truth.slp"), open_videos=False).extract([0])
    labels.replace_filenames(new_filenames=[str(shutil.copy(videos / "one_fly.mp4", place / "clip.mp4"))])
    labels.save(str(source), verbose=False)
    shutil.copytree(models / "single_instance", place / "model")
    os.link(place / "model" / "best.ckpt", place / "ckpt.csv")
    (place / "m.csv").write_text("video,output\ntwo.slp,out.slp\n")
    tasks = [*find_tasks(["m.csv"], Outputs())]
    run_job(models_of(place, "model"), tasks, JobOptions(keep_journal=True, formats=("csv",)), n_workers=0)
    is_link = name == "clip.mp4"
    form, base = ("slp", "linked") if is_link else ((place / name).suffix[1:], name.partition(".")[0])
    (place / "linked.slp").symlink_to(place / "clip.mp4")
    journal = place / f"{base}.journal"
    (place / "out.journal").rename(journal)
    before = (place / name).read_bytes()
    monkeypatch.chdir(place / "days")
    with pytest.raises(OutputError, match=r"is (a source|part of|the manifest|a file of)"):
        merge_journals(find_journals([journal]), (form,), False, True, False, lambda event: None)  # type: ignore[arg-type]
    assert (place / name).read_bytes() == before
    assert journal.is_dir()


def test_a_journal_named_twice_is_merged_once(models: Path, videos: Path, tmp_path: Path) -> None:
    task = task_in(tmp_path, videos / "one_fly.mp4", at_most=2)
    run_job(models_of(models), [task], JobOptions(keep_journal=True), n_workers=0)
    found = find_journals([task.journal, tmp_path, tmp_path / ".." / tmp_path.name / task.journal.name])
    assert [journal.path for journal in found] == [task.journal]


# What cannot work is known before the start, in its row.


@pytest.mark.parametrize(
    ("source", "output", "message"),
    [
        (b"\xff.mp4", b"x.slp", r"\\xff\.mp4 is not UTF-8"),
        (b"a.mp4", b"\xff.slp", r"\\xff\.slp is not UTF-8"),
        (b"a.mp4", b"y" * 252 + b".slp", "too long: 2.. bytes"),
        (b"a.mp4", "é".encode() * 124 + b".slp", "too long: 2.. bytes"),
        (b"missing.mp4", b"x.slp", "No source"),
        (b"a.mp4", b"days", r"days\.slp is a folder"),
    ],
)
def test_what_cannot_work(source: bytes, output: bytes, message: str, place: Path) -> None:
    (place / "days.slp").mkdir()
    task = Task((os.fsdecode(source),), place / os.fsdecode(output))
    problem = problem_of(task, ("slp",))
    assert problem is not None
    with pytest.raises(type(problem), match=message):
        raise problem
    problem.args[0].encode("utf-8")


@pytest.mark.parametrize("length", [225, 238, 242, 246, 250, 255])
def test_a_name_that_passes_can_be_written(length: int, place: Path) -> None:
    """Journals, tables and marks have longer names than the output."""
    task = Task(("a.mp4",), place / ("y" * (length - 4) + ".slp"))
    problem = problem_of(task, ("slp", "csv"))
    try:
        for path in (task.target("slp"), task.target("ledger"), task.target("csv"), task.journal):
            files.write_text(path, "")
    except OutputError:
        assert problem is not None


def test_one_bad_name_does_not_end_the_others(models: Path, videos: Path, tmp_path: Path) -> None:
    good = [task_in(tmp_path, videos / "one_fly.mp4", name, at_most=2) for name in ("a", "b{c}")]
    bad = os.fsdecode(bytes(tmp_path) + b"/\xff.mp4")
    Path(bad).write_bytes(Path(good[0].sources[0]).read_bytes())
    long = Task(good[0].sources, tmp_path / f"{'z' * 250}.slp")
    tasks = [Task((bad,), tmp_path / "c.slp"), good[0], long, good[1], Task(("no.mp4",), tmp_path / "d.slp")]
    reported: list[str] = []
    options = JobOptions(chunk=8)
    reports = run_job(
        models_of(models), tasks, options, lambda event: reported.append(getattr(event, "outcome", "")), 0
    )
    assert [report.outcome for report in reports] == ["failed", "written", "failed", "written", "failed"]
    assert [outcome for outcome in reported if outcome][:3] == ["failed"] * 3


def test_files_that_the_shell_lists_fail_in_their_rows_too(place: Path) -> None:
    names = ["a.mp4", os.fsdecode(b"\xff.mp4"), "b.mp4"]
    Path(names[1]).touch()
    os.mkfifo("pipe.mp4")
    tasks = find_tasks([*names, "pipe.mp4"], Outputs())
    assert [problem_of(task, ("slp",)) is None for task in tasks] == [True, False, True, False]


# Names of outputs.


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("poses", "poses.slp"),
        ("poses.h5", "poses.h5"),
        ("poses.H5", "poses.H5"),
        ("POSES.SLP", "POSES.SLP"),
        ("session.2026-11-30", "session.2026-11-30.slp"),
        ("{stem}.predictions", "{stem}.predictions.slp"),
        ("{stem}", "{stem}.slp"),
        ("{stem}.analysis.h5", "{stem}.analysis.h5"),
        ("{stem}/", "{stem}/{stem}.predictions.slp"),
    ],
)
def test_endings(name: str, expected: str) -> None:
    assert with_ending(name, (), "--output") == expected


@pytest.mark.parametrize(
    ("name", "formats", "message"),
    [
        ("poses.json", (), r"not known.*\.slp, \.analysis\.h5"),
        ("{stem}.pkl", ("csv",), "not known"),
        (".analysis.h5", (), "only an ending"),
        ("days/.slp", (), "only an ending"),
        ("", (), "empty"),
        ("poses.csv", ("slp",), "add --format csv"),
        ("poses.h5", ("slp", "csv"), "analysis_h5"),
    ],
)
def test_wrong_endings(name: str, formats: tuple[OutputFormat, ...], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        with_ending(name, formats, "--output")


@pytest.mark.parametrize(
    ("name", "formats", "expected"),
    [
        ("x.h5", (), {"analysis_h5": "x.h5"}),
        ("x.analysis.h5", (), {"analysis_h5": "x.analysis.h5"}),
        ("x.CSV", (), {"csv": "x.CSV"}),
        ("x.ledger.csv", (), {"ledger": "x.ledger.csv"}),
        ("x.h5", ("slp", "analysis_h5"), {"slp": "x.slp", "analysis_h5": "x.h5"}),
        ("x", ("csv",), {"csv": "x.csv"}),
    ],
)
def test_an_ending_names_a_format(
    name: str, formats: tuple[OutputFormat, ...], expected: dict[str, str], place: Path
) -> None:
    (task,) = find_tasks(["a.mp4"], Outputs(name, formats=formats))
    assert {form: str(path) for form, path in task.targets(formats or ("slp",)).items()} == expected


def test_rows_have_formats_of_their_own(place: Path) -> None:
    (place / "m.csv").write_text("video,output\na.mp4,one.h5\nb.mp4,two.slp\n")
    first, second = find_tasks(["m.csv"], Outputs())
    assert [list(task.targets(("slp",))) for task in (first, second)] == [["analysis_h5"], ["slp"]]
    (place / "m.csv").write_text("video,output\na.mp4,one.json\n")
    with pytest.raises(OptionError, match=r"entry 1: output 'one\.json' has an ending that is not known"):
        find_tasks(["m.csv"], Outputs())


def test_a_slash_makes_a_folder(place: Path) -> None:
    tasks = find_tasks(["a.mp4", "b.mp4"], Outputs("poses/"))
    assert [str(task.output) for task in tasks] == ["poses/a.predictions.slp", "poses/b.predictions.slp"]
    assert (place / "poses").is_dir()
    (task,) = find_tasks(["a.mp4", "b.mp4"], Outputs("poses/", merge=True))
    assert str(task.output) == "poses/predictions.slp"
    with pytest.raises(OptionError, match="Leave one"):
        find_tasks(["a.mp4"], Outputs("poses/", Path("other")))


@pytest.mark.parametrize("name", ["a{b}.mp4", "{.mp4", "a}b.mp4", "{stem}.mp4", "x.csv.mp4"])
def test_names_of_videos_are_not_patterns(name: str, place: Path) -> None:
    (place / name).touch()
    (task,) = find_tasks([name], Outputs("{stem}.poses.slp"))
    assert task.output.name == f"{Path(name).stem}.poses.slp"
    (task,) = find_tasks([name], Outputs("{stem}"))
    assert task.target("slp").name == f"{Path(name).stem}.slp"
    assert task.journal.name == f"{Path(name).stem}.journal"


@pytest.mark.parametrize(
    ("given", "outputs"),
    [
        (["days/c.mp4", "days/c.avi"], Outputs()),
        (["days"], Outputs("{stem}.csv")),
        (["a.mp4", "other/a.mp4"], Outputs(folder=Path("out"))),
        (["a.mp4", "link/a.mp4", "days/a.avi"], Outputs("{stem}.h5", folder=Path("out"))),
    ],
)
def test_the_hint_for_equal_names_helps(given: list[str], outputs: Outputs, place: Path) -> None:
    for name in ("other/a.mp4", "days/a.avi"):
        (place / name).parent.mkdir(exist_ok=True)
        (place / name).touch()
    (place / "link").symlink_to(place / "other")
    with pytest.raises(OutputError, match="-o '") as error:
        find_tasks(given, outputs)
    pattern = str(error.value).split("-o '")[1].split("'")[0]
    assert len({task.output for task in find_tasks(given, Outputs(pattern, outputs.folder))}) > 1


def test_one_video_given_twice(place: Path) -> None:
    with pytest.raises(OutputError, match=r"a\.mp4 is given twice: leave one"):
        find_tasks(["a.mp4", "./a.mp4"], Outputs())


# Sources are looked at first.


@pytest.mark.parametrize("name", ["", "best.ckpt", "training_config.yaml"])
def test_a_model_among_the_sources(name: str, place: Path, models: Path) -> None:
    with pytest.raises(OptionError, match=r"a model stands among the sources.*-m .*centered_instance"):
        find_tasks(["a.mp4", str(models / "centered_instance" / name)], Outputs())


def test_an_exported_model_among_the_sources(graph: Path, place: Path) -> None:
    for path in (graph, graph / "model.onnx", graph.parent):
        with pytest.raises(OptionError, match="a model stands among the sources"):
            find_tasks(["a.mp4", str(path)], Outputs())


def test_the_message_has_the_right_command(place: Path, models: Path) -> None:
    from typer.testing import CliRunner

    from sleap_infer.cli.app import app

    one, two = (str(models / name) for name in ("centroid", "centered_instance"))
    result = CliRunner().invoke(app, ["predict", "a.mp4", "b.mp4", "-m", one, two])
    text = result.output + str(result.exception or "")
    assert result.exit_code != 0
    assert f"sleap-infer predict a.mp4 b.mp4 -m {one} -m {two}" in text


def test_all_missing_sources_are_named(place: Path) -> None:
    with pytest.raises(SourceNotFoundError, match=r"(?s)2 sources are missing.*no\.mp4.*nor this\.avi"):
        find_tasks(["no.mp4", "a.mp4", "nor this.avi"], Outputs())


def test_a_source_that_is_not_text_is_refused_alone(place: Path, models: Path) -> None:
    name = os.fsdecode(b"\xff.mp4")
    Path(name).touch()
    with pytest.raises(SourceFormatError, match="not UTF-8"):
        run_job(models_of(models), [Task((name,), place / "x.slp")], n_workers=0)


@pytest.mark.parametrize("is_written", [True, False])
@pytest.mark.parametrize("left", [("0.sqlite", "content.json", "lock"), ("0.sqlite-wal", "lock"), ("lock",), ()])
def test_a_journal_that_is_half_deleted_holds_nothing_else(
    left: tuple[str, ...], is_written: bool, models: Path, videos: Path, tmp_path: Path
) -> None:
    """A run that is killed while it deletes its journal has left parts of it: the same command ends well."""
    task = task_in(tmp_path, videos / "one_fly.mp4", at_most=2)
    run_job(models_of(models), [task], JobOptions(keep_journal=True), n_workers=0)
    for item in task.journal.iterdir():
        if item.name not in left:
            item.unlink()
    (task.journal / "0.sqlite-wal").touch() if "0.sqlite-wal" in left else None
    if not is_written:
        task.output.unlink()
    (report,) = run_job(models_of(models), [task], JobOptions(), n_workers=0)
    assert report.outcome == ("skipped" if is_written else "written")
    assert sio.load_slp(str(task.output), open_videos=False).labeled_frames[1].frame_idx == 1
    assert not task.journal.exists()


def test_other_files_beside_parts_of_a_journal_stay(models: Path, videos: Path, tmp_path: Path) -> None:
    task = task_in(tmp_path, videos / "one_fly.mp4", at_most=2)
    task.journal.mkdir()
    for name in ("0.sqlite", "notes.txt"):
        (task.journal / name).touch()
    with pytest.raises(OutputError, match="holds other files"):
        run_job(models_of(models), [task], JobOptions(overwrite=True), n_workers=0)
    assert sorted(item.name for item in task.journal.iterdir()) == ["0.sqlite", "notes.txt"]


def test_a_column_that_stands_twice_is_refused(place: Path) -> None:
    (place / "m.csv").write_text("video,output,video\na.mp4,x.slp,b.mp4\n")
    with pytest.raises(SourceFormatError, match="'video' is given twice"):
        find_tasks(["m.csv"], Outputs())
