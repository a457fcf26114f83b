"""Groups of options that several commands share."""

from __future__ import annotations

from typing import get_args

import attrs
from attrs import frozen

from sleap_infer.choices import PrecisionChoice
from sleap_infer.cli.flags import flag
from sleap_infer.cli.parameters import BackendChoice
from sleap_infer.cli.selection import read_pairs, read_roots
from sleap_infer.config.options import SourceOptions, SourceSpec, option_fields
from sleap_infer.errors import OptionError
from sleap_infer.runners.registry import backend_names

BACKEND, SOURCES = "Backend", "Sources"
"""Headings in the help."""

MODEL_HELP = "Model directory. A top-down model has two: repeat -m."
OVERWRITE_HELP = "Replace existing output."
KEEP_JOURNAL_HELP = "Do not delete the journal when the output is written."
PROGRESS_HELP = (
    "Progress report on stderr: auto (bar on a terminal, else lines), bar, lines, json (one object per line), none."
)
JSON_HELP = "Print everything as JSON."
DEVICE_HELP = "auto, cpu, cuda, cuda:1 or mps."

PRECISION_HELP = f"Precision of the networks: {', '.join(get_args(PrecisionChoice))}."
BACKENDS_HELP = f"What runs the networks: auto, {', '.join(backend_names())}."

IGNORE_UNKNOWN_HELP = option_fields()["ignore_unknown_settings"].metadata["help"]
FRAMES_HELP = "Video or .slp file to compare on. Default: labelled frames beside the model, else generated images."

SOURCE_HELP = {item.name: item.metadata["help"] for item in attrs.fields(SourceOptions)}


@frozen
class BackendFlags:
    """Backend, device and precision."""

    backend: BackendChoice = flag(
        "auto",
        f"{BACKENDS_HELP} auto: the fastest backend with correct poses, measured for a few seconds on the first frames "
        "and remembered. onnx, mnn, openvino and tensorrt export a trained model once, to the cache; tensorrt also "
        "builds engines (graphs compiled for one GPU).",
        "-r",
        "--backend",
        "--runtime",
        metavar="<backend>",
        panel=BACKEND,
    )
    device: str = flag("auto", DEVICE_HELP, "-d", "--device", panel=BACKEND)
    precision: PrecisionChoice | None = flag(
        None,
        f"{PRECISION_HELP} auto: the fastest whose poses stay within 0.5 px. int8: a trained model is first calibrated "
        "on the video, once. Default: fp32, or that of the export.",
        "-p",
        "--precision",
        metavar="<precision>",
        panel=BACKEND,
    )
    backend_option: list[str] | None = flag(
        None, "NAME=VALUE for the runtime, such as intra_op_num_threads=2. Repeatable.", panel=BACKEND
    )

    @property
    def backend_options(self) -> dict[str, object]:
        """Options of the runtime by name."""
        return read_pairs(self.backend_option or [])


@frozen
class SourceFlags:
    """Options for opening sources."""

    dataset: str | None = flag(None, SOURCE_HELP["dataset"], panel=SOURCES)
    channels_first: bool | None = flag(
        None, SOURCE_HELP["channels_first"], "--channels-first/--channels-last", panel=SOURCES
    )
    replace_path: list[str] | None = flag(None, SOURCE_HELP["replace_paths"], panel=SOURCES)

    def options(self) -> SourceOptions:
        """Return these options for opening sources."""
        return SourceOptions(self.dataset, self.channels_first, read_roots(self.replace_path or []))

    def specs(self, names: str, *paths: object) -> list[SourceSpec | None]:
        """Return sources of frames with these options, `None` for those that are not given.

        Args:
            names: of the options that name the sources.
            paths: of the sources.

        Raises:
            OptionError: options are given, but no source.
        """
        options = self.options()
        if options != SourceOptions() and not any(paths):
            raise OptionError(f"--dataset, --channels-first and --replace-path have no effect without {names}.")
        return [SourceSpec(str(path), options) if path else None for path in paths]
