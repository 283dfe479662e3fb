"""Views of images: what is cut out, and that nothing else changes."""

import itertools

import pytest
import torch
from torch.nn.functional import interpolate

from smat.errors import ConfigError
from smat.heads import WHOLE, View, Views
from smat.heads.views import CENTRE, CORNERS, ONE_VIEW
from smat.rng import seeded_torch


def images(size: int = 16, n: int = 2) -> torch.Tensor:
    with seeded_torch(0, "views"):
        return torch.randn(n, 3, size, size)


def test_the_whole_image_is_the_image_itself() -> None:
    given = images()
    assert WHOLE(given) is given
    assert View(1.0, 0.0, 0.0)(given) is given


def test_a_shift_is_a_slice_and_the_edge_goes_on() -> None:
    given = images()
    right = View(right=0.125)(given)
    assert torch.equal(right[..., :14], given[..., 2:])
    assert torch.equal(right[..., 14:], given[..., -1:].expand(-1, -1, -1, 2))
    up = View(down=-0.25)(given)
    assert torch.equal(up[..., 4:, :], given[..., :12, :])
    assert torch.equal(up[..., :4, :], given[..., :1, :].expand(-1, -1, 4, -1))


def test_a_smaller_square_is_brought_back_to_the_size() -> None:
    def enlarged(cut: torch.Tensor) -> torch.Tensor:
        return interpolate(cut, size=(16, 16), mode="bicubic", antialias=True)

    given = images()
    assert torch.equal(CENTRE(given), enlarged(given[..., 1:15, 1:15]))
    assert torch.equal(CORNERS[0](given), enlarged(given[..., 2:, 2:]))
    assert torch.equal(CORNERS[1](given), enlarged(given[..., :14, :14]))
    assert torch.equal(CORNERS[2](given), enlarged(given[..., :14, 2:]))


def test_corners_are_opposite() -> None:
    given = images()
    for one, other in (CORNERS[:2], CORNERS[2:]):
        turned = other(given.rot90(2, (2, 3))).rot90(2, (2, 3))
        torch.testing.assert_close(one(given), turned, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(CORNERS[2](given), CORNERS[0](given.flip(2)).flip(2), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("view", [CENTRE, CORNERS[3], View(1.25, 0.1, -0.2)])
def test_an_image_does_not_depend_on_the_others(view: View) -> None:
    given = images(n=3)
    assert torch.equal(view(given), torch.cat([view(image[None]) for image in given]))
    assert view(given).dtype == given.dtype


@pytest.mark.parametrize("size", range(3, 25))
def test_every_view_fits_every_size(size: int) -> None:
    """What is all alike stays so, also where the square goes beyond the image on two sides."""
    given = torch.full((1, 1, size, size), 2.0)
    for side, right, down in itertools.product((0.5, 1.0, 1.5), (-0.25, 0.0, 0.25), (-0.25, 0.0, 0.25)):
        torch.testing.assert_close(View(side, right, down)(given), given)


@pytest.mark.parametrize(
    "settings", [{"side": 0.4}, {"side": 1.6}, {"right": 0.3}, {"down": -0.26}, {"side": float("nan")}]
)
def test_views_outside_the_ranges_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=r"give a side in 0.5..1.5, and right and down in -0.25..0.25"):
        View(**settings)


@pytest.mark.parametrize(("passes", "support"), [(0, 1), (1, 3), (2, 3), (4, 5)])
def test_queries_are_seen_in_views_that_the_support_is_seen_in(passes: int, support: int) -> None:
    views = Views.of(passes)
    assert len(views.query) == max(1, passes)
    assert set(views.query) <= set(views.support)
    assert len(set(views.support)) == support
    assert (views == ONE_VIEW) == (passes == 0)


@pytest.mark.parametrize("passes", [3, -1, 8])
def test_other_numbers_of_passes_are_refused(passes: int) -> None:
    with pytest.raises(ConfigError, match=f"passes is {passes}; give 0, 1, 2 or 4"):
        Views.of(passes)


@pytest.mark.parametrize("view", [*CORNERS, CENTRE, WHOLE, View(1.25, 0.1, -0.2), View(1.0, 0.25, 0.0), View(0.5)])
@pytest.mark.parametrize("size", [15, 16])
def test_a_view_is_two_matrix_products(view: View, size: int) -> None:
    given = images(size=size).double()
    rows, columns = view.matrices(size)
    torch.testing.assert_close(rows @ given @ columns.T, view(given), atol=1e-12, rtol=1e-12)
