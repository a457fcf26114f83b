"""Describe a predictor for people."""

from __future__ import annotations

from sleap_infer.predictors.batches import BatchPredictor


def describe_stages(predictor: BatchPredictor) -> list[str]:
    """Return lines on how the backend was chosen, and on the resolved settings of each stage."""
    facts, choice = predictor.describe(), predictor.choice
    runtime = f"{facts['backend']} ({facts['device']}, {facts['precision']})"
    chosen = [] if choice is None else [f"chose {runtime}: {choice.why}{' (measured before)' * choice.remembered}"]
    if choice is not None and not choice.remembered:
        chosen += [f"  {row.line()}" for row in choice.tried]
    lines = [*chosen, f"{predictor.settings.kind} on {runtime}, batch size {facts['batch_size']}"]
    for runner, stage in zip(predictor.runners, predictor.settings.stages, strict=True):
        images = stage.images
        size = f", fitted to {images.max_height or '-'}x{images.max_width or '-'}" if images.max_height else ""
        crop = f", crops of {stage.crop_size}" if stage.crop_size else ""
        lines.append(
            f"  {stage.kind}: {runner.spec.path}{size}{crop}, scale {images.input_scaling:g}, padded to "
            f"{images.pad_to_stride}, peaks above {stage.peak_threshold:g}, refinement {stage.peaks.refinement}"
        )
    return lines
