"""Domains by name, as given on the command line and in configurations."""

from collections.abc import Sequence
from dataclasses import dataclass

from smat.domains.domain import Domain
from smat.domains.image_domain import open_domain
from smat.domains.pocket import POCKET_ID, POCKET_OOD, pocket_domains
from smat.errors import DataError

_POCKET = "pocket"


@dataclass(frozen=True)
class DomainConfig:
    """A domain with settings of its own.

    Attributes:
        source: as in `open_domains`.
        name: what to call it; the file's or folder's name otherwise.
        splits: a splits file; the one beside the source otherwise.
        fractions: shares of training, validation and test classes, drawn with seed 0.
        flip: whether a mirrored image is still of its class; by default yes for colour images.
        weight: how often the domain is drawn in training, in proportion.
    """

    source: str
    name: str | None = None
    splits: str | None = None
    fractions: tuple[float, float, float] | None = None
    flip: bool | None = None
    weight: float = 1.0


def open_domains(
    sources: Sequence[str | DomainConfig],
    *,
    splits: str | None = None,
    skip_bad: bool = False,
    pocket_image_size: int = 32,
) -> list[Domain]:
    """Open domains by their sources.

    Args:
        sources: each a parquet file, a folder of class folders, a data set of the hub, `pocket` (all the pocket
            domains), `pocket-id`, `pocket-ood` or `pocket:NAME`.
        splits: a splits file for all domains that do not say otherwise.
        skip_bad: go on without images that cannot be read.
        pocket_image_size: side of the pocket domains' images.

    Raises:
        DataError: one of them cannot be opened.
    """
    domains: list[Domain] = []
    for source in sources:
        entry = DomainConfig(source) if isinstance(source, str) else source
        if entry.source.split(":")[0].split("-")[0] == _POCKET:
            domains += _pocket(entry.source, pocket_image_size)
            continue
        domains.append(
            open_domain(
                entry.source,
                name=entry.name,
                splits=None if entry.fractions else entry.splits or splits,
                fractions=entry.fractions,
                flip=entry.flip,
                skip_bad=skip_bad,
            )
        )
    return domains


def domain_weights(sources: Sequence[str | DomainConfig], domains: Sequence[Domain]) -> list[float]:
    """The weight of each opened domain, in order; those of a pocket group are drawn alike."""
    if len(sources) != len(domains):
        return [1.0] * len(domains)
    return [1.0 if isinstance(source, str) else source.weight for source in sources]


def _pocket(source: str, image_size: int) -> list[Domain]:
    groups = {
        _POCKET: POCKET_ID + POCKET_OOD,
        f"{_POCKET}-id": POCKET_ID,
        f"{_POCKET}-ood": POCKET_OOD,
    } | {f"{_POCKET}:{name}": (name,) for name in POCKET_ID + POCKET_OOD}
    if source not in groups:
        raise DataError(
            f"there are no pocket domains {source!r}: choose pocket, pocket-id, pocket-ood, or one as pocket:NAME of "
            f"{', '.join(POCKET_ID + POCKET_OOD)}"
        )
    return [domain for domain in pocket_domains(image_size=image_size) if domain.name in groups[source]]
