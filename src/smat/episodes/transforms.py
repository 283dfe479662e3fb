"""From squares of bytes to normalised network input: the test transform, and the training one."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import kornia.augmentation as augmentation
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor, nn

from smat.backbones.spec import ImageFormat, Margin
from smat.domains.images import canvas
from smat.errors import ConfigError
from smat.schema import Range, Share, checked

# Images augmented together: a large episode at once would need several times its size in memory, and is slower.
_AT_ONCE = 32


@dataclass(frozen=True)
@checked()
class TransformConfig:
    """How images are cut and augmented.

    Attributes:
        margin: side of the decoded square over the network's image size, at least 1. Tests cut out the
            centre; at 1 nothing is cut away.
        crop_scale: smallest and largest share of the square's area that a training crop keeps.
        brightness: strength of brightness jitter: training images are multiplied by a factor within 1 ± this.
        contrast: strength of contrast jitter, likewise.
        saturation: strength of saturation jitter, likewise.
        hue: largest turn of the hue of training images, as a share of the circle, at most 0.5. It takes four
            times as long as the others together, and the field's few-shot training leaves it out.

    Brightness, contrast and saturation of 0.4 are what few-shot work has used since Chen et al. (2019).
    """

    margin: Margin = 8 / 7
    crop_scale: tuple[Share, Share] = (0.35, 1.0)
    brightness: Share = 0.4
    contrast: Share = 0.4
    saturation: Share = 0.4
    hue: Annotated[float, Range(0, 0.5)] = 0.0

    def __post_init__(self) -> None:
        low, high = self.crop_scale
        if not 0 < low <= high <= 1:
            raise ConfigError(f"crop_scale is {self.crop_scale}; give two shares, 0 < smallest <= largest <= 1")

    def canvas_size(self, image_size: int) -> int:
        """Side of the decoded square, in pixels, for a network that takes `image_size` pixels."""
        return round(image_size * self.margin)


def _normalised(images: Tensor, image_format: ImageFormat) -> Tensor:
    """In place: new memory for each step takes three times as long."""
    mean, std = (images.new_tensor(values).view(3, 1, 1) for values in (image_format.mean, image_format.std))
    return images.sub_(mean).div_(std)


def plain_transform(
    canvases: UInt8[Tensor, "n 3 side side"], image_format: ImageFormat
) -> Float[Tensor, "n 3 {image_format.size} {image_format.size}"]:
    """The centre of each square, `image_format.size` pixels wide and high, normalised."""
    start = (canvases.shape[-1] - image_format.size) // 2
    stop = start + image_format.size
    return _normalised(canvases[:, :, start:stop, start:stop].float().div_(255), image_format)


def random_transform(
    canvases: UInt8[Tensor, "n 3 side side"], image_format: ImageFormat, config: TransformConfig, *, flip: bool
) -> Float[Tensor, "n 3 {image_format.size} {image_format.size}"]:
    """A random crop of each square, resized to `image_format.size`, its colours jittered, perhaps mirrored, normalised.

    The randomness is that of torch's global generator: call it within `smat.rng.seeded_torch`.
    """
    size = (image_format.size, image_format.size)
    # With "slice" an image is cut and resized by itself, which is faster than one warp of the whole batch.
    steps: list[nn.Module] = [augmentation.RandomResizedCrop(size, scale=config.crop_scale, cropping_mode="slice")]
    colours = (config.brightness, config.contrast, config.saturation, config.hue)
    if any(colours):
        steps.append(augmentation.ColorJitter(*colours, p=1.0))
    if flip:
        steps.append(augmentation.RandomHorizontalFlip(p=0.5))
    augment = nn.Sequential(*steps)
    with torch.no_grad():
        parts: list[Tensor] = [augment(part.float() / 255).clamp(0, 1) for part in canvases.split(_AT_ONCE)]
    return _normalised(torch.cat(parts), image_format)


def prepare(
    images: Sequence[Image.Image], image_format: ImageFormat, margin: float = TransformConfig.margin
) -> Float[Tensor, "n 3 {image_format.size} {image_format.size}"]:
    """RGB images of any size as network input, by the test transform.

    Args:
        images: at least one image, as `load_image` gives them.
        image_format: the images that the network takes.
        margin: as `TransformConfig.margin`.
    """
    side = TransformConfig(margin=margin).canvas_size(image_format.size)
    return plain_transform(torch.stack([canvas(image, side) for image in images]), image_format)
