"""Augmentation of a support set, for fine-tuning on it."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

_SHIFT = 1 / 8  # of the image's side, to either side


def augment(
    images: Float[Tensor, "n 3 height width"],
    generator: torch.Generator,
    *,
    probability: float = 1.0,
    flip: bool = True,
) -> Float[Tensor, "n 3 height width"]:
    """Normalised images in other colours, shifted, and perhaps mirrored, each by draws of its own.

    Brightness moves by up to 0.5, in units of normalised images; saturation is multiplied by 0..2 and contrast by
    0.5..1.5; the image moves by up to an eighth of its side, and what comes in at the border is 0, the mean colour.
    These are the augmentations of Zhao et al. (2020, DiffAugment) as Hu et al. (2022) fine-tune with them.

    Args:
        images: normalised.
        generator: on the CPU, so that a seed gives the same on every device.
        probability: that an image is augmented at all.
        flip: whether one image in two is mirrored.
    """

    def uniform(low: float, high: float) -> Tensor:
        return torch.empty(len(images), 1, 1, 1).uniform_(low, high, generator=generator).to(images)

    augmented = torch.where(uniform(0.0, 1.0) < 0.5, images.flip(3), images) if flip else images
    augmented = augmented + uniform(-0.5, 0.5)
    grey = augmented.mean(1, keepdim=True)
    augmented = grey + (augmented - grey) * uniform(0.0, 2.0)
    middle = augmented.mean((1, 2, 3), keepdim=True)
    augmented = middle + (augmented - middle) * uniform(0.5, 1.5)
    augmented = _shifted(augmented, generator)
    return torch.where(uniform(0.0, 1.0) < probability, augmented, images)


def _shifted(images: Float[Tensor, "n 3 height width"], generator: torch.Generator) -> Tensor:
    """Each image moved by whole pixels."""
    height, width = images.shape[2:]
    most = [round(side * _SHIFT) for side in (height, width)]
    tops, lefts = [torch.randint(2 * m + 1, (len(images),), generator=generator).tolist() for m in most]
    padded = pad(images, (most[1], most[1], most[0], most[0]))
    return torch.stack(
        [
            image[:, top : top + height, left : left + width]
            for image, top, left in zip(padded, tops, lefts, strict=True)
        ]
    )
