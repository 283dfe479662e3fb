"""What a file says of itself: its classes, how its pictures are made, and its thresholds."""

from collections.abc import Mapping, Sequence
from typing import Any

import smat
from smat.domains import GreyRange
from smat.export.deployed import Deployed

KEY = "smat"
"""Name of the metadata, a JSON text, in an ONNX file; `smat.json` in a program of PyTorch."""


def recipe(side: int, grey_range: GreyRange | None = None) -> dict[str, Any]:
    """How a picture of any size becomes the input of a deployed classifier, as `load_image` and `canvas` make it.

    Args:
        side: `Deployed.side`.
        grey_range: values that are black and white in grey pictures of more than 8 bits; None: as each says.
    """
    return {
        "orientation": "turned as its EXIF orientation says",
        "transparency": "laid on white",
        "colours": "RGB as stored, without colour management; more than 8 bits scaled to 8",
        "grey_range": None if grey_range is None else [grey_range.low, grey_range.high],
        "cut": "the square in the middle, as wide as the shorter side; its edges may lie within a pixel",
        "side": side,
        "resize": "that square to side x side, by Pillow's bicubic filter (a = -0.5), antialiased",
        "layout": "[n, side, side, 3], red, green, blue",
        "type": "uint8",
    }


def metadata(
    deployed: Deployed,
    classes: Sequence[str | int],
    *,
    thresholds: Mapping[float, float] | None = None,
    unknown_label: str = "unknown",
    reject: float | None = None,
    grey_range: GreyRange | None = None,
) -> dict[str, Any]:
    """What goes with an exported classifier, as plain data for JSON.

    Args:
        deployed: what is exported.
        classes: the labels, in the order of the probabilities.
        thresholds: by false-alarm rate, the score `known` below which an image is answered as `unknown_label`.
        unknown_label: what such images are called.
        reject: the rate that the classifier uses; None: it answers with a class, always.
        grey_range: as for `recipe`.
    """
    return {
        "smat": smat.__version__,
        "classes": list(classes),
        "recipe": recipe(deployed.side, grey_range),
        "cut_inside": f"the model itself cuts the middle {deployed.size} x {deployed.size} pixels, and normalises them",
        "outputs": {
            "probabilities": "[n, classes]; rows sum to 1",
            "known": "[n]; the higher, the more like the labelled images",
        },
        "thresholds": {f"{rate:g}": threshold for rate, threshold in (thresholds or {}).items()},
        "unknown_label": unknown_label,
        "reject": reject,
    }
