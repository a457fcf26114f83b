"""The fastest whose poses are right, as measured; and that it is remembered."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest

from sleap_infer import Outputs, Predictor
from sleap_infer.errors import BackendError, DeviceError, OptionError
from sleap_infer.frames import Source
from sleap_infer.predictors import Clip, read_clip
from sleap_infer.predictors.auto import cache as choice
from sleap_infer.predictors.auto import measure as trials
from sleap_infer.predictors.auto.cache import Choice
from sleap_infer.predictors.auto.measure import choose
from sleap_infer.predictors.auto.request import Request
from sleap_infer.predictors.auto.result import compare_outputs, describe_unstable, difference
from sleap_infer.predictors.auto.select import open_on_best
from sleap_infer.predictors.factory import Plan, Runtime, read_plan
from sleap_infer.runners.registry import BUILT_IN

ASSETS = Path(__file__).resolve().parents[2] / "sleap_infer" / "assets"
POSE = np.array([[[10.0, 10.0], [20.0, 12.0]], [[60.0, 50.0], [66.0, 55.0]]], np.float32)


class Pretended:
    """A predictor that takes its time for each frame, and gives poses that are off by so much."""

    def __init__(self, runtime: Runtime, seconds: float, off: float) -> None:
        self.runtime, self.seconds, self.off = runtime, seconds, off
        self.runners = [attrs.make_class("Runner", {"device": attrs.field(default="cpu")})()]
        self.choice: object = None
        self.is_closed = False

    def stream(self, source: Source) -> Iterator[Outputs]:
        for _ in range(source.n_frames or 0):
            time.sleep(self.seconds)
            yield Outputs(pred_keypoints=POSE + self.off, instance_scores=np.ones(2, np.float32))

    def __enter__(self) -> Pretended:
        return self

    def __exit__(self, *_: object) -> None:
        self.is_closed = True

    def close(self) -> None:
        self.is_closed = True


Maker = Callable[[Runtime], Any]


def makes(made: list[Pretended], **kinds: tuple[float, float] | Exception) -> Maker:
    """Opens backends that take (seconds, off) for each frame, by name; an exception stands for one that does not."""

    def make(runtime: Runtime) -> Any:
        kind = kinds[runtime.backend]
        if isinstance(kind, Exception):
            raise kind
        made.append(Pretended(runtime, *kind))
        return made[-1]

    return make


@pytest.fixture
def made() -> list[Pretended]:
    return []


@pytest.fixture
def plan(models: Path) -> Plan:
    return read_plan(models / "bottomup", {})


@pytest.fixture
def clip() -> Clip:
    found = read_clip(np.zeros((8, 32, 32), np.uint8))
    assert found is not None
    return attrs.evolve(found, n_frames=1_000_000)


@pytest.fixture(autouse=True)
def there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, str | None]:
    """What can run; tests change it."""
    state: dict[str, str | None] = dict.fromkeys(("torch", "torch_compile", "onnx", "openvino"), None)
    state["mnn"] = "MNN is not installed"
    state["tensorrt"] = "there is no NVIDIA driver"
    monkeypatch.setattr(trials, "what_can_run", lambda _device: state)
    monkeypatch.setattr(trials, "SECONDS_EACH", 0.02)
    monkeypatch.setenv("SLEAP_INFER_CACHE", str(tmp_path))
    return state


SLOW, FAST = (0.01, 0.0), (0.001, 0.0)


def test_the_fastest_is_taken_and_the_rest_explained(plan: Plan, clip: Clip, made: list[Pretended]) -> None:
    make = makes(made, torch=SLOW, onnx=FAST, openvino=(0.02, 0.0), torch_compile=BackendError("no compiler"))
    found = choose(plan, Request(), make, clip)
    assert (found.backend, found.precision) == ("onnx", "fp32")
    assert found.tried[0].backend == "onnx"
    reasons = {row.backend: row.reason for row in found.tried if row.reason}
    assert reasons == {
        "mnn": "MNN is not installed",
        "tensorrt": "there is no NVIDIA driver",
        "torch_compile": "does not run: no compiler",
    }
    assert "times as fast as" in found.why
    assert all(predictor.is_closed for predictor in made)


def test_wrong_poses_never_win(plan: Plan, clip: Clip, made: list[Pretended]) -> None:
    make = makes(made, torch=SLOW, onnx=(0.0005, 0.02), openvino=FAST, torch_compile=SLOW)
    found = choose(plan, Request(), make, clip)
    assert found.backend == "openvino"
    wrong = next(row for row in found.tried if row.backend == "onnx")
    assert wrong.reason is not None
    assert "differ by 0.028 px, more than 0.01" in wrong.reason


def test_the_reference_wins_where_it_is_fastest(plan: Plan, clip: Clip, made: list[Pretended]) -> None:
    assert choose(
        plan, Request(), makes(made, torch=FAST, onnx=SLOW, openvino=SLOW, torch_compile=SLOW), clip
    ).backend == ("torch")


def test_reduced_precision_only_where_it_is_asked_for(plan: Plan, clip: Clip, made: list[Pretended]) -> None:
    make = makes(made, torch=SLOW, onnx=FAST, openvino=FAST, torch_compile=SLOW)
    choose(plan, Request(), make, clip)
    assert {predictor.runtime.precision for predictor in made} <= {None, "fp32"}
    made.clear()
    found = choose(plan, Request(precision="bf16"), make, clip)
    assert found.precision == "bf16"
    made.clear()
    choose(plan, Request(precision="auto"), make, clip)
    assert {"fp32", "bf16", "fp16"} <= {predictor.runtime.precision for predictor in made}


@pytest.mark.parametrize(("off", "fits"), [(0.4, True), (0.6, False)])
def test_reduced_precision_has_a_budget(off: float, fits: bool) -> None:
    right = [Outputs(pred_keypoints=POSE, instance_scores=np.ones(2, np.float32))] * 5
    moved = [attrs.evolve(out, pred_keypoints=POSE + np.float32([off, 0])) for out in right]
    compared = compare_outputs(moved, right)
    assert (difference(compared, "bf16") is None) is fits
    assert difference(compared, "fp32") is not None


@pytest.mark.parametrize(
    ("n_moved", "px", "fits"), [(0, 0.0, True), (1, 0.02, True), (1, 0.9, True), (1, 1.1, False), (4, 0.02, False)]
)
def test_unstable_points_are_listed_and_no_reason_against_a_backend(n_moved: int, px: float, fits: bool) -> None:
    """A refinement that divides by almost nothing moves a point by the last digits of a network."""
    right = [Outputs(pred_keypoints=POSE, instance_scores=np.ones(2, np.float32))] * 60
    moved = list(right)
    for frame in range(n_moved):
        points = POSE.copy()
        points[0, 0, 0] += px
        moved[frame] = attrs.evolve(right[frame], pred_keypoints=points)
    compared = compare_outputs(moved, right)
    n_points = len(compared.distances)
    assert 100 < n_points < 400
    assert (difference(compared, "fp32") is None) is fits
    expected = f"{n_moved} of {n_points} points beyond 0.01 px (unstable refinement), up to {px:.2g}" if n_moved else ""
    assert describe_unstable(compared, "fp32") == expected
    assert describe_unstable(compared, "bf16") == ""


def test_a_lost_instance_is_a_difference() -> None:
    right = Outputs(pred_keypoints=POSE, instance_scores=np.ones(2, np.float32))
    compared = compare_outputs([right.select(np.array([0]))], [right])
    assert difference(compared, "fp32") == "its poses differ: 1 instances missed, 0 false positives"


def test_a_short_job_is_not_kept_waiting(plan: Plan, clip: Clip, made: list[Pretended]) -> None:
    short = attrs.evolve(clip, n_frames=100)
    found = choose(plan, Request(), makes(made, torch=SLOW, onnx=FAST, openvino=FAST, torch_compile=FAST), short)
    assert found.backend == "torch"
    assert {predictor.runtime.backend for predictor in made} == {"torch"}
    assert found.holds_for(200)
    assert not found.holds_for(201)
    assert not found.holds_for(None)
    assert all("not tried" in (row.reason or "") for row in found.tried if row.backend in ("onnx", "torch_compile"))


def chosen_by(*arguments: Any) -> Choice:
    """Open models, and return how their backend was chosen."""
    _, found = open_on_best(*arguments)
    assert found is not None
    return found


def test_what_was_measured_is_remembered(
    plan: Plan, clip: Clip, made: list[Pretended], monkeypatch: pytest.MonkeyPatch
) -> None:
    make = makes(made, torch=SLOW, onnx=FAST, openvino=SLOW, torch_compile=SLOW)

    def chosen(on: Any = clip, asked: Request | None = None, of: Plan = plan) -> tuple[str, bool, int]:
        made.clear()
        found = chosen_by(of, asked or Request(), make, on)
        return found.backend, found.remembered, len({p.runtime.backend for p in made})

    assert chosen() == ("onnx", False, 4)
    assert chosen() == ("onnx", True, 1)
    assert chosen(None) == ("onnx", True, 1)
    assert chosen(attrs.evolve(clip, remember=False)) == ("onnx", False, 4)
    assert chosen(np.zeros((4, 48, 32), np.uint8))[1] is False
    assert chosen(asked=Request(device="cpu"))[1] is False
    with monkeypatch.context() as other:
        other.setattr(choice, "_version", lambda package: "99")
        assert chosen()[1] is False
    with monkeypatch.context() as other:
        other.setattr(choice, "machine_facts", lambda: {"cores": 128})
        assert chosen()[1] is False
    assert chosen()[1] is True


def test_damaged_memory_is_measured_anew(
    plan: Plan, clip: Clip, made: list[Pretended], caplog: pytest.LogCaptureFixture
) -> None:
    make = makes(made, torch=SLOW, onnx=FAST, openvino=SLOW, torch_compile=SLOW)
    open_on_best(plan, Request(), make, clip)
    (kept,) = choice.choices_directory().iterdir()
    other = kept.read_text().replace('"backend": "onnx"', '"backend": "torch"')  # valid, but not what was measured
    for text in ("", "{}", "[]", '{"backend": "onnx", "tried": 3}', other):
        kept.write_text(text)
        caplog.clear()
        found = chosen_by(plan, Request(), make, clip)
        assert found.remembered is False
        assert "is damaged" in caplog.text


def test_a_choice_that_no_longer_runs_is_made_anew(plan: Plan, clip: Clip, made: list[Pretended]) -> None:
    good = makes(made, torch=SLOW, onnx=FAST, openvino=SLOW, torch_compile=SLOW)
    open_on_best(plan, Request(), good, clip)
    bad = makes(made, torch=SLOW, onnx=DeviceError("gone"), openvino=FAST, torch_compile=SLOW)
    found = chosen_by(plan, Request(), bad, clip)
    assert found.backend == "openvino"


def test_without_a_clip_and_a_memory_it_is_the_default(plan: Plan, made: list[Pretended]) -> None:
    found = chosen_by(plan, Request(), makes(made, torch=FAST))
    assert found.backend == "torch"
    assert "nothing was measured" in found.why


def test_nothing_that_runs_is_an_error(plan: Plan, clip: Clip, made: list[Pretended], there: dict[str, Any]) -> None:
    there |= dict.fromkeys(there, "not installed")
    with pytest.raises(BackendError, match="not installed"):
        choose(plan, Request(precision="bf16"), makes(made, torch=FAST), clip)


def test_options_of_a_backend_are_for_the_default_one(models: Path) -> None:
    with pytest.raises(OptionError, match=r"of torch are streams and num_threads.*found provider"):
        Predictor.from_model_paths(models / "bottomup", backend_options={"provider": 2})


def test_an_explicit_backend_is_never_measured(models: Path, videos: Path) -> None:
    with Predictor.from_model_paths(models / "bottomup", backend="torch", clip=videos / "two_flies.mp4") as predictor:
        assert predictor.choice is None


@pytest.mark.parametrize(
    ("model", "backends"),
    [
        (ASSETS / "doctor", {"onnx", "mnn", "openvino"}),
        pytest.param(ASSETS / "models" / "bottomup", {"torch", "onnx"}, marks=pytest.mark.exhaustive),  # is exported
    ],
    ids=["exported", "trained"],
)
def test_a_real_choice(model: Path, backends: set[str], videos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials, "EXPORT_S", 0.0)
    reasons = {name: None if name in backends else "no" for name in BUILT_IN}
    monkeypatch.setattr(trials, "what_can_run", lambda _device: reasons)
    clip = attrs.evolve(read_clip(videos / "two_flies.mp4"), n_frames=1_000_000)
    with Predictor.from_model_paths(model, device="cpu", clip=clip) as predictor:
        found = predictor.choice
        assert found is not None
        assert {row.backend for row in found.tried if row.rate} == backends
        assert all(row.reason is None for row in found.tried if row.rate)
        assert predictor.describe()["chosen"] == found.why


def test_a_clip_is_the_start_of_its_source(videos: Path) -> None:
    clip = read_clip([videos / "two_flies.mp4", videos / "one_fly.mp4"], at_most=120)
    assert clip is not None
    assert len(clip.images) == 32
    assert clip.n_frames == 120
    assert clip.first(5).n_frames == 5
