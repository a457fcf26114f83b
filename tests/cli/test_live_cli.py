"""`sleap-infer live`, as a user calls it."""

from __future__ import annotations

import io
import json
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Generator, Mapping
from pathlib import Path

import av
import numpy as np
import pytest
import sleap_io as sio
import typer
from typer.testing import CliRunner, Result

from sleap_infer import Outputs, Predictor
from sleap_infer.cli.live import follow, live
from sleap_infer.cli.output import live_lines
from sleap_infer.cli.output.live_lines import StatusLine, instances_of
from sleap_infer.cli.output.terminal import Terminal
from sleap_infer.cli.signals import stop_requested
from sleap_infer.errors import SleapInferError
from sleap_infer.export import ExportResult
from sleap_infer.frames.live.source import LiveFrame, LiveSource
from sleap_infer.predictors.live.run import LiveRun
from sleap_infer.predictors.live.session import LiveSession

N_FRAMES = 12
FASTEST = "centroid"


def run(*arguments: object) -> Result:
    app = typer.Typer()
    app.command()(live)
    given = [str(argument) for argument in (*arguments, "-d", "cpu")]
    return CliRunner().invoke(app, given, env={"COLUMNS": "200"})


def start(*arguments: object) -> subprocess.Popen[str]:
    code = "import typer\nfrom sleap_infer.cli.live import live\ntyper.run(live)"
    command = [sys.executable, "-c", code, *(str(argument) for argument in arguments), "-d", "cpu"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.fixture(scope="module")
def clip(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first frames of two flies, played in a moment."""
    path = tmp_path_factory.mktemp("clips") / "clip.ts"
    with av.open(str(videos / "two_flies.mp4")) as source, av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=100, options={"crf": "10", "bf": "0"})
        stream.width, stream.height, stream.pix_fmt = 192, 192, "yuv420p"
        for number, frame in enumerate(source.decode(video=0)):
            if number == N_FRAMES:
                break
            frame.pts = None
            container.mux(stream.encode(frame.reformat(format="yuv420p")))
        container.mux(stream.encode())
    return path


@pytest.fixture(scope="module")
def exported(exports: Mapping[str, ExportResult]) -> tuple[object, ...]:
    """Words that name a model; as an exported one it starts without PyTorch, in a fifth of the time."""
    return "-m", exports[FASTEST].directory, "-r", "onnx"


def counts_of(line: str) -> dict[str, int]:
    names = {"seen": "frames seen", "predicted": "predicted", "dropped": "dropped", "late": "late"}
    return {name: int(re.search(rf"(\d+) {words}", line)[1]) for name, words in names.items()}  # type: ignore[index]


def test_a_line_of_json_per_frame(clip: Path, models: Path) -> None:
    result = run(clip, "-m", models / FASTEST, "--json")
    assert result.exit_code == 0, result.output
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    frames = [line["frame"] for line in lines]
    assert frames == sorted(set(frames))
    assert frames[-1] == N_FRAMES - 1, "the newest frame is never dropped"
    report = counts_of(result.stderr)
    assert report["seen"] == N_FRAMES == report["predicted"] + report["dropped"]
    assert report["predicted"] == len(lines)
    assert re.search(r"latency: p50 [\d.]+, p90 [\d.]+, p99 [\d.]+", result.stderr)
    with Predictor.from_model_paths(models / FASTEST, device="cpu") as predictor:
        expected = predictor.predict(clip, as_labels=False)
    for line in lines:
        assert set(line) == {"frame", "time", "latency_ms", "late", "instances"}
        assert line["latency_ms"] > 0
        assert not line["late"]
        found = np.array([instance["points"]["centroid"] for instance in line["instances"]]).reshape(-1, 2)
        np.testing.assert_allclose(found, expected[line["frame"]].pred_centroids, atol=2e-3)
    assert sum(len(line["instances"]) for line in lines) > 0
    times = [line["time"] for line in lines]
    assert times == sorted(times)


def test_a_file_of_poses(clip: Path, models: Path, tmp_path: Path) -> None:
    output = tmp_path / "poses.slp"
    arguments = (clip, "-m", models / "centroid", "-m", models / "centered_instance", "-o", output)
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    report = counts_of(result.stdout)
    labels = sio.load_slp(str(output))
    assert len(labels) == report["predicted"]
    assert labels[-1].frame_idx == N_FRAMES - 1
    assert labels.videos[0].filename == str(clip)
    assert labels.provenance["live"]["n_seen"] == N_FRAMES
    assert labels.provenance["live"]["n_predicted"] == len(labels)
    again = run(*arguments)
    assert isinstance(again.exception, SleapInferError)
    assert "is there already" in str(again.exception)
    assert run(*arguments, "--overwrite", "-n", 1).exit_code == 0
    assert len(sio.load_slp(str(output))) == 1


def test_an_end_by_number_and_by_time(models: Path, videos: Path) -> None:
    result = run(videos / "two_flies.mp4", "-m", models / FASTEST, "-n", 2, "--json")
    assert len(result.stdout.splitlines()) == 2
    result = run(videos / "two_flies.mp4", "-m", models / FASTEST, "--duration", 0.5)
    assert result.exit_code == 0
    assert counts_of(result.stdout)["seen"] <= 100


def test_a_deadline_that_nothing_keeps(clip: Path, models: Path) -> None:
    result = run(clip, "-m", models / FASTEST, "--deadline", 0.001, "--json")
    assert result.exit_code == 0
    report = counts_of(result.stderr)
    assert report["late"] + report["dropped"] == N_FRAMES
    assert all(json.loads(line)["late"] for line in result.stdout.splitlines())


def test_a_stream_that_breaks_off(clip: Path, models: Path, tmp_path: Path) -> None:
    output, data = tmp_path / "poses.slp", clip.read_bytes()
    done = threading.Event()

    def serve(listening: socket.socket) -> None:
        connection, _ = listening.accept()
        with connection:
            connection.sendall(data)
            done.wait(30)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve, args=[listening])
        thread.start()
        address = f"tcp://127.0.0.1:{listening.getsockname()[1]}"
        result = run(address, "-m", models / FASTEST, "-o", output, "--timeout", 1)
        done.set()
        thread.join()
    assert result.exit_code == 1, result.output
    assert "nothing came for 1 s" in result.stderr
    labels = sio.load_slp(str(output))
    assert labels.videos[0].filename.startswith("tcp:/")
    assert labels.provenance["source_file"] == address
    assert len(labels) == counts_of(result.stdout)["predicted"]


def test_the_end_comes_also_where_no_frame_does(models: Path) -> None:
    class Silent:
        name, first, must_be_read = "silent", np.zeros((8, 8, 1), np.uint8), False

        def frames(self, stopped: threading.Event) -> Generator[LiveFrame, None, None]:
            stopped.wait()
            yield from ()

        def video(self, n_frames: int) -> sio.Video:
            raise AssertionError

        def close(self) -> None:
            pass

    ticks: list[int] = []
    with Predictor.from_model_paths(models / FASTEST, device="cpu") as predictor, LiveSource(Silent()) as source:
        assert follow(LiveRun(LiveSession(predictor), source), [], lambda: ticks.append(1), seconds=0.3) is None
        assert not source.has_ended
    assert ticks


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (["VIDEO"], "-m"),
        (["nowhere.mp4", "-m", "MODEL"], "No source at nowhere.mp4"),
        (["97", "-m", "MODEL"], "There is no camera 97"),
        (["tcp://127.0.0.1:1", "-m", "MODEL"], "cannot be opened"),
        (["VIDEO", "-m", "nowhere"], "No model at nowhere"),
        (["VIDEO", "-m", "MODEL", "-o", "out.csv"], ".slp"),
        (["VIDEO", "-m", "MODEL", "--queue-size", "3"], "no effect on live frames"),
        (["VIDEO", "-m", "MODEL", "--decoder", "nvdec"], "no effect on live frames"),
        (["VIDEO", "-m", "MODEL", "--on-frame-error", "raise"], "Leave --on-frame-error out"),
        (["VIDEO", "-m", "MODEL", "--deadline", "-1"], "deadline"),
        (["VIDEO", "-m", "MODEL", "--backend-option", "x"], "NAME=VALUE"),
        (["VIDEO", "-m", "CROPS"], "a live frame does not say where these are"),
    ],
)
def test_wrong_usage(arguments: list[str], found: str, models: Path, videos: Path) -> None:
    places = {
        "VIDEO": str(videos / "two_flies.mp4"),
        "MODEL": str(models / FASTEST),
        "CROPS": str(models / "centered_instance"),
    }
    result = run(*(places.get(argument, argument) for argument in arguments))
    if result.exit_code == 2:
        assert found in result.output
    else:
        assert isinstance(result.exception, SleapInferError), result.exception
        assert found in str(result.exception)


@pytest.mark.skipif(sys.platform == "win32", reason="no Ctrl-C for a process alone")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupt_ends_it_cleanly(number: int, exported: tuple[object, ...], videos: Path, tmp_path: Path) -> None:
    output = tmp_path / "poses.slp"
    process = start(videos / "two_flies.mp4", *exported, "--json", "-o", output)
    assert process.stdout is not None
    first = json.loads(process.stdout.readline())
    process.send_signal(number)
    rest, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert "Traceback" not in errors
    frames = [first["frame"], *(json.loads(line)["frame"] for line in rest.splitlines())]
    assert [frame.frame_idx for frame in sio.load_slp(str(output))] == frames
    assert counts_of(errors)["predicted"] == len(frames)


@pytest.mark.skipif(sys.platform == "win32", reason="no broken pipes")
def test_a_reader_that_has_enough_ends_it(exported: tuple[object, ...], videos: Path, tmp_path: Path) -> None:
    output = tmp_path / "poses.slp"
    process = start(videos / "two_flies.mp4", *exported, "--json", "-o", output)
    assert process.stdout is not None
    assert process.stderr is not None
    assert json.loads(process.stdout.readline())["frame"] >= 0
    process.stdout.close()
    errors = process.stderr.read()
    process.stderr.close()
    assert process.wait(60) == 0, errors
    assert "Broken" not in errors
    assert len(sio.load_slp(str(output))) == counts_of(errors)["predicted"]


SECOND_INTERRUPT = """
import signal
from sleap_infer.cli.signals import stop_requested
interrupts = []
signal.signal(signal.SIGINT, lambda number, frame: interrupts.append(number))
with stop_requested() as told:
    assert not told.is_set()
    signal.raise_signal(signal.SIGINT)
    assert told.is_set() and not interrupts
    signal.raise_signal(signal.SIGINT)
    assert interrupts == [signal.SIGINT]
"""


def test_a_second_interrupt_is_as_usual() -> None:
    """In a process of its own: what other tests have loaded has its own ways with signals."""
    subprocess.run([sys.executable, "-c", SECOND_INTERRUPT], check=True)


def test_beside_the_main_thread_signals_are_left_alone() -> None:
    before = signal.getsignal(signal.SIGINT)
    found: list[bool] = []

    def look() -> None:
        with stop_requested() as told:
            found.append(told.is_set() or signal.getsignal(signal.SIGINT) is not before)

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert found == [False]


def test_instances_without_points_are_left_out() -> None:
    outputs = Outputs(
        pred_keypoints=np.array([[[1, 2], [np.nan, np.nan]], [[np.nan, np.nan]] * 2, [[3, 4], [5, 6]]], np.float32),
        pred_peak_values=np.array([[0.5, np.nan], [0, 0], [0.25, 1]], np.float32),
        instance_scores=np.array([0.75, 0, 0.5], np.float32),
        pred_classes=np.array([1, 0, -1]),
        instance_tracking_scores=np.array([0.5, 0, np.nan], np.float32),
    )
    assert instances_of(outputs, ("head", "tail"), ("female", "male")) == [
        {
            "points": {"head": [1.0, 2.0], "tail": None},
            "scores": {"head": 0.5, "tail": None},
            "score": 0.75,
            "class": "male",
            "class_score": 0.5,
        },
        {
            "points": {"head": [3.0, 4.0], "tail": [5.0, 6.0]},
            "scores": {"head": 0.25, "tail": 1.0},
            "score": 0.5,
            "class": None,
            "class_score": None,
        },
    ]
    assert instances_of(Outputs(), ("head",), ()) == []


@pytest.mark.parametrize("is_terminal", [True, False])
def test_the_status_line(
    is_terminal: bool, clip: Path, models: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from sleap_infer.frames.live.file import FilePlayer

    shown = io.StringIO()

    make: Callable[..., Terminal] = lambda stderr: Terminal(file=shown, force_terminal=is_terminal, width=400)  # noqa: E731
    monkeypatch.setattr(live_lines, "Terminal", make)
    monkeypatch.setattr(live_lines, "SECONDS_BETWEEN_UPDATES", -1.0)
    monkeypatch.setattr(live_lines, "SECONDS_BETWEEN_LINES", -1.0)
    with (
        Predictor.from_model_paths(models / FASTEST, device="cpu") as predictor,
        LiveSource(FilePlayer(clip)) as source,
    ):
        run = LiveRun(LiveSession(predictor), source)
        with StatusLine(run) as status:
            status()
            assert run.step() is not None
            status()
    assert "clip.ts: 0 frames seen" in shown.getvalue()
    assert "1 predicted" in shown.getvalue()
    monkeypatch.setattr(live_lines, "SECONDS_BETWEEN_LINES", 1e6)
    monkeypatch.setattr(live_lines, "SECONDS_BETWEEN_UPDATES", 1e6)
    shown.truncate(0)
    with StatusLine(run) as status:
        status()
    assert "frames seen" not in shown.getvalue()
