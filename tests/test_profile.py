"""Where the time of a run goes."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sleap_infer import Predictor
from sleap_infer.choices import StageName
from sleap_infer.runners.profile import STAGES, Profile, Stopwatch


def spent(**seconds: float) -> dict[StageName, float]:
    return {stage: seconds.get(stage, 0.0) for stage in STAGES}


def test_shares_are_of_the_wall_and_of_all_streams() -> None:
    profile = Profile(spent(decode=1.0, network=16.0, grouping=2.0), wall=10.0, n_streams=2)
    assert profile.shares["decode"] == 0.1
    assert profile.shares["network"] == 0.8
    assert profile.bound_by == "network"
    assert profile.line() == "decode 10%, network 80%, grouping 20%"


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("precision", ["fp32", "int8"])
@pytest.mark.parametrize("device", ["cpu", "cuda:0"])
def test_advice_changes_no_pose(stage: StageName, precision: str, device: str) -> None:
    busy = spent(**{stage: 90.0})
    verdict = Profile(busy, wall=100.0, precision=precision, device=device).verdict
    assert verdict.startswith(f"bound by {STAGES[stage]} (busy 90% of the time): ")
    named = set(re.findall(r"--[a-z-]+", verdict))
    assert named <= {"--workers"}, "of the options only this one changes no pose"
    for word in ("smaller", "fewer", "codec", "filter", "threshold", "precision", "drop"):
        assert word not in verdict


def test_short_runs_get_no_advice() -> None:
    verdict = Profile(spent(network=59.0), wall=59.9).verdict
    assert verdict == "bound by the network (busy 98% of the time)"


def test_nothing_done_in_no_time_is_no_error() -> None:
    assert Profile(spent(), wall=0.0).as_dict()["shares"]["network"] == 0.0


def test_seconds_of_all_threads_add_up() -> None:
    watch = Stopwatch()
    threads = [threading.Thread(target=lambda: [watch.add("network", 0.5) for _ in range(1000)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert watch.read()["network"] == 4000.0


def test_what_consumers_do_between_items_does_not_count() -> None:
    watch, closed = Stopwatch(), []

    def items() -> Iterator[int]:
        try:
            yield from range(100)
        finally:
            closed.append(True)

    passed = watch.each("decode", items())
    assert next(passed) == 0
    time.sleep(0.05)
    passed.close()  # type: ignore[attr-defined]
    assert watch.read()["decode"] < 0.05
    assert closed == [True]


@pytest.mark.parametrize("names", [("bottomup",), ("centroid", "centered_instance")])
@pytest.mark.parametrize("backend", ["torch", "onnx"])
def test_a_run_accounts_for_its_time(names: tuple[str, ...], backend: str, models: Path, videos: Path) -> None:
    paths = [models / name for name in names]
    with Predictor.from_model_paths(paths, backend=backend, device="cpu") as predictor:
        predictor.predict(videos / "two_flies.mp4", frames=range(12))
    profile = predictor.profile
    assert profile is not None
    worked = {"decode", "preprocess", "network", "grouping", *(["candidates"] if backend == "torch" else [])}
    assert {stage for stage, seconds in profile.seconds.items() if seconds > 0} == worked
    assert all(0 <= share <= 1 for share in profile.shares.values())
    assert sum(profile.seconds.values()) <= profile.wall * (profile.n_streams + 3)
