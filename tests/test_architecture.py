"""Rules of the code base that can be tests."""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import attrs
import pytest

import sleap_infer
from sleap_infer import errors
from sleap_infer.config import options

PACKAGE = Path(sleap_infer.__file__).parent

ROWS = (
    ("_version", "errors", "choices", "tuning", "reports"),
    ("system",),
    ("config",),
    ("model",),
    ("ops",),
    ("frames",),
    ("render",),
    ("poses",),
    ("runners",),
    ("graphs",),
    ("predictors",),
    ("checks",),
    ("quantization",),
    ("export",),
    ("jobs",),
    ("benchmark", "doctor"),
    ("cli",),
    ("__main__",),
)
"""The rooms of docs/concepts.md. A module imports only from its own room and from rooms above it."""

ROW = {room: number for number, row in enumerate(ROWS) for room in row}
ONLY_IN = {
    "torch": ("model", "ops", "frames", "poses", "runners", "graphs", "checks", "quantization", "export", "cli"),
    "sleap_io": ("model", "frames", "poses", "predictors", "jobs", "cli"),
    "yaml": ("model",),
    "ray": ("jobs.cluster",),
    "pyarrow": ("jobs.write",),
    "typer": ("cli",),
    "rich": ("cli",),
    "av": ("frames",),
    "PyNvVideoCodec": ("frames.nvdec",),
    "onnxruntime": ("model", "runners.graph", "graphs", "quantization"),
    "openvino": ("runners.graph",),
    "onnx": ("graphs", "quantization", "export", "runners.graph.split"),
    "MNN": ("runners.graph.mnn_network",),
}
MOST_IN_A_ROOM = 12
OF_ONE_KIND = ("cli", "ops")
"""Rooms with more modules beside each other, which are all of one kind: commands, operations."""


def modules() -> list[tuple[str, Path]]:
    return [
        (".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"), path)
        for path in sorted(PACKAGE.rglob("*.py"))
        if path != PACKAGE / "__init__.py"
    ]


def imports(node: ast.AST) -> set[str]:
    found: set[str] = set()
    for part in ast.walk(node):
        if isinstance(part, ast.Import):
            found |= {alias.name for alias in part.names}
        elif isinstance(part, ast.ImportFrom) and part.module:
            found |= {f"{part.module}.{alias.name}" for alias in part.names}
    return found


def edges() -> dict[str, set[str]]:
    """Return the modules of the package that each of its modules imports, wherever in the file it does."""
    names = {name for name, _ in modules()}
    found: dict[str, set[str]] = {}
    for name, path in modules():
        imported = {item.removeprefix("sleap_infer.") for item in imports(ast.parse(path.read_text(encoding="utf-8")))}
        found[name] = {item if item in names else item.rpartition(".")[0] for item in imported} & names - {name}
    return found


def test_imports_follow_the_rooms_without_cycles() -> None:
    upward = [
        f"{name} imports {other}"
        for name, others in edges().items()
        for other in others
        if ROW[other.split(".")[0]] > ROW[name.split(".")[0]]
    ]
    assert not upward
    TopologicalSorter(edges()).prepare()  # raises CycleError


def test_libraries_are_imported_in_their_rooms() -> None:
    wrong = [
        f"{name} imports {imported}"
        for name, path in modules()
        for imported in imports(ast.parse(path.read_text(encoding="utf-8")))
        if (package := imported.partition(".")[0]) in ONLY_IN
        and not any(f"{name}.".startswith(f"{room}.") for room in ONLY_IN[package])
    ]
    assert not wrong


def test_rooms_are_small_and_say_who_lives_there() -> None:
    for init in PACKAGE.rglob("__init__.py"):
        room = ".".join(init.parent.relative_to(PACKAGE).parts)
        beside = [path for path in init.parent.glob("*.py") if path != init]
        assert room in OF_ONE_KIND or len(beside) <= MOST_IN_A_ROOM, f"{room} has {len(beside)} modules"
        docstring = ast.get_docstring(ast.parse(init.read_text(encoding="utf-8"))) or ""
        assert len(docstring.split()) > 3, f"{room} does not say what it is for"


ONLY_FOR_THE_TERMINAL = (
    "rich.console",
    "rich.text",
    "rich.progress.TextColumn",
    "rich.progress.Progress",
    "rich.markup",
)
PRINTING = ("print", "echo", "secho", "print_json", "input", "rule", "log", "out", "from_markup")


@pytest.mark.parametrize(
    "path", [path for name, path in modules() if name.startswith("cli")], ids=lambda path: path.stem
)
def test_the_command_line_prints_in_one_module_only(path: Path) -> None:
    """There names are escaped; elsewhere this would be forgotten."""
    if path.stem == "terminal":
        return
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing_only = {
        imported
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for imported in imports(node)
    }
    forbidden = [name for name in imports(tree) - typing_only if name.startswith(ONLY_FOR_THE_TERMINAL)]
    assert not forbidden, f"use sleap_infer.cli.output.terminal instead of {forbidden}"
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = node.func
        if isinstance(called, ast.Name):
            assert called.id not in PRINTING, f"line {node.lineno}: use cli.output.terminal"
        elif isinstance(called, ast.Attribute) and called.attr in PRINTING:
            is_console = "console" in ast.unparse(called.value).lower() or "Terminal" in ast.unparse(called.value)
            assert (called.attr, is_console) == ("print", True), f"line {node.lineno}: use cli.output.terminal"
        assert not ast.unparse(called).endswith(("stdout.write", "stderr.write")), f"line {node.lineno}"


RUNTIMES = ("onnxruntime", "openvino", "ray", "tensorrt", "tensorrt_rtx")
IMPORT_BY_NAME = ("__init__", "runners", "system.runtimes", "runners.registry", "benchmark.measure")
"""Modules that import by name: our own, or, in `runtimes`, with reports switched off."""


def test_runtimes_are_imported_with_reports_switched_off() -> None:
    for name, path in modules():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        direct = {imported for imported in imports(tree) if imported.partition(".")[0] in RUNTIMES}
        assert not direct, f"{name} imports {direct} without sleap_infer.system.runtimes.import_runtime"
        names = {part.id for part in ast.walk(tree) if isinstance(part, ast.Name)}
        assert name in IMPORT_BY_NAME or not names & {"import_module", "__import__"}, name


def test_processes_are_started_in_one_place() -> None:
    """Else they may outlive this one."""
    starting = {f"subprocess.{call}" for call in ("Popen", "run", "call", "check_call", "check_output")}
    starting |= {"os.fork", "os.system", "os.posix_spawn", "multiprocessing.Process", "ProcessPoolExecutor"}
    for name, path in modules():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        calls = {ast.unparse(part.func) for part in ast.walk(tree) if isinstance(part, ast.Call)}
        allowed = name in ("system.child_process", "system.subreaper")
        assert allowed or not calls & starting, f"{name} starts processes without child_process.start"


def test_every_module_has_its_row() -> None:
    assert {name.split(".")[0] for name, _ in modules()} == set(ROW)


@pytest.mark.parametrize(
    "statement",
    [
        "import sleap_infer",
        "import sleap_infer.cli.app",
        "import sleap_infer.predictors",
        "import sleap_infer.graphs.cache",
        "import sleap_infer.poses.postprocess",
        "from sleap_infer.model import read_spec; read_spec(PATH)",
        "from sleap_infer import Predictor",
    ],
)
def test_torch_is_not_imported_early(statement: str, models: Path) -> None:
    code = f"PATH = {str(models / 'single_instance')!r}\n{statement}\nimport sys\nassert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_public_names() -> None:
    assert sorted(sleap_infer.__all__) == sorted([*sleap_infer._HOMES, "__version__"])
    for name in sleap_infer.__all__:
        assert getattr(sleap_infer, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = sleap_infer.nothing
    assert set(sleap_infer.__all__) <= set(dir(sleap_infer))


def test_the_error_tree_is_drawn_as_it_is() -> None:
    drawn = {word for word in (errors.__doc__ or "").replace("├", " ").split() if word.endswith("Error")}
    real = {name for name in vars(errors) if name.endswith("Error")}
    assert drawn == real
    for name in real - {"SleapInferError"}:
        assert issubclass(getattr(errors, name), errors.SleapInferError)
        assert getattr(errors, name).__doc__


def test_every_option_says_what_it_does_and_where() -> None:
    for name, option in options.option_fields().items():
        assert option.metadata["help"].endswith("."), name
        assert options.applies_to(option), name
    names = [item.name for group in options.option_groups().values() for item in attrs.fields(group)]
    assert len(names) == len(set(names))


def test_no_function_takes_more_than_seven_arguments_or_sixty_lines() -> None:
    for name, path in modules():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                arguments = [*node.args.args, *node.args.kwonlyargs]
                own = [argument for argument in arguments if argument.arg not in ("self", "cls")]
                assert len(own) <= 7, f"{name}.{node.name} takes {len(own)} arguments"
                assert (node.end_lineno or 0) - node.body[0].lineno < 60, f"{name}.{node.name} is long"


def test_files_of_tests_have_names_of_their_own() -> None:
    """Pytest imports a test file by its name alone: two of one name are an error, seen only in the whole suite."""
    names = [path.name for path in Path(__file__).parent.rglob("*.py") if path.name != "conftest.py"]
    assert len(names) == len(set(names)), sorted(name for name in set(names) if names.count(name) > 1)
