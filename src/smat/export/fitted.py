"""What is exported of a `FewShotClassifier`."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import UInt8
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from smat.adaptation import FewShotClassifier
from smat.domains import canvas, load_image
from smat.export.deployed import Deployed
from smat.export.metadata import metadata


def deployed_from(classifier: FewShotClassifier) -> tuple[Deployed, dict[str, Any]]:
    """The classifier as one module, and what goes with it as plain data (`metadata`).

    Raises:
        NotFittedError: `fit` was not called.
    """
    check_is_fitted(classifier)
    deployed = Deployed(classifier.task_model_, margin=classifier.margin)
    return deployed, metadata(deployed, classifier.classes_.tolist(), grey_range=classifier.range_)


def pictures(classifier: FewShotClassifier, images: Sequence[Any], side: int) -> UInt8[Tensor, "n {side} {side} 3"]:
    """Images as an exported classifier gets them.

    Args:
        classifier: whose range and limit of pixels hold.
        images: at least one, each as `FewShotClassifier` takes it.
        side: `Deployed.side`.

    Raises:
        DataError: one cannot be read.
    """
    grey_range, most = classifier.range_, classifier.max_pixels
    loaded = (load_image(image, side, range=grey_range, max_pixels=most) for image in images)
    return torch.stack([canvas(image, side) for image in loaded]).permute(0, 2, 3, 1).contiguous()
