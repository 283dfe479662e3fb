"""The page that `smat predict` shows labels on: thumbnails by class, and a table of what is taken for what."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from smat.domains import GreyRange
from smat.recipes.pages import Card, Counts, Picture, Section, page, thumbnail
from smat.recipes.predictions import Predictions

SHOWN = 600
"""Thumbnails of a page, at most: about 4 MB of them."""

_COLUMNS = 30  # classes of a table of counts, at most


def prediction_report(
    result: Predictions, root: Path, names: Sequence[Path], grey_range: GreyRange | None, max_pixels: int
) -> str:
    """A page on labelled images: the least certain first, by class; not more than `SHOWN` of them.

    Args:
        result: the labels.
        root: folder of the images.
        names: the images, relative to that.
        grey_range: values that are black and white in grey images of more than 8 bits.
        max_pixels: most pixels that an image is decoded to.
    """
    chosen = _least_certain(result)
    counts = Counter(result.labels)
    order = [*({*counts} - {*result.classes}), *(name for name in result.classes if name in counts)]

    def card(index: int) -> Card:
        source = thumbnail(root / names[index], grey_range, max_pixels)
        truth, label = result.truths[index], result.labels[index]
        mark = "" if truth is None else "right" if truth == label else "wrong"
        lines = [*_second_best(result, index), *([f"folder: {truth}"] if mark == "wrong" else [])]
        share = float(result.probabilities[index].max())
        return Card([Picture(source, result.files[index], lines, share, mark)])

    sections = [
        Section(
            f"{label} ({counts[label]:,})",
            _note(len(indices := chosen[label]), counts[label]),
            [card(index) for index in indices],
        )
        for label in order
    ]
    tables = [_confusions(result)] if result.scored else []
    facts = list(_facts(result, sum(map(len, chosen.values()))))
    return page(f"Labels of {len(names):,} images", facts, sections, tables)


def _least_certain(result: Predictions) -> dict[str, list[int]]:
    """The images that are shown, by label: of each as many, as far as it has them."""
    certainty = result.probabilities.max(axis=1)
    # Least certain of being none of the classes is what is most like them.
    if result.known is not None:
        certainty = np.where(np.isin(result.labels, result.classes), certainty, -result.known)
    by_label: dict[str, list[int]] = {}
    for index in np.argsort(certainty, kind="stable").tolist():
        by_label.setdefault(result.labels[index], []).append(index)
    turns = sorted((turn, label) for label, indices in by_label.items() for turn in range(len(indices)))
    shown = Counter(label for _, label in turns[:SHOWN])
    return {label: indices[: shown[label]] for label, indices in by_label.items()}


def _second_best(result: Predictions, index: int) -> list[str]:
    """What an image is taken for, with the probabilities of the best two classes."""
    best = np.argsort(-result.probabilities[index], kind="stable")[:2]
    return [f"{100 * result.probabilities[index, each]:.0f} % {result.classes[each]}" for each in best]


def _note(shown: int, of: int) -> str:
    return "the least certain first" if shown == of else f"the {shown:,} least certain of {of:,}"


def _facts(result: Predictions, shown: int) -> Iterator[tuple[str, str]]:
    yield "images", f"{len(result.files):,}"
    if shown < len(result.files):
        yield "shown here", f"{shown:,}"
    yield "classes", f"{len(result.classes):,}"
    if none_of_these := sum(label not in result.classes for label in result.labels):
        yield "of none of them", f"{none_of_these:,}"
    if result.accuracy is not None:
        yield "accuracy by names of folders", f"{100 * result.accuracy:.1f} % of {result.scored:,}"
        if result.answered < result.scored:
            yield "answered with a class", f"{100 * result.answered / result.scored:.1f} %"
    if result.accuracy_of_answered is not None and result.answered < result.scored:
        yield "accuracy of these", f"{100 * result.accuracy_of_answered:.1f} %"
    if result.expected_accuracy is not None:
        yield "accuracy to expect, by the labelled images", str(result.expected_accuracy)


def _confusions(result: Predictions) -> Counts:
    """How often images of each folder get each label."""
    counts = Counter((truth, label) for truth, label in zip(result.truths, result.labels, strict=True) if truth)
    totals = Counter(truth for truth in result.truths if truth)
    wrong: Counter[str] = Counter()
    for (truth, label), number in counts.items():
        wrong.update({name: number for name in (truth, label) if truth != label})
    involved = sorted({*totals, *(label for _, label in counts)})
    columns = sorted(sorted(involved, key=lambda name: -wrong[name])[:_COLUMNS])
    note = "Rows are the folders that images lie in, columns their labels."
    if len(columns) < len(involved):
        note += f" Of {len(involved)} classes, the {len(columns)} that are taken for others most often."
    rows = [(name, [counts[name, label] for label in columns]) for name in columns if totals[name]]
    return Counts("What is taken for what", note, "folder / label", columns, rows)
