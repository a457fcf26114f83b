"""`sleap-infer export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from sleap_infer.cli.selection import read_frames
from sleap_infer.options import DEFAULT_PLACES

N_CHECKED = 16


def export(
    model: Annotated[list[Path], typer.Argument(help="Model directory; two for top-down.", show_default=False)],
    output: Annotated[
        Path, typer.Option("-o", "--output", "--output-dir", help="Directory to make.", show_default=False)
    ],
    max_instances: Annotated[
        int, typer.Option("-n", "--max-instances", help="Room for centroids.", min=1)
    ] = DEFAULT_PLACES,
    max_peaks_per_node: Annotated[
        int, typer.Option(help="Room for peaks of each node (bottom-up).", min=1)
    ] = DEFAULT_PLACES,
    opset_version: Annotated[int | None, typer.Option(help="ONNX opset. Default: 18.", show_default=False)] = None,
    check_on: Annotated[
        Path | None, typer.Option(help="Video to compare on. Default: generated images.", show_default=False)
    ] = None,
    frames: Annotated[str | None, typer.Option(help="Frames of that video, such as 0-15.")] = None,
    validate: Annotated[bool, typer.Option(help="Compare the export with its source.")] = True,
    force: Annotated[bool, typer.Option("--force", help="Keep the export although the comparison failed.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an export that is there already.")] = False,
) -> None:
    """Export trained models as ONNX graphs, and check that they give the same poses.

    Exit codes: 0 exported and checked, 2 wrong usage, or an export that differs from its source.
    """
    from sleap_infer.export.exporting import ExportOptions, export

    options = ExportOptions(
        max_instances=max_instances,
        max_peaks_per_node=max_peaks_per_node,
        opset_version=opset_version,
        validate=validate,
        force=force,
        overwrite=overwrite,
    )
    images = None if check_on is None else read_images(check_on, frames)
    for result in export(model, output, options, images):
        typer.echo(str(result))


def read_images(path: Path, frames: str | None) -> list[Any]:
    """Some frames of a source, as a list of images (H, W, C)."""
    from sleap_infer.frames import open_source

    wanted = read_frames(frames)
    with open_source(path, range(N_CHECKED) if wanted is None else wanted) as source:
        return [image.transpose(1, 2, 0) for batch in source.batches(1) for image in batch.images]
