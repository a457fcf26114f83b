"""Map evidence to a cause and a fix. The first matching rule wins.

To add a cause, put a rule into one of the tables, before the more general ones.
"""

from __future__ import annotations

import os
import re

from sleap_infer.doctor.causes_gpu import DRIVER_RULES, GPU_RULES, NEW_DRIVER, PYTORCH
from sleap_infer.doctor.components import DRIVER
from sleap_infer.doctor.evidence import Evidence, Rule
from sleap_infer.doctor.report import Finding
from sleap_infer.system.runtimes import NVIDIA_INDEX


def find_cause(evidence: Evidence) -> Finding:
    """Return the cause of a failure and its fix; the error message if no rule matches."""
    rules = (*DRIVER_RULES, *GENERAL_RULES) if evidence.component is DRIVER else RULES
    return next(found for rule in rules if (found := rule.apply(evidence)) is not None)


def warn(evidence: Evidence) -> Finding | None:
    """Return what will soon break, of a component that works; `None` if nothing will."""
    return WORKS_BY_CHANCE.apply(evidence)


def _overwritten(evidence: Evidence) -> bool:
    return evidence.component.only_one and len(evidence.installed) > 1


def _module_missing(evidence: Evidence) -> bool:
    return any(re.search(rf"No module named '{name}['.]", evidence.text) for name in evidence.component.imports)


FIRST_RULES = (
    Rule(
        "{packages} are both installed. They overwrite each other's files, and a mixture is left.",
        "pip uninstall -y {names} && pip install {wanted}",
        when=_overwritten,
    ),
    Rule("It runs, but its results are wrong: {what}. Do not use it for data.", "{reinstall}", r"^wrong: (?P<what>.*)"),
)
"""Causes that explain all other symptoms."""

PACKAGE_RULES = (
    Rule(
        "{versioned} is listed as installed, but its files are gone.",
        "{reinstall}",
        when=lambda evidence: bool(evidence.installed) and _module_missing(evidence),
    ),
    Rule("It is not installed.", "{install}", when=_module_missing, state="absent"),
    Rule(
        "Triton is not installed. PyTorch needs it to compile on GPUs.",
        {"": "pip install triton", "win32": "pip install triton-windows"},
        r"No module named 'triton|TritonMissing|working triton",
    ),
    Rule(
        "cuda-python is not installed or too old. TensorRT needs it.",
        "pip install --upgrade 'cuda-python>=12.6'",
        r"cuda-python cannot be imported|No module named 'cuda",
    ),
    Rule(
        "A package that {package} needs is not installed: {module}.", "{reinstall}", r"No module named '(?P<module>\w+)"
    ),
    Rule(
        "Files of {package} are missing or of another version ({error}).",
        "{reinstall}",
        r"module '\w+' has no attribute|cannot import name",
    ),
    Rule(
        "{versioned} was built for NumPy 1 and does not work with NumPy 2.",
        "pip install 'numpy<2'",
        r"compiled using NumPy 1\.x|_ARRAY_API not found|Numpy is not available|Expected 88 from C header, got 96",
    ),
    Rule(
        "{versioned} was built for NumPy 2 and does not work with NumPy 1.",
        "pip install --upgrade numpy",
        r"numpy\.dtype size changed|compiled against (?:NumPy )?(?:ABI|API) version",
    ),
)
"""Packages that are missing, incomplete or incompatible."""

COMPILER_RULES = (
    Rule(
        "There is no C++ compiler. PyTorch needs one to compile for the CPU.",
        {
            "": "sudo apt install g++",
            "darwin": "xcode-select --install",
            "win32": "winget install Microsoft.VisualStudio.2022.BuildTools",
        },
        r"C\+\+ compiler|InvalidCxxCompiler",
        PYTORCH,
    ),
    Rule("There is no C compiler. Triton needs one.", "sudo apt install gcc", r"Failed to find C compiler", PYTORCH),
    Rule(
        "Python's header files are not installed. Triton needs them.",
        "sudo apt install python3-dev",
        r"Python\.h: No such file",
        PYTORCH,
    ),
)

_APT = {"libGL.so.1": "libgl1", "libgomp.so.1": "libgomp1", "libgthread-2.0.so.0": "libglib2.0-0"}
LIBRARY_RULES = (
    Rule(
        "TensorRT's Python part is installed, but not its libraries ({library}).",
        f"pip install --extra-index-url {NVIDIA_INDEX} tensorrt",
        r"(?P<library>libnv(?:infer|onnxparser)[\w.]*)",
        ("tensorrt",),
    ),
    Rule(
        "TensorRT's libraries were not downloaded: pip did not search NVIDIA's index.",
        f"pip install --extra-index-url {NVIDIA_INDEX} tensorrt",
        r"InstallFailedError|wheel_stub",
        ("tensorrt",),
    ),
    Rule("TensorRT cannot start on this GPU ({error}).", NEW_DRIVER, r"returned nullptr", ("tensorrt",)),
    *(
        Rule(f"A library of the system is missing: {library}.", f"sudo apt install {package}", re.escape(library))
        for library, package in _APT.items()
    ),
    Rule(
        "The system's C++ library is older than {versioned} needs ({symbol} is missing).",
        "conda install -c conda-forge libstdcxx-ng",
        r"version `(?P<symbol>(?:GLIBCXX|CXXABI)_[\d.]+)' not found",
    ),
    Rule(
        "LD_LIBRARY_PATH makes {versioned} load libraries of another version ({symbol} is not in them).",
        "unset LD_LIBRARY_PATH",
        r"undefined symbol: (?P<symbol>\w+)",
        when=lambda evidence: bool(os.environ.get("LD_LIBRARY_PATH")),
    ),
    Rule(
        "{versioned} has incompatible libraries ({symbol} is missing).",
        "{reinstall}",
        r"undefined symbol: (?P<symbol>\w+)",
    ),
    Rule(
        "{versioned} cannot load its library {library}.",
        "{reinstall}",
        r"(?P<library>[\w+.-]+\.(?:so|dylib)[\w.]*): (?:cannot open shared object file|failed to map)",
    ),
    Rule(
        "{versioned} cannot load its libraries, most often because Microsoft's C++ runtime is missing.",
        "winget install Microsoft.VCRedist.2015+.x64",
        r"DLL load failed|WinError 126",
    ),
)
"""Shared libraries that cannot be loaded."""

GENERAL_RULES = (
    Rule(
        "It works, and then ends badly ({end}) when it is closed.",
        "{reinstall}",
        when=lambda evidence: bool(evidence.ending.answer and evidence.ending.returncode and not evidence.problem),
    ),
    Rule(
        "It was killed while {stage}, most likely because the memory ({memory} GB) was full.",
        "sleap-infer doctor --only {name}   # after closing other programs",
        when=lambda evidence: evidence.crash == "SIGKILL",
    ),
    Rule("It crashed ({end}) while {stage}.", "{reinstall}", when=lambda evidence: bool(evidence.crash)),
    Rule(
        "It did not answer within {seconds} s, while {stage}. It may only be slow; give it more time. If that does not "
        "help, reinstall it: {reinstall}",
        "sleap-infer doctor --only {name} --timeout {more}",
        when=lambda evidence: evidence.ending.returncode is None,
    ),
    Rule(
        "Its process ended ({end}) while {stage}, without an answer: {error}",
        "{reinstall}",
        when=lambda evidence: evidence.ending.answer is None,
    ),
    Rule("{error}", "sleap-infer doctor --only {name} --json > doctor.json   # send this file with your report"),
)
"""Causes for any component. The last rule always matches."""

WORKS_BY_CHANCE = Rule(
    "It works, but {packages} are both installed. They overwrite each other's files: the next update breaks them.",
    "pip uninstall -y {names} && pip install {wanted}",
    when=_overwritten,
    state="ok",
)
RULES = (*FIRST_RULES, *PACKAGE_RULES, *COMPILER_RULES, *GPU_RULES, *LIBRARY_RULES, *GENERAL_RULES)
