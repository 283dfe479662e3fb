"""Episodes of pocket domains."""

from collections.abc import Callable

import pytest

from smat.backbones import ImageFormat
from smat.domains.pocket import pocket_domains
from smat.episodes import EpisodeSource, FixedSampler, Sampler
from tiny_pool import SIZE


@pytest.fixture
def source() -> Callable[..., EpisodeSource]:
    """Episodes of the pocket domain of a name: 3-way 2-shot with 4 queries a class, or by the sampler given."""
    domains = {domain.name: domain for domain in pocket_domains(image_size=SIZE, images_per_class=12)}

    def make(
        name: str = "polygons", sampler: Sampler | None = None, train: bool = False, split: str = "test"
    ) -> EpisodeSource:
        return EpisodeSource(
            [domains[name]],
            split,
            sampler or FixedSampler(3, 2, 4),
            image_format=ImageFormat(SIZE, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)),
            train=train,
        )

    return make
