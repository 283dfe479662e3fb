"""From the photos on a board to a classifier: made at once, grown from a saved one, or fine-tuned."""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from smat.adaptation import Device, FewShotClassifier
from smat.adaptation.tuned_without import PARTS
from smat.app.board import Photo
from smat.errors import ConfigError, DataError
from smat.experts import SparseInterpolatedExperts

OnStep = Callable[[str, int, int], None]
"""Called with what is done, the steps until now, and in the end."""

_MEASURED = 3  # steps that are timed, of which the first does not count


@dataclass(frozen=True)
class Tuning:
    """How a network is fine-tuned.

    Attributes:
        kind: small adapters in it, or all of it.
        choose_rate: whether the learning rate is chosen by photos that are held out, at about 15 times the time.
        assess: whether it is found out how right it is, by tuning five more without some of the photos.
    """

    kind: Literal["lora", "full"] = "lora"
    choose_rate: bool = True
    assess: bool = False

    @property
    def usual_rate(self) -> float:
        """The learning rate where none is chosen."""
        return 1e-3 if self.kind == "lora" else 1e-4


@dataclass(frozen=True)
class Estimate:
    """How long fine-tuning will take.

    Attributes:
        seconds: in all.
        steps: number of steps.
        step: seconds of one, as it was measured on the photos.
    """

    seconds: float
    steps: int
    step: float


class Stopped(Exception):
    """Fine-tuning was stopped by whoever had asked for it."""


class _Measured(Exception):
    """The steps that are timed are done."""


def made(
    photos: Sequence[Photo], network: SparseInterpolatedExperts, device: Device, **settings: Any
) -> FewShotClassifier:
    """A classifier of photos.

    Args:
        photos: all of them, with their files.
        network: the network or the pool.
        device: device to compute on.
        settings: others of `FewShotClassifier`.

    Raises:
        SmatError: as `FewShotClassifier.fit`.
    """
    classifier = FewShotClassifier(network, device=device, **settings)
    classifier.fit([str(photo.path) for photo in photos], [photo.label for photo in photos])
    _name(classifier, photos)
    return classifier


def grown(folder: Path, photos: Sequence[Photo], device: Device) -> tuple[FewShotClassifier, list[Photo]]:
    """A saved classifier with the photos that there are now, and these in its order.

    Args:
        folder: the saved classifier; it stays as it is.
        photos: photos that it has, and new ones with their files.
        device: device to compute on.

    Raises:
        SmatError: as `FewShotClassifier.load`, `add`, `remove` and `rename`.
    """
    if len({photo.label for photo in photos}) < 2:
        raise DataError("there are photos of fewer than two classes; add others")
    classifier = FewShotClassifier.load(folder, device=device)
    kept = {photo.stored: photo for photo in photos if photo.stored is not None}
    new = [photo for photo in photos if photo.stored is None]
    first_codes = classifier.support_.codes.tolist()
    old_names = classifier.classes_.tolist()
    # Names may be exchanged, so that all become something else first; of a class that goes, the name is free.
    names = [next((kept[i].label for i in kept if first_codes[i] == code), None) for code in range(len(old_names))]
    if names != old_names:
        for code, old in enumerate(old_names):
            classifier.rename(old, f"\0{code}")
        for code, name in enumerate(names):
            if name is not None:
                classifier.rename(f"\0{code}", name)
    stored = len(first_codes)
    if new:
        classifier.add([str(photo.path) for photo in new], [photo.label for photo in new])
        _name(classifier, new, stored)
    if gone := [number for number in range(stored) if number not in kept]:
        classifier.remove(images=gone)
    return classifier, [*(kept[number] for number in sorted(kept)), *new]


def tuned(
    photos: Sequence[Photo],
    network: SparseInterpolatedExperts,
    device: Device,
    how: Tuning,
    on_step: OnStep,
) -> FewShotClassifier:
    """A classifier whose network was fine-tuned on the photos.

    Args:
        photos: all of them, with their files.
        network: the network or the pool.
        device: device to compute on.
        how: what is tuned, and how.
        on_step: called after each step; what it raises ends the fine-tuning.

    Raises:
        SmatError: as `FewShotClassifier.fit`.
    """
    settings: dict[str, Any] = {"adapt": how.kind, "learning_rate": "support" if how.choose_rate else how.usual_rate}
    reject = 0.5 if how.assess else None  # any rate has it tune without some photos
    classifier = made(photos, network, device, **settings, reject=reject, progress=on_step)
    return classifier.set_params(reject=None, progress=False)


def estimated(photos: Sequence[Photo], network: SparseInterpolatedExperts, device: Device, how: Tuning) -> Estimate:
    """How long `tuned` will take: its first steps are done and timed; arguments and errors are those of `tuned`."""
    times: list[float] = []
    steps = 0

    def watch(text: str, done: int, total: int) -> None:
        nonlocal steps
        times.append(time.monotonic())
        steps = total
        if len(times) == _MEASURED:
            raise _Measured

    with suppress(_Measured):
        tuned(photos, network, device, how, watch)
    if len(times) < 2:
        raise ConfigError("there is nothing to fine-tune: a learning rate cannot be chosen from one photo per class")
    step = (times[-1] - times[0]) / (len(times) - 1)
    once = FewShotClassifier().steps
    steps += once * how.choose_rate + once * PARTS * how.assess  # as `FewShotClassifier` goes on
    return Estimate(step * steps, steps, step)


def _name(classifier: FewShotClassifier, photos: Sequence[Photo], start: int = 0) -> None:
    """Have the classifier know photos by their own names, not those of the files that they lie in here."""
    names = (*classifier.support_.names[:start], *(photo.name for photo in photos))
    classifier.support_ = replace(classifier.support_, names=names)
