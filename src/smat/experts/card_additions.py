"""Additions to the card of a pool that lies in a folder."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from smat.errors import ConfigError
from smat.experts.card import README, Analysis, Card, Result, Training, Validation, without_figures
from smat.experts.card_storage import figure_files, read_card, write_card
from smat.experts.storage import read_config
from smat.files import check_folder, writing
from smat.left_out import leave_out
from smat.plugins import plain
from smat.schema import check_setting, from_plain

Section = Literal["training", "validation", "results", "analysis", "metadata"]
_KINDS: dict[str, Any] = {"training": Training, "validation": Validation, "analysis": Analysis}


def add_to_card(folder: str | Path, section: Section, data: Any, files: Mapping[str, bytes] | None = None) -> None:
    """Add to the card of a pool in a local folder, and make its README anew.

        found = Analysis(pool.fingerprint(), ["Experts 0 and 2 ..."], [Figure("density.svg", "Open gates by block")])
        add_to_card("runs/first/best", "analysis", found, {"density.svg": Path("density.svg").read_bytes()})

    Args:
        folder: folder of the pool.
        section: what is added. `results` join those that there are, and take the place of earlier ones of the same;
            so do fields of `metadata`. Anything else takes the place of what there was.
        data: an `Analysis`, a list of `Result` and so on, or the same as plain data.
        files: contents of the figures that an analysis names, by their names.

    Raises:
        ConfigError: data that do not fit, a figure without content or the other way round, or a folder that cannot be
            written to.
        CheckpointError: there is no pool in the folder, or its card is damaged.
    """
    folder, files = Path(folder), dict(files or {})
    check_setting("section", section, Section)
    config, card = read_config(str(folder), folder), check_card(folder)
    if section == "metadata":
        card = card.with_metadata(_of_type(section, data, Mapping, "fields by name"))
    elif section == "results":
        given = _of_type(section, data, list | tuple, "a list of Result")
        card = card.with_results([_made(f"results.{number}", Result, one) for number, one in enumerate(given)])
    else:
        card = replace(card, **{section: _made(section, _KINDS[section], data)})
    figures = card.analysis.figures if section == "analysis" and card.analysis else []
    if {figure.file for figure in figures} != files.keys():
        named = ", ".join(figure.file for figure in figures) or "none"
        raise ConfigError(f"files are {', '.join(files) or 'none'}, and the analysis names {named}: give all it names")
    if section == "analysis":
        new = figure_files({figure: files[figure.file] for figure in figures})
        _remove(folder, card.files.keys() - new.keys() - {README})
        card = replace(card, files=without_figures(card.files) | new)
    write_card(folder, config, card)
    if README in card.files:
        reason = "it has a text of your own, which stays; remove it to have it made from card.json"
        leave_out("change of a README", reason, [str(folder / README)])


def check_card(folder: Path) -> Card:
    """The card of a pool in a local folder, after a check that something can be added to it.

    Raises:
        ConfigError: the folder cannot be written to.
        CheckpointError: there is no pool in it, or its card is damaged.
    """
    read_config(str(folder), folder)
    check_folder(folder, "the folder of the card")
    return read_card(folder)


def _made(section: str, kind: Any, data: Any) -> Any:
    """An object of a section, checked."""
    values = _of_type(section, data, kind | Mapping, f"a {kind.__name__}")
    return from_plain(plain(values), kind, section, ConfigError)


def _of_type(section: str, data: Any, kind: Any, expected: str) -> Any:
    if not isinstance(data, kind):
        raise ConfigError(f"{section} is of type {type(data).__name__}; give {expected}")
    return data


def _remove(folder: Path, paths: Iterable[str]) -> None:
    for path in paths:
        with writing(folder / path):
            (folder / path).unlink(missing_ok=True)
