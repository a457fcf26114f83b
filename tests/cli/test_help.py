"""The help: examples first, then what most users want, in plain words; every option of earlier versions is there."""

from __future__ import annotations

import re
import shlex
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from sleap_infer.cli.app import app
from sleap_infer.errors import OptionError

ORDER = ["demo", "info", "predict", "live", "merge", "validate", "export", "benchmark", "doctor", "cache"]

FLAGS = {
    "predict": """
        --address --aim --anchor-part --backend --backend-option --batch-size --channels-first --channels-last
        --crop-batch-size --crop-size --dataset --decoder --device --dist-penalty-weight --dry-run --engine
        --ensure-grayscale --ensure-rgb --format --frames --ignore-unknown-settings --input-scaling
        --integral-patch-size --keep-journal --max-edge-length-ratio --max-failed --max-height --max-instances
        --max-overlap --max-peaks-per-node --max-width --merge --min-centroid-distance --min-instance-peaks
        --min-instance-score --min-line-scores --min-mean-node-score --min-visible-node-fraction
        --min-visible-nodes --model --n-frames --n-points --no-cache --no-ensure-grayscale --no-ensure-rgb
        --no-ignore-unknown-settings --no-resume --on-frame-error --out-dir --output --overlap-method
        --overwrite --pad-to-stride --peak-threshold --precision --progress --queue-size --refinement
        --replace-path --restore-source-videos --resume --runtime --shard --slurm --workers -b -d -f -m -n -o
        -p -r
    """,
    "merge": """
        --format --keep-journal --overwrite --partial --progress -f
    """,
    "info": """
        --ignore-unknown-settings
    """,
    "export": """
        --batch-size --calibration --calibration-frames --device --draw --force --format --frames --fused
        --ignore-unknown-settings --input-scale --input-size --integral-patch-size --layout --max-batch-size
        --max-error-px --max-instances --max-peaks-per-node --n-frames --n-points --no-force --no-fused
        --no-overwrite --no-second-look --no-self-contained --no-validate --opset-version --output
        --output-dir --overwrite --pattern --peak-threshold --precision --second-look --self-contained
        --validate -b -f -n -o -p
    """,
    "validate": """
        --against --backend --device --draw --frames --ignore-unknown-settings --json --max-error-px
        --n-frames --runtime -m -r
    """,
    "demo": """
        --output -o
    """,
    "doctor": """
        --json --only --timeout
    """,
    "live": """
        --aim --anchor-part --backend --backend-option --crop-batch-size --crop-size --deadline --decoder
        --device --dist-penalty-weight --duration --ensure-grayscale --ensure-rgb --ignore-unknown-settings
        --input-scaling --integral-patch-size --json --max-edge-length-ratio --max-height --max-instances
        --max-overlap --max-peaks-per-node --max-width --min-centroid-distance --min-instance-peaks
        --min-instance-score --min-line-scores --min-mean-node-score --min-visible-node-fraction
        --min-visible-nodes --model --n-frames --n-points --no-ensure-grayscale --no-ensure-rgb
        --no-ignore-unknown-settings --on-frame-error --output --overlap-method --overwrite --pad-to-stride
        --peak-threshold --precision --queue-size --refinement --runtime --timeout -d -m -n -o -p -r
    """,
    "benchmark": """
        --backends --baseline --batch-sizes --device --html --ignore-unknown-settings --model --n-frames
        --output --overwrite --precision --repeats --timeout -b -d -m -n -o -p -r
    """,
    "cache": """
        --clear
    """,
}
"""Options of each command in earlier versions, which stay."""

PRIVATE_WORDS = (
    r"\b(so many|shares?|room for|a processor|mends?|(go|goes|going) on|cells?|places?|asks?|asked|none but)\b"
)


def shown(*arguments: str) -> str:
    result = CliRunner().invoke(app, [*arguments, "--help"], env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    return result.output


def command(name: str) -> Any:
    group: Any = typer.main.get_command(app)
    return group.commands[name]


@pytest.mark.parametrize("words", [[], *([name] for name in ORDER)], ids=" ".join)
def test_help_begins_with_examples_that_can_be_run(words: list[str]) -> None:
    text = shown(*words)
    examples = [line.strip() for line in text.splitlines() if line.strip().startswith("sleap-infer ")]
    assert examples
    assert text.index("Examples:") < text.index("──")
    for example in examples:
        program, name, *arguments = shlex.split(example)
        assert program == "sleap-infer"
        assert not words or name == words[0]
        command(name).make_context(name, arguments)


def test_commands_are_listed_in_the_order_of_use() -> None:
    assert re.findall(r"^│ (\w+) ", shown().partition("Commands")[2], re.MULTILINE) == ORDER


def test_what_most_users_want_comes_before_backends_and_workers() -> None:
    text = shown("predict").partition("Options ─")[2]
    flags = ("--model", "--max-instances", "--peak-threshold", "--frames", "--format", "--backend ", "--workers")
    positions = [re.search(rf"│[ *]+{flag}", text.replace("--backend,", "--backend ")) for flag in flags]
    starts = [found.start() for found in positions if found]
    assert len(starts) == len(flags)
    assert starts == sorted(starts)


@pytest.mark.parametrize("name", ORDER)
def test_types_are_plain_words(name: str) -> None:
    text = shown(name)
    for word in (r"\bbool\b", r"<int\b", r"<float\b", r"<str\b", r"list\[", r"\brange\b", r"[<>]=", "Path>"):
        assert not re.search(word, text), word


NUMBERS = [
    (name, item.opts[-1])
    for name in ORDER
    for item in command(name).params
    if "float" in item.display_type(None) or item.name in ("peak_threshold", "min_instance_peaks")
]


@pytest.mark.parametrize("value", ["nan", "inf"])
@pytest.mark.parametrize(("name", "flag"), NUMBERS)
def test_numbers_are_finite(name: str, flag: str, value: str) -> None:
    """A limit lets NaN through, and a run without an end is asked for with 0."""
    required = {"predict": ["a.mp4", "-m", "b"], "live": ["a.mp4", "-m", "b"], "validate": ["a", "-m", "b"]}
    result = CliRunner().invoke(app, [name, *required.get(name, []), flag, value])
    if result.exit_code == 2:  # typer compares it with the lowest value
        assert f"Invalid value for '{flag}'" in result.output
    else:
        assert isinstance(result.exception, OptionError), result.output
        assert f"{flag} {value}: expected a finite number" in str(result.exception)


@pytest.mark.parametrize("name", ORDER)
def test_words_are_those_of_the_field(name: str) -> None:
    found = re.search(PRIVATE_WORDS, re.sub(r"keep_place", "", shown(name)), re.IGNORECASE)
    assert found is None, found


@pytest.mark.parametrize("name", ORDER)
def test_nothing_in_brackets_is_lost_as_markup(name: str) -> None:
    for item in command(name).params:
        assert "[" not in (item.help or ""), item.name


@pytest.mark.parametrize("name", ORDER)
def test_every_option_of_earlier_versions_stays(name: str) -> None:
    given = {flag for item in command(name).params for flag in (*item.opts, *item.secondary_opts)}
    assert set(FLAGS[name].split()) <= given


@pytest.mark.parametrize("name", ORDER)
def test_defaults_have_one_form(name: str) -> None:
    text = shown(name)
    assert not re.search(r"\[default|Default: (True|False|None)|Default: \d+\.0\b", text)


@pytest.mark.parametrize("name", ORDER)
def test_lists_of_choices_are_not_broken_inside_a_word(name: str) -> None:
    """On a terminal of the usual width."""
    text = CliRunner().invoke(app, [name, "--help"], env={"COLUMNS": "80"}).output
    for choices in re.findall(r"<[\w,]+\|[\w|,]*", text):
        assert choices + ">" in text, choices


def test_live_shows_only_options_with_an_effect_there() -> None:
    text = shown("live")
    for flag, value in (("--decoder", "nvdec"), ("--queue-size", "3"), ("--on-frame-error", "raise")):
        assert flag not in text
        result = CliRunner().invoke(app, ["live", "a.mp4", "-m", "b", flag, value])
        assert isinstance(result.exception, OptionError)
    assert re.search(r"--aim .*Default: latency\.", text)


def test_the_scale_of_frames_has_the_same_names_in_all_commands() -> None:
    for name in ("predict", "live", "export"):
        flags = {flag for item in command(name).params for flag in item.opts}
        assert {"--input-scale", "--input-scaling"} <= flags, name


def test_validate_lists_the_backends_of_graphs() -> None:
    assert re.search(r"--backend,--runtime .* onnx, mnn, openvino, tensorrt\b", shown("validate"))
    assert "torch_compile" not in shown("validate")


def test_deprecated_options_are_hidden() -> None:
    assert "second-look" not in shown("export")
