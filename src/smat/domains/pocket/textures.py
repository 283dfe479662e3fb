"""Random textures: each class a spectrum and a way to fold it, each image other phases, scale and colours.

Random-phase noise (Galerne, Gousseau & Morel 2011) with one to three Gabor-shaped bands in its spectrum.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from smat.domains.pocket.drawing import Pixels, Rng, finish, palette

FOLDS = ("plain", "threshold", "ridges", "sine")


@dataclass(frozen=True)
class Texture:
    """A texture's law.

    Attributes:
        bands: one row a Gabor band: frequency (cycles a side of 32 pixels), orientation (radians), relative
            bandwidth, angular spread (radians), weight.
        fold: what is done to the noise, one of `FOLDS`.
    """

    bands: Float[np.ndarray, "bands 5"]
    fold: str


def define_textures(rng: Rng, count: int) -> list[Texture]:
    """Laws with one to three bands between 2 and 11 cycles a side, narrow or wide."""
    laws = []
    for index in range(count):
        n = int(rng.integers(1, 4))
        bands = np.stack(
            [
                np.exp(rng.uniform(np.log(2), np.log(11), n)),
                rng.uniform(0, np.pi, n),
                rng.uniform(0.08, 0.45, n),
                np.exp(rng.uniform(np.log(0.08), np.log(2.5), n)),
                rng.uniform(0.5, 1, n),
            ],
            axis=1,
        )
        laws.append(Texture(bands, FOLDS[index % len(FOLDS)]))
    return laws


def draw_texture(law: Texture, rng: Rng, size: int) -> Pixels:
    """A sample of the noise, turned and scaled a little, folded, in two or three random colours."""
    fy, fx = np.fft.fftfreq(size, 1 / size)[:, None], np.fft.rfftfreq(size, 1 / size)[None, :]
    radius, angle = np.hypot(fx, fy) + 1e-9, np.arctan2(fy, fx)
    zoom, turn = np.exp(rng.uniform(-0.25, 0.25)), rng.uniform(-0.3, 0.3)
    amplitude = np.zeros_like(radius)
    for frequency, orientation, bandwidth, spread, weight in law.bands:
        centre = frequency * zoom
        across = np.exp(-0.5 * ((radius - centre) / (bandwidth * centre)) ** 2) / (centre * bandwidth * centre) ** 0.5
        # Twice the angle: an orientation and its opposite are the same band.
        along = np.exp((np.cos(2 * (angle - orientation - turn)) - 1) / (2 * spread**2))
        amplitude += weight * across * along / np.sqrt(spread)
    noise = rng.standard_normal((2, *radius.shape))
    field = np.fft.irfft2(amplitude * (noise[0] + 1j * noise[1]), s=(size, size))
    field = fold(field / (field.std() + 1e-9), law.fold)
    low, high = palette(rng, 2, contrast=0.3)
    shades = low + (high - low) * field[..., None]
    return finish(shades, rng)


def fold(field: Float[np.ndarray, "height width"], how: str) -> Float[np.ndarray, "height width"]:
    """Values of unit variance to shades in [0, 1]."""
    if how == "threshold":
        return 1 / (1 + np.exp(-8 * (field - 0.4)))
    if how == "ridges":
        return np.exp(-4 * field**2)
    if how == "sine":
        return 0.5 + 0.5 * np.sin(3.5 * field)
    return np.clip(0.5 + 0.25 * field, 0, 1)
