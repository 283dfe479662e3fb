"""What is exported of a `FewShotClassifier`, and pictures to try it on."""

import math
from pathlib import Path
from typing import Any

import torch
from jaxtyping import UInt8
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from smat.adaptation import FewShotClassifier
from smat.adaptation.inputs import as_list, read_images
from smat.adaptation.support import digest_of
from smat.errors import DataError
from smat.export.deployed import Deployed
from smat.export.metadata import metadata

RATES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3)
"""False-alarm rates that thresholds go with, where there are enough labelled images for them."""


def deployed_from(classifier: FewShotClassifier) -> tuple[Deployed, dict[str, Any]]:
    """The classifier as one module, and what goes with it as plain data (`metadata`).

    Raises:
        NotFittedError: `fit` was not called.
    """
    check_is_fitted(classifier)
    assessment = classifier.assessment_
    deployed = Deployed(
        classifier.task_model_,
        margin=classifier.margin,
        temperature=1.0 if assessment is None else assessment.temperature,
        knownness=classifier.knownness_,
    )
    rates: list[float] = sorted(RATES if classifier.reject is None else {*RATES, classifier.reject})
    least = math.inf if assessment is None else assessment.smallest() * (1 - 1e-9)
    thresholds = {rate: assessment.threshold(rate) for rate in rates if assessment and rate >= least}
    about = metadata(
        deployed,
        classifier.classes_.tolist(),
        thresholds=thresholds,
        unknown_label=classifier.unknown_label,
        reject=classifier.reject,
        grey_range=classifier.range_,
    )
    return deployed, about


def pictures(classifier: FewShotClassifier, images: Any, side: int) -> UInt8[Tensor, "n {side} {side} 3"]:
    """Images as an exported classifier gets them.

    Args:
        classifier: whose range and limit of pixels hold.
        images: at least one, as `FewShotClassifier` takes them.
        side: `Deployed.side`.

    Raises:
        DataError: one cannot be read.
    """
    images = as_list(images)
    squares = read_images(images, range(len(images)), side, classifier.range_, classifier.max_pixels)
    return squares.permute(0, 2, 3, 1).contiguous()


def labelled_pictures(classifier: FewShotClassifier, side: int) -> UInt8[Tensor, "n {side} {side} 3"] | None:
    """The images that the classifier was made from, where they still are, else their thumbnails; None of neither."""
    support = classifier.support_
    found = [
        picture
        for name, digest in zip(support.names, support.digests, strict=True)
        if (picture := _unchanged(classifier, name, digest, side)) is not None
    ]
    if found:
        return torch.stack(found)
    return None if support.thumbnails is None else pictures(classifier, support.thumbnails, side)


def _unchanged(classifier: FewShotClassifier, name: str, digest: str, side: int) -> Tensor | None:
    """A labelled image, if its file is there and the image is the same."""
    if not Path(name).is_file():
        return None
    try:
        picture = pictures(classifier, [name], side)[0]
    except DataError:
        return None
    return picture if digest_of(picture.permute(2, 0, 1)) == digest else None


def random_pictures(side: int, n: int = 16) -> UInt8[Tensor, "n {side} {side} 3"]:
    """Pictures of nothing, to compare with where there are no others: coarse noise, always the same."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randint(0, 256, (n, 3, 4, 4), dtype=torch.uint8, generator=generator).float()
    smooth = torch.nn.functional.interpolate(coarse, size=(side, side), mode="bilinear")
    return smooth.byte().permute(0, 2, 3, 1).contiguous()
