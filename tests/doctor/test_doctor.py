"""The doctor, run as a user runs it: here, and in environments that are broken in a known way."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from sleap_infer.doctor.reference import EXPORTED, Reference
from sleap_infer.model import read_spec
from sleap_infer.runners.registry import backend_names
from sleap_infer.system.runtimes import install_command

if TYPE_CHECKING:
    from conftest import Environment


needs_no_gpu = pytest.mark.skipif(
    Path("/proc/driver/nvidia").exists() or shutil.which("nvidia-smi") is not None,
    reason="pretends a GPU, or that there is none",
)


QUICK = ("torch", "onnx", "mnn", "openvino", "video", "images")


@pytest.mark.parametrize("names", [QUICK, pytest.param((), marks=pytest.mark.exhaustive)], ids=["quick", "all"])
def test_here(names: tuple[str, ...], environment: Environment) -> None:
    found = environment.diagnose(*names)
    for name in ("torch", "onnx", "mnn", "openvino", *([] if names else ["torch_compile"])):
        check = found[f"{name} cpu"]
        assert check["state"] == "ok", check
        assert check["agreement"] < 0.05
        assert check["unit"] == "px"
        assert check["ms"] > 0
    for name in ("video", "images"):
        assert found[f"{name} cpu"]["state"] == "ok", found[f"{name} cpu"]
    every = {"driver", *backend_names(), "video", "images", "nvdec"}
    assert {name.split()[0] for name in found} == set(names or every)


@pytest.mark.needs_cuda
def test_on_a_gpu(environment: Environment) -> None:
    found = environment.diagnose("driver", "torch")
    assert found["driver gpu"]["state"] == "ok"
    assert found["torch cuda:0"]["state"] == "ok", found["torch cuda:0"]
    assert found["torch cuda:0"]["agreement"] < 0.05


@needs_no_gpu
def test_without_a_gpu_what_needs_one_is_unusable_and_nothing_is_broken(environment: Environment) -> None:
    found = environment.diagnose("driver", "torch", "onnx", returncode=0)
    for name in ("driver gpu", "torch cuda", "onnx cuda"):
        assert found[name]["state"] == "unusable here"
        assert "no NVIDIA GPU" in found[name]["cause"] or found[name]["fix"]


def test_json(environment: Environment) -> None:
    result = environment.run("--json", "--only", "images")
    found = json.loads(result.stdout)
    assert set(found) == {"schema", "sleap_infer", "ok", "machine", "checks"}
    assert found["schema"] == 2
    assert found["ok"] is True
    assert found["machine"]["python"] == ".".join(map(str, sys.version_info[:3]))
    machine = {"os", "python", "executable", "cpu", "cores", "memory_gb", "gpus", "driver", "driver_cuda"}
    assert set(found["machine"]) == machine
    (check,) = found["checks"]
    named = {"name", "kind", "device", "state", "packages", "agreement", "unit", "ms", "cause", "fix", "detail"}
    assert set(check) == named


def test_a_name_that_is_not_there(environment: Environment) -> None:
    result = environment.run("--only", "onxx")
    assert result.returncode == 2
    assert "no check 'onxx'. Use some of: " in result.stderr


def test_the_command_imports_no_runtime() -> None:
    code = (
        "import sys\nfrom sleap_infer.cli.app import app\ntry: app(['doctor', '--only', 'onnx'])\n"
        "except SystemExit: pass\nassert not {'torch', 'onnxruntime', 'numpy', 'cv2'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_the_exported_model_names_nothing_of_the_machine_that_made_it() -> None:
    from sleap_infer.model.onnx_graph import open_graph

    spec = read_spec(EXPORTED)
    assert spec.exported is not None
    assert spec.exported.source == "sleap_infer/assets/models/bottomup/best.ckpt"
    assert spec.exported.verdict.startswith("PASS: 32 frames (sleap_infer/assets/")
    inside = open_graph(EXPORTED / "model.onnx").get_modelmeta().custom_metadata_map["sleap_infer"]
    assert json.loads(inside)["exported"]["source"] == spec.exported.source
    assert b"/work/" not in b"".join(path.read_bytes() for path in EXPORTED.glob("*"))


def test_the_reference_is_near_the_truth(videos: Path) -> None:
    import sleap_io as sio

    reference = Reference.read()
    truth = sio.load_slp(str(videos / "two_flies.truth.slp"), open_videos=False)
    expected = {frame.frame_idx: np.array([pose.numpy() for pose in frame.instances], np.float32) for frame in truth}
    found = reference.compare([expected[index] for index in reference.frame_inds])
    assert found["n_wrong"] == 0
    assert found["agreement"] < 5


# Broken environments. Each asserts the cause and the command.


def test_two_wheels_over_each_other(environment: Environment) -> None:
    environment.add_metadata("onnxruntime-gpu", "1.22.0")
    environment.add_package(
        "onnxruntime", "raise ImportError(\"cannot import name 'ModelCompiler' from 'onnxruntime.capi'\")"
    )
    check = environment.diagnose("onnx", returncode=1)["onnx cpu"]
    assert check["state"] == "failed"
    assert "onnxruntime-gpu 1.22.0 are both installed" in check["cause"]
    assert check["fix"] == "pip uninstall -y onnxruntime onnxruntime-gpu && pip install onnxruntime"


def test_two_wheels_that_work_by_chance(environment: Environment) -> None:
    environment.add_metadata("onnxruntime-gpu", "1.22.0")
    check = environment.diagnose("onnx", returncode=0)["onnx cpu"]
    assert check["state"] == "ok"
    assert "are both installed" in check["cause"]
    assert check["fix"].startswith("pip uninstall -y onnxruntime onnxruntime-gpu && ")


def test_no_compiler(environment: Environment) -> None:
    environment.variables |= {"PATH": str(environment.folder), "CXX": ""}
    check = environment.diagnose("torch_compile", returncode=1)["torch_compile cpu"]
    assert check["state"] == "failed"
    assert "no C++ compiler" in check["cause"]
    command = {"linux": "sudo apt install g++", "darwin": "xcode-select --install"}
    assert check["fix"] == command.get(sys.platform, check["fix"])


def test_tensorrt_without_its_libraries(environment: Environment) -> None:
    environment.add_metadata("tensorrt", "11.4.0.106")
    environment.add_package("tensorrt", "import ctypes\nctypes.CDLL('libnvonnxparser.so.11')")
    found = environment.diagnose("tensorrt", returncode=1)
    check = found.get("tensorrt cuda") or found["tensorrt cuda:0"]
    assert check["state"] == "failed"
    assert "not its libraries (libnvonnxparser.so.11)" in check["cause"]
    assert check["fix"] == "pip install --extra-index-url https://pypi.nvidia.com tensorrt"


@needs_no_gpu
def test_onnxruntime_that_cannot_load_cuda(environment: Environment) -> None:
    environment.add_gpu()
    environment.add_package(
        "onnxruntime",
        """
        module = real("onnxruntime")
        module.package_name = "onnxruntime-gpu"
        module.get_available_providers = lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
        real_session = module.InferenceSession

        def session(path, options, providers):
            names = [item if isinstance(item, str) else item[0] for item in providers]
            if "CUDAExecutionProvider" in names:
                print("[E:onnxruntime] Failed to load library libonnxruntime_providers_cuda.so", file=sys.stderr)
            return real_session(path, options, providers=["CPUExecutionProvider"])

        module.InferenceSession = session
        """,
    )
    found = environment.diagnose("onnx", returncode=1)
    assert found["onnx cpu"]["state"] == "ok"
    assert found["onnx cuda:0"]["state"] == "failed"
    assert "cannot load CUDA 13 and cuDNN 9" in found["onnx cuda:0"]["cause"]
    assert found["onnx cuda:0"]["fix"] == "pip install 'onnxruntime-gpu[cuda,cudnn]'"


@needs_no_gpu
def test_packages_for_cpus_beside_a_gpu(environment: Environment) -> None:
    environment.add_gpu()
    found = environment.diagnose("driver", "torch", "onnx", returncode=1)
    assert found["driver gpu"]["state"] == "ok"
    assert found["driver gpu"]["packages"] == {"NVIDIA": "580.65.06"}
    torch = found["torch cuda:0"]
    assert torch["state"] == "failed"
    assert "built without CUDA, while there is a GPU (Pretended GPU)" in torch["cause"]
    command = "pip uninstall -y torch && pip install torch --index-url https://download.pytorch.org/whl/cu130"
    assert torch["fix"] == command
    assert found["onnx cuda:0"]["state"] == "absent"
    assert found["onnx cuda:0"]["fix"].endswith("pip install 'onnxruntime-gpu[cuda,cudnn]'")


def test_torch_that_cannot_load_a_library(environment: Environment) -> None:
    environment.add_package("torch", "import ctypes\nctypes.CDLL('libtorch_cpu_missing.so')")
    found = environment.diagnose("torch", "torch_compile", returncode=1)
    for name in ("torch cpu", "torch_compile cpu"):
        assert found[name]["state"] == "failed"
        assert "cannot load its library libtorch_cpu_missing.so" in found[name]["cause"]
        assert found[name]["fix"].startswith("pip install --force-reinstall torch")


def test_a_package_that_crashes_when_imported(environment: Environment) -> None:
    environment.add_package("openvino", "import signal\nos.kill(os.getpid(), signal.SIGSEGV)")
    check = environment.diagnose("openvino", returncode=1)["openvino cpu"]
    assert check["state"] == "failed"
    assert check["cause"] == "It crashed (SIGSEGV) while importing openvino."
    assert check["fix"] == "pip install --force-reinstall openvino"
    assert "Segmentation fault" in check["detail"]


def test_a_package_that_crashes_when_it_is_closed(environment: Environment) -> None:
    code = "import atexit, signal\natexit.register(os.kill, os.getpid(), signal.SIGSEGV)\nreal('openvino')"
    environment.add_package("openvino", code)
    check = environment.diagnose("openvino", returncode=1)["openvino cpu"]
    assert check["agreement"] < 0.05
    assert check["cause"] == "It works, and then ends badly (SIGSEGV) when it is closed."


def test_a_package_that_hangs(environment: Environment) -> None:
    environment.add_package("openvino", "import subprocess\nsubprocess.run(['sleep', '300'])")
    start = time.monotonic()
    result = environment.run("--json", "--only", "openvino", "--timeout", "3")
    assert time.monotonic() - start < 60
    (check,) = json.loads(result.stdout)["checks"]
    assert result.returncode == 1
    assert "did not answer within 3 s, while importing openvino" in check["cause"]
    assert check["fix"] == "sleap-infer doctor --only openvino --timeout 600"


def test_a_process_that_ends_without_an_answer(environment: Environment) -> None:
    environment.add_package("openvino", "print('noise', flush=True)\nos._exit(3)")
    check = environment.diagnose("openvino", returncode=1)["openvino cpu"]
    assert check["cause"] == "Its process ended (exit code 3) while importing openvino, without an answer: noise"
    assert check["fix"] == "pip install --force-reinstall openvino"


WRONG = """
module = real("onnxruntime")
real_session = module.InferenceSession

class Session(real_session):
    def run(self, names, fed, *rest):
        found = super().run(names, fed, *rest)
        return [value {} if name == "peaks" else value for name, value in zip(names, found)]

module.InferenceSession = Session
"""


@pytest.mark.parametrize(
    ("what", "found"),
    [("+ 1.5", "points are up to 2.12 px away"), ("* float('nan')", "of 30 points 30 are missing or too many")],
)
def test_wrong_poses(what: str, found: str, environment: Environment) -> None:
    environment.add_package("onnxruntime", WRONG.format(what))
    check = environment.diagnose("onnx", returncode=1)["onnx cpu"]
    assert check["state"] == "failed"
    assert "its results are wrong" in check["cause"]
    assert found in check["cause"]
    assert check["fix"] == "pip install --force-reinstall onnxruntime"


def test_a_package_for_another_numpy(environment: Environment) -> None:
    message = "A module that was compiled using NumPy 1.x cannot be run in NumPy 2.4.6 as it may crash."
    environment.add_package("openvino", f"raise ImportError({message!r})")
    check = environment.diagnose("openvino", returncode=1)["openvino cpu"]
    assert "was built for NumPy 1 and does not work with NumPy 2" in check["cause"]
    assert check["fix"] == "pip install 'numpy<2'"


def test_packages_whose_files_are_gone(environment: Environment) -> None:
    environment.add_package("openvino", "raise ModuleNotFoundError(\"No module named 'openvino._pyopenvino'\")")
    check = environment.diagnose("openvino", returncode=1)["openvino cpu"]
    assert "is listed as installed, but its files are gone" in check["cause"]
    assert check["fix"] == "pip install --force-reinstall openvino"


@needs_no_gpu
def test_a_driver_that_was_updated_while_it_ran(environment: Environment) -> None:
    environment.add_program(
        "nvidia-smi", "echo 'Failed to initialize NVML: Driver/library version mismatch' >&2; exit 18"
    )
    found = environment.diagnose("driver", "onnx", returncode=1)
    assert found["driver gpu"]["state"] == "failed"
    assert found["driver gpu"]["fix"] == "sudo reboot"
    assert found["onnx cuda"]["state"] == "unusable here"
    assert found["onnx cpu"]["state"] == "ok"


@needs_no_gpu
def test_gpus_without_cuda(environment: Environment) -> None:
    environment.add_program("nvidia-smi", 'echo "580.65.06, Pretended GPU"')
    check = environment.diagnose("driver", returncode=1)["driver gpu"]
    assert "nvidia-smi sees a GPU, but CUDA's library (libcuda.so.1) is not there" in check["cause"]
    assert check["fix"].startswith("docker run --gpus all")


def test_what_people_see(environment: Environment) -> None:
    environment.add_package("openvino", "raise ImportError('[bold]as it is[/bold] [/nothing] {braces}')")
    environment.add_package("PyNvVideoCodec", "")
    result = environment.run("--only", "openvino", "--only", "images", "--only", "nvdec")
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    lines = result.stdout.splitlines()
    assert any(line.split()[:3] == ["openvino", "cpu", "failed"] for line in lines)
    assert any(line.split()[:3] == ["images", "cpu", "ok"] for line in lines)
    assert "[bold]as it is[/bold] [/nothing] {braces}" in result.stdout
    command = "    sleap-infer doctor --only openvino --json > doctor.json   # send this file with your report"
    assert command in lines, "a command is one line, however narrow the terminal"
    assert lines[-1] == "1 of 3 checks failed."


def test_what_is_not_installed_is_no_fault(environment: Environment) -> None:
    check = next(iter(environment.diagnose("nvdec", returncode=0).values()))
    if check["packages"]:
        pytest.skip("a decoder for GPUs is installed here")
    assert check["state"] == "absent"
    assert check["fix"] == install_command("nvdec")


def test_files_of_the_user_are_not_imported(tmp_path: Path) -> None:
    (tmp_path / "openvino.py").write_text("raise RuntimeError('a script of the user')", encoding="utf-8")
    program = Path(sys.executable).with_name("sleap-infer")
    command: Sequence[str | Path] = [program, "doctor", "--only", "openvino"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
