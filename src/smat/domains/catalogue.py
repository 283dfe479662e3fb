"""Domains by name, as given on the command line and in configurations."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from smat.domains.domain import Domain, Role
from smat.domains.grey import RangeOption
from smat.domains.image_domain import open_domain
from smat.domains.opening import MAX_PIXELS
from smat.domains.pocket import POCKET_ID, POCKET_OOD, pocket_domains
from smat.errors import ConfigError, DataError
from smat.schema import Count, NotNegative, Share, checked

_POCKET = "pocket"
_POCKET_GROUPS = {
    _POCKET: POCKET_ID + POCKET_OOD,
    f"{_POCKET}-id": POCKET_ID,
    f"{_POCKET}-ood": POCKET_OOD,
} | {f"{_POCKET}:{name}": (name,) for name in POCKET_ID + POCKET_OOD}


@dataclass(frozen=True)
@checked("domains")
class DomainConfig:
    """A domain with settings of its own.

    Attributes:
        source: parquet file, folder of class folders, hub data set, or pocket domain.
        name: name of the domain; by default that of the file or folder.
        splits: splits file; by default the one beside the source.
        fractions: shares of training, validation and test classes, drawn with seed 0.
        flip: whether a mirrored image is still of its class; by default yes for colour images.
        role: `id`, `ood` or `validation`; by default what the splits file says. Domains of the role `validation` are
            not trained on: they choose the best checkpoint, by their validation classes or, without any, by all.
        weight: weight with which the domain is drawn in training, relative to the others.
        tracks: pattern of the tracks (several images of one object) in the names of images: a regular expression whose
            first group is the track within its class, such as `(\\d+)_\\d+`; or `none`. By default what the splits file
            or the import says, or the names of GTSRB where all images have such.
        image_column: image column of a parquet file or hub data set; by default what is declared as images, or is
            called `image` or `img`.
        label_column: label column of a parquet file or hub data set; by default `label`, what is declared as class
            labels, `labels` or `class`.
        min_images: number of images that a class must have, or it is left out with a word.
        range: values that are black and white in grey images of more than 8 bits, such as `[0, 4095]`, or `auto`, from
            all of them; by default that of all domains.
    """

    source: str
    name: str | None = None
    splits: str | None = None
    fractions: tuple[Share, Share, Share] | None = None
    flip: bool | None = None
    role: Role | None = None
    weight: NotNegative = 1.0
    tracks: str | None = None
    image_column: str | None = None
    label_column: str | None = None
    min_images: Count | None = None
    range: RangeOption = None


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """How domains are opened that do not say otherwise.

    Attributes:
        splits: splits file for all domains; by default the one beside each.
        skip_bad: go on without images that cannot be read.
        image_column: image column of parquet files and hub data sets; by default what is declared as images, or is
            called `image` or `img`.
        label_column: label column of these; by default `label`, what is declared as class labels, `labels` or `class`.
        min_images: number of images that a class must have; smaller ones are left out, and counted at the end.
        range: values LOW and HIGH that are black and white in grey images of more than 8 bits, such as 0 4095, or
            `auto`: from all such images of a domain; images of 8 bits have no other range. By default as each says, or
            it cannot be read.
        max_pixels: most pixels that an image is decoded to.
        verify: compare the content of each domain with its hash first, also where that takes reading all of it.
    """

    splits: str | None = None
    skip_bad: bool = False
    image_column: str | None = None
    label_column: str | None = None
    min_images: Count = 1
    range: RangeOption = None
    max_pixels: Count = MAX_PIXELS
    verify: bool = False

    def opening(self) -> dict[str, Any]:
        """These settings, as the arguments of `open_domains`."""
        return {field.name: getattr(self, field.name) for field in fields(DataOptions)}


def open_domains(
    sources: Sequence[str | DomainConfig],
    *,
    splits: str | None = None,
    skip_bad: bool = False,
    image_column: str | None = None,
    label_column: str | None = None,
    min_images: int = 1,
    verify: bool = False,
    pocket_image_size: int = 32,
    range: RangeOption = None,
    max_pixels: int = MAX_PIXELS,
) -> list[Domain]:
    """Open domains by their sources.

    Args:
        sources: parquet files, folders of class folders, hub data sets, `pocket` (all pocket domains), `pocket-id`,
            `pocket-ood` or `pocket:NAME`.
        splits: splits file for all domains that do not say otherwise.
        skip_bad: go on without images that cannot be read.
        image_column: image column of the parquet files and hub data sets that do not say otherwise.
        label_column: label column of these.
        min_images: number of images that a class must have, in all domains that do not say otherwise.
        verify: compare the content of each with its hash, also where that takes reading it all.
        pocket_image_size: side of the pocket domains' images, in pixels.
        range: as for `open_domain`, of all domains that do not say otherwise; `"auto"` is found for each by itself.
        max_pixels: most pixels that an image is decoded to.

    Raises:
        DataError: one of them cannot be opened.
        ConfigError: settings that do not go together, or that pocket domains do not have.
    """
    domains: list[Domain] = []
    for source in sources:
        entry = DomainConfig(source) if isinstance(source, str) else source
        if _is_pocket(entry.source):
            opened = _pocket(entry, pocket_image_size)
        else:
            domain = open_domain(
                entry.source,
                name=entry.name,
                splits=entry.splits or (None if entry.fractions else splits),
                fractions=entry.fractions,
                flip=entry.flip,
                role=entry.role,
                skip_bad=skip_bad,
                tracks=entry.tracks,
                image_column=entry.image_column or image_column,
                label_column=entry.label_column or label_column,
                min_images=min_images if entry.min_images is None else entry.min_images,
                verify=verify,
                range=range if entry.range is None else entry.range,
                max_pixels=max_pixels,
            )
            opened = [domain]
        for domain in opened:
            domain.weight = entry.weight
        domains += opened
    return domains


def one_by_one(sources: Sequence[str | DomainConfig]) -> list[str | DomainConfig]:
    """The same domains, each by a source of its own: groups of pocket domains are taken apart."""
    apart: list[str | DomainConfig] = []
    for source in sources:
        path = source if isinstance(source, str) else source.source
        names = _POCKET_GROUPS.get(path) if _is_pocket(path) else None
        own = [f"{_POCKET}:{name}" for name in names] if names else [path]
        apart += own if isinstance(source, str) else [replace(source, source=each) for each in own]
    return apart


def _is_pocket(source: str) -> bool:
    """Whether a source is called like the pocket domains, and is no path: `pocket-photos/` may be a folder."""
    return re.split("[:-]", source)[0] == _POCKET and not Path(source).exists()


def _pocket(entry: DomainConfig, image_size: int) -> list[Domain]:
    if entry.source not in _POCKET_GROUPS:
        raise DataError(
            f"there are no pocket domains {entry.source!r}: choose pocket, pocket-id, pocket-ood, or one as "
            f"pocket:NAME of {', '.join(POCKET_ID + POCKET_OOD)}"
        )
    own = ("name", "splits", "fractions", "flip", "tracks", "image_column", "label_column", "min_images", "range")
    fixed = [name for name in own if getattr(entry, name) is not None]
    if fixed:
        raise ConfigError(f"{entry.source} has its own {' and '.join(fixed)}: leave out what is said of them")
    names = _POCKET_GROUPS[entry.source]
    domains = [domain for domain in pocket_domains(image_size=image_size) if domain.name in names]
    for domain in domains:
        domain.role = domain.role if entry.role is None else entry.role
    return domains
