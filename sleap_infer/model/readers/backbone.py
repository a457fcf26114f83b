"""Reads the `backbone_config` section: which backbone, and how large. Shared by every configuration format."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from sleap_infer.errors import ModelConfigError, UnsupportedModelError
from sleap_infer.model.readers.section import Section
from sleap_infer.model.spec import BackboneSpec, ConvNextSpec, SwinSpec, UNetSpec

CONVNEXT_SIZES: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "tiny": ((3, 3, 9, 3), (96, 192, 384, 768)),
    "small": ((3, 3, 27, 3), (96, 192, 384, 768)),
    "base": ((3, 3, 27, 3), (128, 256, 512, 1024)),
    "large": ((3, 3, 27, 3), (192, 384, 768, 1536)),
}
"""Blocks and channels per stage of each published size (Liu et al. 2022, "A ConvNet for the 2020s")."""

SWIN_SIZES: Mapping[str, tuple[int, tuple[int, ...], tuple[int, ...]]] = {
    "tiny": (96, (2, 2, 6, 2), (3, 6, 12, 24)),
    "small": (96, (2, 2, 18, 2), (3, 6, 12, 24)),
    "base": (128, (2, 2, 18, 2), (4, 8, 16, 32)),
}
"""Embedding, blocks and heads per stage of each published size (Liu et al. 2021, "Swin Transformer")."""

DEFAULT_SIZE = "tiny"

Size = TypeVar("Size")


def read_backbone(backbones: Section) -> BackboneSpec:
    """Read the first backbone that is given.

    Raises:
        ModelConfigError: none is given.
        UnsupportedModelError: it is of a kind, or a variant, that is not run here.
    """
    kind = next(iter(backbones), None)
    if kind is None:
        raise ModelConfigError(f"{backbones.where}: no backbone is given.")
    if kind not in READERS:
        raise UnsupportedModelError(
            f"{backbones.where}: backbone {kind!r} is not run here (supported: {', '.join(READERS)}). "
            "Predict with sleap-nn itself, or train with one of these."
        )
    return READERS[kind](backbones.section(kind))


def _read_unet(section: Section) -> UNetSpec:
    if section.get("middle_block", bool) is False or section.get("stacks", int) not in (None, 1):
        raise UnsupportedModelError(
            f"{section.where}: U-Nets with `middle_block: false` or several stacks are not run here; "
            "sleap-nn can build them but not run them either."
        )
    return section.read(UNetSpec)


def _read_convnext(section: Section) -> ConvNextSpec:
    arch = section.section("arch")
    sizes = _published(section, CONVNEXT_SIZES)
    depths, channels = sizes or (arch.list_of("depths", int), arch.list_of("channels", int))
    if depths is None or channels is None:
        depths, channels = CONVNEXT_SIZES[DEFAULT_SIZE]
    _check_stages(section, depths, channels)
    return section.read(ConvNextSpec, depths=depths, channels=channels)


def _read_swin(section: Section) -> SwinSpec:
    arch = section.section("arch")
    sizes = _published(section, SWIN_SIZES)
    embed, depths, heads = sizes or (
        arch.get("embed", int),
        arch.list_of("depths", int),
        arch.list_of("num_heads", int),
    )
    if embed is None or depths is None or heads is None:
        embed, depths, heads = SWIN_SIZES[DEFAULT_SIZE]
    _check_stages(section, depths, heads)
    return section.read(SwinSpec, embed=embed, depths=depths, num_heads=heads)


def _published(section: Section, sizes: Mapping[str, Size]) -> Size | None:
    """Return the published size that is named; `None` if the stages are given one by one under `arch`."""
    name = section.get("model_type", str)
    if name is not None and name in sizes:
        return sizes[name]
    if name is not None and "arch" not in section:
        raise UnsupportedModelError(
            f"{section.where}: model_type {name!r} is none of {', '.join(sizes)}, and no `arch` is given."
        )
    return None


def _check_stages(section: Section, *stages: tuple[int, ...]) -> None:
    if any(len(stage) != 4 for stage in stages):
        raise ModelConfigError(f"{section.where}: `arch` should have four stages, found {stages}.")


READERS: Mapping[str, Callable[[Section], BackboneSpec]] = {
    "unet": _read_unet,
    "convnext": _read_convnext,
    "swint": _read_swin,
}
