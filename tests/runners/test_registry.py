"""Backends that other packages provide: found everywhere by their entry point, harmless if they are broken."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import sleap_io as sio

from sleap_infer.benchmark.plan import BenchmarkOptions
from sleap_infer.benchmark.run import run_benchmark
from sleap_infer.cli.info import backends
from sleap_infer.doctor.checks import examine
from sleap_infer.doctor.reference import EXPORTED, Reference
from sleap_infer.errors import BackendError, DeviceError, OptionError
from sleap_infer.predictors import Predictor, read_clip
from sleap_infer.predictors.auto import measure
from sleap_infer.runners import registry
from sleap_infer.runners.facts import FACTS, BackendFacts
from sleap_infer.runners.registry import BUILT_IN, backend_names, find_facts, find_runner, what_can_run

TOY = Path(__file__).resolve().parents[1] / "toy_backend"
CONTRIBUTING = Path(__file__).resolve().parents[2] / "CONTRIBUTING.md"


def install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make packages in a directory importable here and in child processes, as pip does."""
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]))


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    install(TOY, monkeypatch)


def declare(folder: Path, package: str, code: str, *lines: str) -> None:
    """Write an installed package with one module and its entry points."""
    module = package.replace("-", "_")
    (folder / f"{module}.py").write_text(code, encoding="utf-8")
    about = folder / f"{module}-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n", encoding="utf-8")
    (about / "entry_points.txt").write_text("\n".join(["[sleap_infer.runners]", *lines]), encoding="utf-8")


def run(*arguments: str, code: str = "from sleap_infer.cli import main; main()") -> str:
    command = [sys.executable, "-c", code, *arguments]
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | {"COLUMNS": "200"})
    assert result.returncode == 0, result.stderr
    return result.stdout


def right(poses: Sequence[np.ndarray]) -> bool:
    """Whether poses of the doctor's frames are the known ones."""
    found = Reference.read().compare(poses)
    return found["n_wrong"] == 0 and found["agreement"] < 0.05


def test_contributing_shows_the_toy_backend_as_it_is() -> None:
    text = CONTRIBUTING.read_text(encoding="utf-8")
    source = (TOY / "toy_backend.py").read_text(encoding="utf-8").partition("\n\n")[2].strip()
    assert f"```python\n{source}\n```" in text
    declared = (TOY / "toy_backend-1.0.dist-info" / "entry_points.txt").read_text().splitlines()
    group, (name, _, value) = declared[0].strip("[]"), declared[1].partition(" = ")
    assert f'[project.entry-points."{group}"]\n{name} = "{value}"' in text


def test_it_is_found_by_name(toy: None) -> None:
    assert backend_names() == (*BUILT_IN, "toy")
    assert find_runner("toy").backend == "toy"
    assert what_can_run("cpu")["toy"] is None
    assert "does not run on 'cuda'" in (what_can_run("cuda")["toy"] or "")
    assert backends()["backend toy"] == "yes, Toy on cpu"


def test_help_lists_it_and_imports_nothing_of_it(toy: None) -> None:
    code = (
        "import sys\nfrom sleap_infer.cli.app import app\n"
        "try: app([*sys.argv[1:], '--help'])\nexcept SystemExit: pass\n"
        "assert not {'toy_backend', 'torch', 'onnxruntime', 'openvino', 'numpy'} & set(sys.modules)"
    )
    for command in ("predict", "benchmark"):
        assert "toy" in run(command, code=code), command


def test_without_packages_that_declare_backends_none_is_looked_for() -> None:
    """`--help` has no time for importlib.metadata."""
    run(code="import sys, sleap_infer.cli.app\nassert 'importlib.metadata' not in sys.modules")


def test_auto_can_choose_it(toy: None, monkeypatch: pytest.MonkeyPatch) -> None:
    rates = {"onnx": 20.0, "toy": 30.0}

    def pretend(_: object, candidate: measure._Candidate) -> None:
        candidate.rates.append(rates[measure.name_of(candidate.runtime.backend)])

    monkeypatch.setattr(measure._Comparison, "_measure", pretend)
    monkeypatch.setattr(measure, "what_can_run", lambda _: dict.fromkeys(FACTS, "left out here") | {"toy": None})
    clip = read_clip(Reference.read().images)
    for precision in (None, "auto"):
        with Predictor.from_model_paths(EXPORTED, device="cpu", precision=precision, clip=clip) as predictor:
            assert predictor.choice is not None
            assert predictor.choice.backend == "toy"
            assert "1.50 times as fast as onnx" in predictor.choice.why
    with Predictor.from_model_paths(EXPORTED, backend="toy", precision="auto", clip=clip) as predictor:
        assert predictor.describe()["backend"] == "toy"


def test_it_predicts(toy: None, tmp_path: Path) -> None:
    reference = Reference.read()
    frames = ",".join(map(str, reference.frame_inds))
    output = tmp_path / "found.slp"
    given = ("-m", str(EXPORTED), "-r", "toy", "--frames", frames, "-o", str(output))
    run("predict", str(reference.video_path), *given)
    labels = sio.load_slp(str(output))
    assert labels.provenance["backend"] == "toy"
    assert right([np.stack([instance.numpy() for instance in frame]).astype(np.float32) for frame in labels])


def test_the_doctor_checks_it(toy: None) -> None:
    (check,) = examine(["toy"]).checks
    assert (check.state, check.packages) == ("ok", {"toy-backend": "1.0"}), check
    assert check.agreement is not None
    assert check.agreement < 0.05


def test_it_is_benchmarked(toy: None) -> None:
    reference = Reference.read()
    options = BenchmarkOptions(
        models=(EXPORTED,),
        video=str(reference.video_path),
        backends=("toy",),
        batch_sizes=(1,),
        n_frames=2,
        repeats=1,
        device="cpu",
    )
    report = run_benchmark(options, "")
    assert [(row.backend, row.status) for row in report.rows] == [("toy", "agrees")]
    assert report.packages["toy-backend"] == "1.0"


BROKEN = {
    "cannot be imported (ModuleNotFoundError: No module named 'nowhere')": "import nowhere",
    "cannot be imported (AttributeError": "",
    "cannot be imported (ZeroDivisionError": "1 / 0",
    "is not a subclass of BaseInferenceRunner": "class Broken: backend = 'broken'",
    "backend is None, expected 'broken'": "from sleap_infer.runners import FakeRunner as Broken",
}


@pytest.mark.parametrize("reason", BROKEN)
def test_a_broken_package_is_a_clear_error_and_harms_no_other(
    reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, toy: None
) -> None:
    monkeypatch.delitem(sys.modules, "broken_backend", raising=False)
    declare(tmp_path, "broken-backend", BROKEN[reason], "broken = broken_backend:Broken")
    install(tmp_path, monkeypatch)
    with pytest.raises(BackendError) as caught:
        find_runner("broken")
    assert reason in str(caught.value)
    assert "pip uninstall broken-backend" in str(caught.value)
    assert reason in (what_can_run("cpu")["broken"] or "")
    assert what_can_run("cpu")["toy"] is None
    assert set(registry.all_facts()) == {*BUILT_IN, "toy"}
    assert reason in backends()["backend broken"]
    assert backends()["backend toy"] == "yes, Toy on cpu"
    (check,) = examine(["broken"]).checks
    assert check.state == "failed"
    assert reason in check.cause


@pytest.mark.parametrize("name", ["onnx", "auto", "all", "a,b", "-r"])
def test_names_that_are_taken_are_ignored_with_a_warning(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    declare(tmp_path, "clash", "", f"{name} = clash:Runner")
    install(tmp_path, monkeypatch)
    assert backend_names() == tuple(BUILT_IN)
    assert "clash provides a backend" in caplog.text
    assert find_facts("onnx").label == "ONNX Runtime"


def test_two_packages_with_one_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, toy: None) -> None:
    declare(tmp_path, "other-toy", "", "toy = other_toy:Runner")
    install(tmp_path, monkeypatch)
    with pytest.raises(BackendError, match=r"Several packages provide a backend 'toy': other-toy, toy-backend"):
        find_runner("toy")
    assert what_can_run("cpu")["toy"] is not None


def test_facts_say_what_is_missing() -> None:
    facts = BackendFacts(label="Toy", imports=("no_such_module",), install="pip install toy")
    with pytest.raises(BackendError, match=r"Toy is not installed. Install it with: pip install toy"):
        facts.check_device("cpu")
    with pytest.raises(DeviceError, match=r"Toy does not run on 'cuda:0', only on cpu"):
        BackendFacts(label="Toy").check_device("cuda:0")
    with pytest.raises(OptionError, match=r"precision='int8': Toy computes in fp32. int8 is made by exporting"):
        BackendFacts(label="Toy").check_precision("int8")


def test_a_precision_that_a_backend_does_not_have(toy: None, models: Path) -> None:
    with pytest.raises(OptionError, match=r"precision='bf16': Toy computes in fp32"):
        Predictor.from_model_paths(models / "single_instance", backend="toy", precision="bf16")


def test_facts_of_built_in_backends_stand_on_their_classes() -> None:
    assert set(FACTS) == set(BUILT_IN)
    for name, facts in FACTS.items():
        assert find_runner(name).backend == name
        assert find_runner(name).facts is facts
    code = "import sys\nfrom sleap_infer.runners.registry import all_facts\nall_facts()\n"
    run(code=f"{code}assert not {{'numpy', 'torch', 'sleap_infer.runners.base'}} & set(sys.modules)")


def test_choices_depend_on_the_versions_of_packages_with_backends(toy: None) -> None:
    assert {"toy-backend", "torch", "onnxruntime", "openvino"} <= set(registry.packages())
