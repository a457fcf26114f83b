"""Preprocessing and peak rules of the programs that train models, as far as poses depend on them.

A reader of models names the conventions; whatever prepares images or reads maps asks them, and never the format.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from attrs import field, frozen
from attrs.validators import ge, in_

Resizing: TypeAlias = Literal["antialiased", "bilinear"]
"""`"antialiased"`: a triangle filter as wide as the reduction, rounded to integers. `"bilinear"`: between the two
nearest pixels, without antialiasing; frames are resized as floats in [0, 1] before a network, and to integers,
rounded down, where they are fitted into a size or where crops are cut from them (TensorFlow's `tf.image.resize`)."""

Cropping: TypeAlias = Literal["whole_pixels", "between_pixels"]
"""`"whole_pixels"`: crops are cut from fitted frames at whole pixels, and then scaled; `crop_size` counts pixels of the
fitted frame. `"between_pixels"`: fitted frames are scaled first, and crops are interpolated around the very centroid;
`crop_size` counts pixels of the scaled frame."""

PeakRules: TypeAlias = Literal["flat_tops", "strict"]
"""`"flat_tops"`: up to 2 x 2 equal values that are higher than all around them are a peak. `"strict"`: a peak is one
bin that is higher than its neighbours; of several highest bins of a map, the value is that of the column and row
found; and a patch for refinement loses a line at the edge of the map where TensorFlow's rounding puts it outside."""


@frozen
class Conventions:
    """Rules of one program; the defaults are those of sleap-nn."""

    resizing: Resizing = field(default="antialiased", validator=in_(("antialiased", "bilinear")))
    cropping: Cropping = field(default="whole_pixels", validator=in_(("whole_pixels", "between_pixels")))
    half_pixel: float = field(default=0.0, validator=ge(0))
    """Added to points, in fitted pixels, after they are scaled back, where `input_scaling` is not 1."""
    peaks: PeakRules = field(default="flat_tops", validator=in_(("flat_tops", "strict")))
    unsure_classes: bool = True
    """Whether a crop that is assigned another class than its most probable one is retained (multi-class top-down)."""
    channels_of_network: bool = False
    """Whether frames get the channels of the network, whatever the configuration."""


SLEAP_NN = Conventions()

SLEAP = Conventions(
    resizing="bilinear",
    cropping="between_pixels",
    half_pixel=0.5,
    peaks="strict",
    unsure_classes=False,
    channels_of_network=True,
)
"""Of SLEAP up to 1.4, from its inference (`sleap.nn.inference`, `sleap.nn.data`), with crops as its training cuts them:
`crop_size` counts pixels after scaling. SLEAP 1.4.1 itself cuts before scaling, for which its models are not trained.
"""
