"""How much an image is like the labelled ones: low for an image of none of their classes."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import normalize

SHRINKAGE = 1.0
"""What is added to the scatter within classes, in units of the spread of all images: as in `smat.heads.LDA`."""

POWER = 0.75
"""Power of the distance to the centre of the classes: at 1 the score is that distance over the one to the nearest
class, at 0 the latter alone. Shrinkage and power did best on validation classes of
the domains of `configs/real_small.yaml`."""

DIRECTIONS = 256
"""Most directions of scatter within classes that are kept: the rest hardly differs from none."""


class Knownness(nn.Module):
    """A relative Mahalanobis distance (Ren et al. 2021): higher for images that are more like the labelled ones.

    With v an image's feature of length 1 around the mean of the classes' means, it is

        log(|v|^(2·POWER) / min_c d²(v, μ_c)),    d²(v, μ) = |v - μ|² - |B (v - μ)|²,

    where B holds the directions of scatter within classes, each times √(λ / (λ + a)) with λ its sum of squares and
    a = `SHRINKAGE` times the mean squared distance of all images from the centre: that is the Mahalanobis distance of
    LDA's shrunk covariance, but for a factor. An image that lies near the centre is near all classes without being of
    one of them, which the distance to the nearest class alone does not see. Over several networks it is the mean.

    All it knows are buffers, and the forward pass is plain tensor operations, so that it can be exported.

    Attributes:
        centre: mean of the classes' means, `[networks, dim]`.
        basis: B, `[networks, directions, dim]`.
        weight: μ_c - BᵀB μ_c around the centre, `[networks, way, dim]`.
        constant: d² of μ_c from the centre, `[networks, way]`.
    """

    centre: Tensor
    basis: Tensor
    weight: Tensor
    constant: Tensor

    def __init__(
        self,
        centre: Float[Tensor, "networks dim"],
        basis: Float[Tensor, "networks directions dim"],
        weight: Float[Tensor, "networks way dim"],
        constant: Float[Tensor, "networks way"],
    ) -> None:
        super().__init__()
        self.register_buffer("centre", centre)
        self.register_buffer("basis", basis)
        self.register_buffer("weight", weight)
        self.register_buffer("constant", constant)

    @classmethod
    @torch.no_grad()
    def fit(
        cls, features: Float[Tensor, "views n networks_dim"], labels: Int[Tensor, " n"], way: int, networks: int = 1
    ) -> "Knownness":
        """What the labelled images look like.

        Args:
            features: of the images, by view.
            labels: 0..way-1, each at least once.
            way: number of classes.
            networks: number of networks whose features come side by side.
        """
        parts = [_fit(part, labels, way) for part in features.double().chunk(networks, dim=2)]
        return cls(*(torch.stack(buffers).to(features) for buffers in zip(*parts, strict=True)))

    def forward(self, features: Float[Tensor, "m networks_dim"]) -> Float[Tensor, " m"]:
        """The score of each image; an image is its mean over views, as a classifier gets it."""
        found: list[Tensor] = []
        for network, part in enumerate(features.chunk(len(self.centre), dim=1)):
            v = normalize(part, dim=1) - self.centre[network]
            length = v.square().sum(1)
            inner = length - (v @ self.basis[network].T).square().sum(1)
            squares = inner[:, None] - 2 * v @ self.weight[network].T + self.constant[network]
            found.append(POWER * length.clamp(min=1e-6).log() - squares.min(1).values.clamp(min=1e-6).log())
        return torch.stack(found).mean(0)


def _fit(features: Tensor, labels: Tensor, way: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Centre, basis, weight and constant of one network."""
    x = normalize(normalize(features, dim=2).mean(0), dim=1)
    counts = torch.bincount(labels, minlength=way).to(x)
    means = x.new_zeros(way, x.shape[1]).index_add(0, labels, x) / counts[:, None]
    centre = means.mean(0)
    deviations = x - means[labels]
    spread = (x - centre).square().sum(1).mean()
    values, vectors = torch.linalg.eigh(deviations @ deviations.T)
    values, vectors = values[-DIRECTIONS:].clamp(min=0), vectors[:, -DIRECTIONS:]
    # rows of vectorsᵀ deviations have the length √λ, so that √(λ / (λ + a)) times the direction is this
    basis = vectors.T @ deviations / (values + SHRINKAGE * spread.clamp(min=1e-9)).sqrt()[:, None]
    weight = means - centre - (means - centre) @ basis.T @ basis
    return centre, basis, weight, (weight * (means - centre)).sum(1)
