"""Open the runners of a pipeline from paths and options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
from attrs import field, frozen

from sleap_infer.choices import Precision
from sleap_infer.config.options import DEFAULT_BATCH_SIZE
from sleap_infer.errors import ModelCombinationError, OptionError
from sleap_infer.model import ModelSpec, expand_model_path, read_spec
from sleap_infer.model.settings import (
    PipelineSettings,
    in_order,
    left_outside,
    pipeline_kind,
    read_options,
    resolve,
)
from sleap_infer.reports import Fallback
from sleap_infer.runners import BaseInferenceRunner, Opening, find_runner


@frozen
class Plan:
    """Models that make a pipeline, and its settings. Nothing is opened.

    Attributes:
        paths: paths of the models, in the order in which they run.
        specs: their facts.
        kind: kind of the pipeline.
        settings: resolved settings.
        options: the given inference options, by name.
    """

    paths: tuple[Path, ...]
    specs: tuple[ModelSpec, ...]
    kind: str
    settings: PipelineSettings
    options: Mapping[str, Any]

    @property
    def is_exported(self) -> bool:
        """Return whether every model is an exported graph."""
        return all(spec.exported for spec in self.specs)


@frozen
class Runtime:
    """Backend, device, precision and batch size of a pipeline.

    Attributes:
        backend: name, or a runner class.
        device: `"auto"`, `"cpu"`, `"cuda"`, `"cuda:1"`, `"mps"`.
        precision: precision of the networks; `None` for fp32, or that of the export.
        batch_size: frames per call of the (first) network.
        backend_options: options of the runtime.
    """

    backend: str | type[BaseInferenceRunner]
    device: str = "auto"
    precision: Precision | None = None
    batch_size: int = field(default=DEFAULT_BATCH_SIZE)
    backend_options: Mapping[str, Any] = field(factory=dict)

    @batch_size.validator
    def _check_batch_size(self, _attribute: object, value: object) -> None:
        check_batch_size(value)


def check_batch_size(value: object) -> None:
    """Check a batch size.

    Raises:
        OptionError: it is not a positive integer.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise OptionError(f"batch_size must be a positive integer, found {value!r}.")


def read_plan(paths: str | Path | Sequence[str | Path], options: Mapping[str, Any]) -> Plan:
    """Read models, and find the pipeline that they make.

    Args:
        paths: one model directory, or two in any order.
        options: inference options by name.

    Raises:
        ModelError: a model cannot be read, or the models do not make a pipeline.
        OptionError: an unknown option, a wrong value, or an option without effect on these models.
    """
    given = [paths] if isinstance(paths, (str, Path)) else list(paths)
    if not given:
        raise ModelCombinationError("No model is given. Give one model directory, or two for top-down.")
    ignore = options.get("ignore_unknown_settings") is True
    found = [(path, read_spec(path, ignore)) for item in given for path in expand_model_path(item)]
    specs = in_order([spec for _, spec in found])
    ordered = [Path(next(path for path, spec in found if spec is wanted)) for wanted in specs]
    kind = pipeline_kind(specs)
    settings = resolve(specs, read_options(specs, kind, options))
    return Plan(tuple(ordered), tuple(specs), kind, settings, {n: v for n, v in options.items() if v is not None})


def reverted_blocks(spec: ModelSpec) -> list[Fallback]:
    """Return the blocks of an export that the export check reverted to a higher precision, as a fallback."""
    facts = spec.exported
    if facts is None or not facts.kept:
        return []
    names = ", ".join(facts.kept)
    why = f"These blocks of {spec.path} exceed the error budget of the export: {names}."
    return [Fallback("precision", facts.precision, f"higher precision in {len(facts.kept)} blocks", why)]


def open_runners(plan: Plan, runtime: Runtime) -> list[BaseInferenceRunner]:
    """Open the models of a pipeline on a backend. If it runs graphs, trained models are exported first, once.

    Raises:
        ModelError: a model cannot be read.
        OptionError: the backend does not have the precision, or an option.
        BackendError: the backend or the device is not available.
    """
    runner = find_runner(runtime.backend)
    runner.require(runtime.device)
    paths, specs = plan.paths, plan.specs
    if any(spec.exported is None for spec in specs):
        runner.facts.check_precision(runtime.precision)
    if runner.facts.runs_exports:
        paths = tuple(_as_graph(plan, number, runtime.precision) for number in range(len(paths)))
        specs = tuple(spec if spec.exported else read_spec(path) for path, spec in zip(paths, specs, strict=True))
    crops = plan.settings.stream.crop_batch_size
    opened: list[BaseInferenceRunner] = []
    try:
        for path, spec, stage in zip(paths, specs, plan.settings.stages, strict=True):
            opening = Opening(
                path,
                spec,
                attrs.evolve(stage, images=left_outside(stage.images, spec)),
                plan.settings.returned,
                runtime.device,
                runtime.precision,
                runtime.backend_options,
                crops if spec.row.on_crops else runtime.batch_size,
                plan.settings.stream.aim,
            )
            opened.append(runner.open(opening))
    except BaseException:
        for other in opened:
            other.close()
        raise
    return opened


def check_runners(
    plan: Plan, given: BaseInferenceRunner | Sequence[BaseInferenceRunner]
) -> tuple[BaseInferenceRunner, ...]:
    """Check that opened runners fit to models and settings.

    Args:
        plan: the models and settings.
        given: one runner, or one for each model in the order in which they run.

    Raises:
        OptionError: they are not runners of these models, or were opened with other settings.
    """
    runners = (given,) if isinstance(given, BaseInferenceRunner) else tuple(given)
    if not all(isinstance(runner, BaseInferenceRunner) for runner in runners):
        raise OptionError(f"backend={given!r}: expected a name, a runner class, or opened runners.")
    kinds, expected = [runner.spec.kind for runner in runners], [spec.kind for spec in plan.specs]
    if kinds != expected:
        raise OptionError(f"backend: the runners are for {', '.join(kinds)}, the models are {', '.join(expected)}.")
    for runner, spec, stage in zip(runners, plan.specs, plan.settings.stages, strict=True):
        if runner.spec.skeleton != spec.skeleton:
            raise OptionError(f"backend: the runner is for {runner.spec.path}, another model than {spec.path}.")
        found = _flat(runner.settings)
        needed = _flat(attrs.evolve(stage, images=left_outside(stage.images, runner.spec)))
        other = [f"{name}={found[name]!r}, here {value!r}" for name, value in needed.items() if found[name] != value]
        if other:
            raise OptionError(
                f"backend: the runner of {spec.path} was opened with other settings ({'; '.join(other)}). Give both "
                "the same options."
            )
    return runners


def refuse_options_of_opening(**given: Any) -> None:
    """Refuse options that have no effect on runners that are already open.

    Raises:
        OptionError: one is given.
    """
    names = [name for name, value in given.items() if value is not None and not _is_default(value)]
    if names:
        raise OptionError(f"{', '.join(names)}: no effect on opened runners. Give it when you open them.")


def _is_default(value: object) -> bool:
    return isinstance(value, (str, dict)) and value in ("auto", {})


def _flat(settings: object) -> dict[str, Any]:
    """Return settings by name, those of groups among them."""
    flat: dict[str, Any] = {}
    for name, value in attrs.asdict(settings, recurse=False).items():  # type: ignore[arg-type]
        flat |= attrs.asdict(value, recurse=False) if attrs.has(type(value)) else {name: value}
    return flat


def _as_graph(plan: Plan, number: int, precision: Precision | None) -> Path:
    """Return the path of an exported model, or of the cached graph of a trained one."""
    path, spec, stage = plan.paths[number], plan.specs[number], plan.settings.stages[number]
    if spec.exported:
        return path
    from sleap_infer.graphs.build import Trained
    from sleap_infer.graphs.cache import cached_graph

    return cached_graph(Trained(path, spec, stage), plan.settings.frames, dict(plan.options), precision)
