"""The kinds of sources, found by name or import path, and the domains that they list."""

import inspect
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from smat.domains.mirroring import letters, never_mirrored
from smat.errors import ConfigError, DataError
from smat.importing.aircraft import AIRCRAFT
from smat.importing.cifar import Cifar
from smat.importing.coco import Coco
from smat.importing.cross_domain import CROP_DISEASE, EUROSAT, ChestX, Isic
from smat.importing.csv_lists import Csv
from smat.importing.cub import Cub
from smat.importing.few_shot_sets import CIFAR_FS, FC100, MINI_IMAGENET, TIERED_IMAGENET
from smat.importing.files import inside
from smat.importing.folder import Folder
from smat.importing.fungi import Fungi
from smat.importing.gtsrb import Gtsrb
from smat.importing.ilsvrc import Ilsvrc
from smat.importing.kind import Kind, Known
from smat.importing.line_lists import DOMAINNET, DTD, FOOD, PETS
from smat.importing.listing import EXPECTED, Listing
from smat.importing.matlab_lists import Cars, Flowers
from smat.importing.metadataset import MetaDataset
from smat.importing.metadataset_h5 import MetaDatasetH5
from smat.importing.mnist import Mnist
from smat.importing.omniglot import Omniglot
from smat.importing.quickdraw import QuickDraw
from smat.plugins import import_object, import_path

KINDS: Mapping[str, Kind] = {
    kind.name: kind
    for kind in (
        MetaDataset(),
        MetaDatasetH5(),
        Folder(),
        Csv(),
        Cifar(),
        Mnist(),
        Gtsrb(),
        Coco(),
        DOMAINNET,
        PETS,
        Cars(),
        FOOD,
        Flowers(),
        DTD,
        AIRCRAFT,
        Cub(),
        Omniglot(),
        QuickDraw(),
        Ilsvrc(),
        Fungi(),
        MINI_IMAGENET,
        TIERED_IMAGENET,
        CIFAR_FS,
        FC100,
        CROP_DISEASE,
        EUROSAT,
        Isic(),
        ChestX(),
    )
}
"""The kinds of the package, by name."""


def find_kind(name: str) -> Kind:
    """The kind of that name, or of one's own by the import path of its class.

    Raises:
        ConfigError: there is none, or it is not a class of a kind.
    """
    if name in KINDS:
        return KINDS[name]
    if "." not in name:
        raise ConfigError(
            f"kind is {name!r}; the kinds are {', '.join(KINDS)}, or the import path of a class of your own, such as "
            "my_lab.kinds.Plankton"
        )
    found = import_object(name)
    if not (isinstance(found, type) and issubclass(found, Kind)):
        raise ConfigError(f"{name} is no kind of source: give a class that inherits from smat.importing.Kind")
    lacking = [attribute for attribute in ("name", "summary", "files") if not hasattr(found, attribute)]
    if inspect.isabstract(found) or lacking:
        raise ConfigError(f"{name} lacks {', '.join([*lacking, *sorted(found.__abstractmethods__)])}: define it there")
    try:
        return found()
    except TypeError as error:
        raise ConfigError(f"{name} cannot be made without arguments: {error}; give each a default") from error


def list_sources(kind: str | Kind, source: str | Path) -> list[Listing]:
    """The domains of a source, each to be given to `import_domain`.

    Args:
        kind: name of a kind, import path of a class of one's own, or an object of one.
        source: folder of the source's files, unpacked.

    Raises:
        ConfigError: an unknown kind, or one that lists no domains.
        DataError: nothing there can be imported as this kind.
    """
    kind = find_kind(kind) if isinstance(kind, str) else kind
    source = Path(source)
    one_file = kind.takes_file and source.is_file()
    if not one_file and not source.is_dir():
        raise DataError(f"there is no folder '{source}'; for {kind.name}, give one with {kind.files}")
    listings: Any = kind.list_domains(source if one_file else _root(kind, source))
    if not isinstance(listings, list) or not listings or not all(isinstance(one, Listing) for one in listings):
        raise ConfigError(f"{import_path(type(kind))}.list_domains gives {listings!r:.80}; expected a list of Listing")
    return [
        replace(listing, flip=_flip(kind, listing), origin=_origin(kind, source, listing.name)) for listing in listings
    ]


def expected_counts(domain: str, origin: Mapping[str, Any]) -> Known | None:
    """The numbers that a domain should have, by its name, whatever its capitals and separators.

    Args:
        domain: name of the domain.
        origin: what an import remembers of its source; empty for domains that were not imported.

    Raises:
        DataError: the remembered numbers of a kind of one's own are damaged.
    """
    if "known" in origin:
        try:
            said = origin["known"]
            return Known(**said | {"names": (*said["names"],), "splits": said["splits"] and (*said["splits"],)})
        except (TypeError, KeyError) as error:
            raise DataError(
                f"the source's known numbers in domain.json of '{domain}' cannot be used ({error}): import it again"
            ) from error
    name = letters(domain)
    # Where kinds share a name, as for the drawings of DomainNet, it is first of the domain's own kind.
    first = [KINDS[key] for key in (str(origin.get("kind")), name) if key in KINDS]
    return next((found for kind in (*first, *KINDS.values()) if (found := _known(kind, name))), None)


def expected_images(domain: str, origin: Mapping[str, Any]) -> Mapping[str, int]:
    """How many images each class should have, as the source itself says; empty where it does not.

    Args:
        domain: name of the domain.
        origin: what an import remembers of its source; empty for domains that were not imported.

    Raises:
        DataError: the remembered numbers are damaged.
    """
    said = origin.get(EXPECTED, {})
    if not isinstance(said, dict) or not all(isinstance(count, int) and count >= 0 for count in said.values()):
        raise DataError(f"the source's numbers of images in domain.json of '{domain}' cannot be used: import it again")
    return said


def _known(kind: Kind, name: str) -> Known | None:
    return next((known for known in kind.known if name in known.names), None)


def _flip(kind: Kind, listing: Listing) -> bool | None:
    return False if never_mirrored(listing.name) or never_mirrored(kind.name) else listing.flip


def _origin(kind: Kind, source: Path, domain: str) -> dict[str, Any]:
    """What an import remembers of its source: of a kind of one's own also the numbers, since its code may be gone."""
    folder = source.resolve().name
    if type(KINDS.get(kind.name)) is type(kind):
        return {"kind": kind.name, "folder": folder}
    known = _known(kind, letters(domain))
    return {"kind": import_path(type(kind)), "folder": folder} | ({"known": asdict(known)} if known else {})


def _root(kind: Kind, source: Path) -> Path:
    """The folder that has a landmark of the kind: the source itself, or one in it.

    Raises:
        DataError: there is none; the message says which kind it might be instead.
    """
    if not kind.landmarks:
        return source
    try:
        within = [path for path in source.iterdir() if path.is_dir() and inside(source, path)]
        folders = [source, *sorted(path for path in within if not path.name.startswith((".", "__MACOSX")))]
    except OSError as error:
        raise DataError(f"'{source}' cannot be read as a folder: {error.strerror or error}") from error
    for folder in folders:
        if _is_of(folder, kind):
            return folder
    wanted = " or ".join(f"'{pattern}'" for pattern in kind.landmarks)
    others = sorted(other.name for other in KINDS.values() if any(_is_of(folder, other) for folder in folders))
    guess = f"; it might be of kind {' or '.join(others)}" if others else ""
    raise DataError(
        f"'{source}' is not of kind {kind.name}: neither it nor a folder in it has {wanted}{guess}. Give the folder "
        "that the archives were unpacked to"
    )


def _is_of(folder: Path, kind: Kind) -> bool:
    return any(next(folder.glob(pattern), None) is not None for pattern in kind.landmarks)
