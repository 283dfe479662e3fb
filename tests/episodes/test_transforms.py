from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from small_images import noise
from smat.backbones import ImageFormat
from smat.domains import canvas
from smat.episodes import TransformConfig, plain_transform, prepare, random_transform
from smat.errors import ConfigError
from smat.rng import seeded_torch

STILL = TransformConfig(margin=1.0, crop_scale=(1.0, 1.0), brightness=0.0, contrast=0.0, saturation=0.0)


def test_images_are_normalised_channel_by_channel() -> None:
    canvases = torch.stack([canvas(noise(i), 12) for i in range(2)])
    out = plain_transform(canvases, ImageFormat(12, (0.1, 0.2, 0.3), (0.5, 1.0, 2.0)))
    for channel, (mean, std) in enumerate(((0.1, 0.5), (0.2, 1.0), (0.3, 2.0))):
        torch.testing.assert_close(out[:, channel], (canvases[:, channel] / 255 - mean) / std)


def test_the_plain_transform_cuts_the_centre() -> None:
    canvases = torch.arange(2 * 3 * 16).to(torch.uint8).view(2, 3, 1, 16).expand(2, 3, 16, 16)
    out = plain_transform(canvases, ImageFormat(12))
    torch.testing.assert_close(out, canvases[:, :, 2:14, 2:14].float() / 255)


def test_prepare_is_canvas_then_the_plain_transform() -> None:
    images = [noise(0, (40, 30)), noise(1, (9, 50))]
    image_format = ImageFormat(28, (0.4, 0.5, 0.6), (0.2, 0.3, 0.4))
    out = prepare(images, image_format)
    expected = plain_transform(torch.stack([canvas(image, 32) for image in images]), image_format)
    assert torch.equal(out, expected)


def test_margin_one_cuts_nothing() -> None:
    image = noise(2, (20, 20))
    out = prepare([image], ImageFormat(20), 1.0)
    torch.testing.assert_close(out[0].permute(1, 2, 0), torch.from_numpy(np.array(image)).float() / 255)


@pytest.mark.parametrize("image_size", [32, 64, 127, 224])
def test_canvas_sizes_hold_the_image(image_size: int) -> None:
    for margin in (1.0, 1.01, 8 / 7, 1.5):
        assert image_size <= TransformConfig(margin=margin).canvas_size(image_size) <= image_size * margin + 0.5
    assert TransformConfig().canvas_size(224) == 256


def test_without_any_variation_the_random_transform_is_the_plain_one() -> None:
    canvases = torch.stack([canvas(noise(i), 24) for i in range(4)])
    out = random_transform(canvases, ImageFormat(24), STILL, flip=False)
    torch.testing.assert_close(out, plain_transform(canvases, ImageFormat(24)), atol=1e-4, rtol=0)


def test_flips_mirror_about_half_and_only_where_allowed() -> None:
    canvases = torch.zeros(400, 3, 8, 8, dtype=torch.uint8)
    canvases[:, :, :, :4] = 255
    with seeded_torch(0, "test"):
        mirrored = random_transform(canvases, ImageFormat(8), STILL, flip=True)[:, 0, 0, 0] < 0.5
        kept = random_transform(canvases, ImageFormat(8), STILL, flip=False)[:, 0, 0, 0] > 0.5
    assert abs(mirrored.float().mean().item() - 0.5) < 0.1  # 4 standard errors of 400 fair coins
    assert kept.all()


def test_crops_keep_the_share_of_the_area_they_are_given() -> None:
    """A crop of a horizontal ramp spans as much of it as the crop is wide."""
    ramp = torch.linspace(0, 255, 128).round().to(torch.uint8).expand(300, 3, 128, 128)
    config = replace(STILL, crop_scale=(0.35, 1.0))
    with seeded_torch(1, "test"):
        both = random_transform(ramp, ImageFormat(64), config, flip=False)
        tall = random_transform(ramp.mT, ImageFormat(64), config, flip=False)
    width = (both[:, 0].amax((1, 2)) - both[:, 0].amin((1, 2))).clamp(0, 1)
    height = (tall[:, 0].amax((1, 2)) - tall[:, 0].amin((1, 2))).clamp(0, 1)
    low = (0.35 * 3 / 4) ** 0.5  # the narrowest: smallest area at the most upright shape, 3:4
    for span in (width, height):
        assert span.min() > low - 0.03
        assert span.max() > 0.9
        assert span.std() > 0.05


def test_jitter_moves_brightness_within_its_bounds() -> None:
    grey = torch.full((300, 3, 4, 4), 100, dtype=torch.uint8)
    config = replace(STILL, brightness=0.4)
    with seeded_torch(2, "test"):
        factors = random_transform(grey, ImageFormat(4), config, flip=False)[:, 0, 0, 0] / (100 / 255)
    assert factors.min() >= 0.6 - 1e-3
    assert factors.max() <= 1.4 + 1e-3
    assert abs(factors.mean().item() - 1) < 4 * 0.4 / 3**0.5 / 300**0.5
    assert factors.std() > 0.15  # uniform on ±0.4 has 0.23


def test_grey_images_stay_grey() -> None:
    canvases = torch.stack([canvas(noise(i, mode="L").convert("RGB"), 16) for i in range(6)])
    with seeded_torch(3, "test"):
        out = random_transform(canvases, ImageFormat(14), TransformConfig(), flip=True)
    torch.testing.assert_close(out[:, 0], out[:, 1], atol=1e-5, rtol=0)
    torch.testing.assert_close(out[:, 0], out[:, 2], atol=1e-5, rtol=0)


def test_random_images_stay_in_range_and_follow_the_seed() -> None:
    canvases = torch.stack([canvas(noise(i), 32) for i in range(8)])
    outs = []
    for n in (0, 0, 1):
        with seeded_torch(4, "test", n):
            outs.append(random_transform(canvases, ImageFormat(28), TransformConfig(hue=0.1), flip=True))
    assert outs[0].shape == (8, 3, 28, 28)
    assert outs[0].min() >= 0
    assert outs[0].max() <= 1
    assert torch.equal(outs[0], outs[1])
    assert not torch.equal(outs[0], outs[2])


def test_threads_do_not_change_the_images() -> None:
    canvases = torch.stack([canvas(noise(i), 73) for i in range(40)])
    outs = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        with seeded_torch(5, "test"):
            outs.append(random_transform(canvases, ImageFormat(64), TransformConfig(), flip=True))
    torch.set_num_threads(1)
    assert torch.equal(outs[0], outs[1])


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"margin": 0.9}, "margin"),
        ({"crop_scale": (0.0, 1.0)}, "crop_scale"),
        ({"crop_scale": (0.8, 0.5)}, "crop_scale"),
        ({"crop_scale": (0.5, 1.2)}, "crop_scale"),
        ({"brightness": -0.1}, "brightness"),
        ({"contrast": 1.5}, "contrast"),
        ({"hue": 0.6}, "hue"),
    ],
)
def test_settings_that_cannot_work(settings: dict, field: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{field}(\.1)? is"):
        TransformConfig(**settings)


def test_an_image_of_any_size_fits_the_network() -> None:
    out = prepare([Image.new("RGB", (3, 700))], ImageFormat(64))
    assert out.shape == (1, 3, 64, 64)
