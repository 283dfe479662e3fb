"""The beginning of the page: what was found, in sentences with numbers."""

from collections.abc import Iterator, Mapping, Sequence

from smat.recipes.analyse.panels import TOLD_APART
from smat.recipes.analyse.parts import Part
from smat.recipes.analyse.subjects import Subject
from smat.recipes.analyse.tasks_part import Routing, used_for


def summary_part(
    subjects: Sequence[Subject], parts: Sequence[Part], routing: Mapping[str, Routing], stopped: bool
) -> Part:
    """The first part of the page.

    Args:
        subjects: the pools.
        parts: what was found.
        routing: by name of the pool, how it routes tasks.
        stopped: whether the analysis was ended before its end.
    """
    texts = [text for part in parts for text in part.in_short]
    if stopped:
        texts.insert(0, "The analysis was stopped: what follows is what was finished until then.")
    return Part(
        "In short", texts=[*texts, *(t for subject in subjects for t in _experts(subject, parts, routing, subjects))]
    )


def _experts(
    subject: Subject, parts: Sequence[Part], routing: Mapping[str, Routing], subjects: Sequence[Subject]
) -> Iterator[str]:
    """A sentence on each expert, where they are few."""
    where = f" of {subject.name}" if len(subjects) > 1 else ""
    if not 1 < subject.experts <= TOLD_APART:
        return
    described = {**dict.fromkeys(range(subject.experts), "")}
    for part in parts:
        described |= part.experts.get(subject.name, {})
    for expert, text in described.items():
        used = used_for(routing[subject.name], expert) if subject.name in routing else ""
        if text or used:
            yield f"Expert {expert}{where} {'; it '.join(filter(None, [text, used]))}."
