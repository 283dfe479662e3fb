"""What an analysis adds to the card of the pool that was analysed."""

from collections.abc import Sequence
from pathlib import Path

from smat.experts import Analysis, Figure, add_to_card
from smat.recipes.analyse.parts import Drawn
from smat.recipes.analyse.subjects import Subject

FIGURES = ("capacity-type", "capacity-depth", "overlap", "tasks-weights")
"""The figures of a card, as far as the analysis has them."""


def add_analysis(subject: Subject, findings: Sequence[str], drawn: Sequence[Drawn], folder: Path) -> None:
    """Add an analysis to the card of its pool.

    Args:
        subject: the pool.
        findings: what was found, in sentences.
        drawn: figures of the analysis.
        folder: folder that the analysis was written to.

    Raises:
        SmatError: the card cannot be read or written.
    """
    chosen = [each for each in drawn if each.name in FIGURES]
    contents = {f"{each.name}.png": (folder / "figures" / f"{each.name}.png").read_bytes() for each in chosen}
    figures = [Figure(f"{each.name}.png", each.caption) for each in chosen]
    add_to_card(subject.path, "analysis", Analysis(subject.pool.fingerprint(), list(findings), figures), contents)
