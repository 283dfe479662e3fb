"""The card of a pool as files: `card.json`, the `README.md` that is made from it, and its figures."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import smat
from smat.errors import CheckpointError, ConfigError, SmatError
from smat.experts.card import CARD, FIGURES, README, Card, Figure, Said
from smat.experts.card_text import MARK, card_text
from smat.files import write_whole, writing
from smat.left_out import leave_out
from smat.schema import Count, from_plain, read_versioned

FORMAT = 1
_LARGEST = 5_000_000  # bytes of a figure
_AGAIN = "Put the file back as it was, or delete it: the pool works without, and only what the file says is lost"
_FORMER = "huggingface_hub/package_reference/mixins#huggingface_hub.PyTorchModelHubMixin"  # of READMEs without content


@dataclass(frozen=True)
class _Head:
    """The first keys of `card.json`."""

    format: Count
    smat_version: str


def write_card(folder: Path, config: Mapping[str, Any], card: Card) -> None:
    """Write a card into the folder of a pool; a README with a text of the user's own stays as it is.

    Args:
        folder: the folder.
        config: what its `config.json` says.
        card: the card.

    Raises:
        ConfigError: a file cannot be written, as on a full disk.
    """
    for path, content in card.files.items():
        with writing(folder / path):
            (folder / path).parent.mkdir(exist_ok=True)
        write_whole(folder / path, lambda file, content=content: file.write_bytes(content))
    write_whole(folder / CARD, _json(card))
    if own_readme(folder) is None:
        write_whole(folder / README, card_text(config, card))


def _json(card: Card) -> str:
    """The content of `card.json`."""
    said = {name: value for name, value in asdict(card).items() if name != "files"}
    return json.dumps({"format": FORMAT, "smat_version": smat.__version__} | said, indent=1, allow_nan=False) + "\n"


def read_card(folder: Path) -> Card:
    """The card in a pool's folder; an empty one where there is none, as in folders of earlier versions.

    A figure that is missing is left out, with a word.

    Raises:
        CheckpointError: `card.json` is damaged, or of a newer format.
    """
    readme = own_readme(folder)
    files = {} if readme is None else {README: readme}
    path = folder / CARD
    if not path.is_file():
        return Card(files=files)
    said = read_versioned(path, FORMAT, f"'{path}'", CheckpointError, _AGAIN)
    try:
        first = {field.name: said.pop(field.name) for field in fields(_Head) if field.name in said}
        from_plain(first, _Head, "", ConfigError)
        card = Card(**vars(from_plain(said, Said, "", ConfigError)), files=files)
    except SmatError as error:
        raise CheckpointError(f"'{path}' cannot be used: {error}. {_AGAIN}") from error
    return _with_figures(card, folder) if card.analysis else card


def card_in_the_way(folder: Path) -> Card | None:
    """The card of the pool that another is saved in the place of; a damaged one is left out, with a word."""
    try:
        return read_card(folder)
    except CheckpointError as error:
        leave_out("file", f"a new one takes its place, for it was damaged: {error}", [str(folder / CARD)])
        return None


def _with_figures(card: Card, folder: Path) -> Card:
    """The card with the contents of its figures, as far as they are there."""
    assert card.analysis
    place = folder / FIGURES
    found = {figure: _content(place / figure.file, _LARGEST) for figure in card.analysis.figures}
    reason = f"the card names it, but '{place}' has no such file, or one above {_LARGEST / 1e6:.0f} MB"
    leave_out("figure", reason, [figure.file for figure, content in found.items() if content is None])
    there = {figure: content for figure, content in found.items() if content is not None}
    analysis = replace(card.analysis, figures=list(there))
    return replace(card, analysis=analysis, files=card.files | figure_files(there))


def figure_files(contents: Mapping[Figure, bytes]) -> dict[str, bytes]:
    """The contents of figures by their paths in the folder."""
    return {f"{FIGURES}/{figure.file}": content for figure, content in contents.items()}


def own_readme(folder: Path) -> bytes | None:
    """The folder's README where its text is the user's own; None where there is none, or smat made it."""
    content = _content(folder / README, None)
    if content is None or any(mark.encode() in content for mark in (MARK, _FORMER)):
        return None
    return content


def _content(path: Path, most: int | None) -> bytes | None:
    """A file's content; None where there is none that can be read, or it has more bytes than that."""
    try:
        return path.read_bytes() if most is None or path.stat().st_size <= most else None
    except OSError:
        return None
