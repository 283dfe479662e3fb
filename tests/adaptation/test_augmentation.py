"""Variations of normalised images, each kind by itself."""

import torch

from smat.adaptation.augmentation import augment
from smat.rng import torch_generator

IMAGES = torch.randn(400, 3, 16, 24, generator=torch.Generator().manual_seed(0))


def varied(images: torch.Tensor = IMAGES, seed: int = 0, **settings: object) -> torch.Tensor:
    return augment(images, torch_generator(seed, "test"), **settings)  # type: ignore[arg-type]


def test_so_many_images_are_varied_as_the_probability_says() -> None:
    assert torch.equal(varied(probability=0.0), IMAGES)
    unchanged = (varied(probability=0.9) == IMAGES).all((1, 2, 3)).float().mean()
    assert abs(float(unchanged) - 0.1) < 0.05  # 3.3 standard deviations of 400 draws
    assert not (varied() == IMAGES).all((1, 2, 3)).any()


def test_a_seed_gives_the_same_images() -> None:
    assert torch.equal(varied(), varied())
    assert not torch.equal(varied(), varied(seed=1))
    torch.testing.assert_close(varied(IMAGES.double()).float(), varied())


def test_a_grey_image_changes_its_brightness_alone() -> None:
    grey = torch.full((400, 3, 16, 24), 0.3)
    inside = varied(grey)[:, :, 2:-2, 3:-3]  # of what comes in at the border
    levels = inside[:, 0, 0, 0]
    torch.testing.assert_close(inside, levels.view(-1, 1, 1, 1).expand_as(inside))
    assert -0.2 < levels.min() < -0.15
    assert 0.75 < levels.max() < 0.8
    assert abs(float(levels.mean()) - 0.3) < 0.05


def test_saturation_and_contrast_keep_their_bounds() -> None:
    left_red = torch.zeros(400, 3, 16, 24)
    left_red[:, 0, :, :12] = 1.0
    inside = varied(left_red, flip=False)[:, :, 2:-2, 3:-3]
    red, green, blue = inside[..., 0].mean(2).unbind(1)
    right = inside[:, 0, 0, -1]
    torch.testing.assert_close(green, blue)
    contrast = (red + green + blue) / 3 - right  # of brightness 1/3 and 0, saturation leaves it
    assert 1 / 6 - 1e-5 < contrast.min() < 0.18
    assert 0.48 < contrast.max() < 0.5 + 1e-5
    saturation = (red - green) / (3 * contrast)  # the difference was 1, the contrast 1/3
    assert -1e-5 < saturation.min() < 0.02
    assert 1.98 < saturation.max() < 2 + 1e-5


def test_images_move_by_up_to_an_eighth_and_are_mirrored_as_often_as_not() -> None:
    bars = torch.zeros(400, 3, 16, 24)
    bars[:, :, 8, 3] = 100.0
    found = varied(bars).mean(1).flatten(1).argmax(1)
    rows, columns = found // 24, found % 24
    assert set(rows.tolist()) == set(range(6, 11))
    assert set(columns.tolist()) == {*range(7), *range(17, 24)}
    assert abs(float((columns > 12).float().mean()) - 0.5) < 0.1
    assert (varied(bars, flip=False).mean(1).flatten(1).argmax(1) % 24).max() == 6
