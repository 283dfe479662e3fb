"""What one person does on the page: their photos, their classifier, and what it said. It knows no Gradio."""

import shutil
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import RLock

from smat.adaptation import FewShotClassifier
from smat.app.board import UNKNOWN, Board, Photo, Shelf
from smat.app.doubts import Doubt, LookedAt
from smat.app.keeping import Export, Report, Writers, exported, reported, saved_zip
from smat.app.networks import Networks
from smat.app.training import Estimate, OnStep, Stopped, Tuning, estimated, grown, made, tuned
from smat.app.trying import Trial, Tried, smallest_rate
from smat.app.uploads import Inbox, Limits, Upload, unpack_classifier
from smat.assessment import LearningCurve
from smat.errors import ConfigError, DataError


@dataclass
class Session:
    """One person's work; one thing at a time.

    Args:
        folder: folder of its own for photos, made here and removed in the end.
        out: folder for what is made of them, likewise.
        networks: what classifiers can be made with.
        writers: what writes files.
        limits: what may be brought.

    Attributes:
        board: the classes and their photos.
        classifier: the classifier; None before there is one.
        changed: whether photos have changed since it was made.
        opened: folder of the classifier that was opened; None where it was made here.
        network: name of the network that it was made with.
        to_add, to_try, to_open: files that were sent for this, and wait for it.
        tuning: how it was fine-tuned; None if not.
    """

    folder: Path
    out: Path
    networks: Networks
    writers: Writers
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        self._lock = RLock()
        for place in (self.folder, self.out):
            place.mkdir(mode=0o700)
        self._stop, self._closed = False, False
        self.to_add, self.to_try, self.to_open = (Inbox(self.folder) for _ in range(3))
        self.shelf = Shelf(self.folder, self.limits)
        self._begin()

    def _begin(self) -> None:
        self.board = Board(self.limits)
        self.classifier: FewShotClassifier | None = None
        self.changed, self.opened, self.network, self.tuning = False, None, "", None
        self._looked_at = LookedAt()
        self._trial = Trial()

    def add(self, uploads: Sequence[Upload], label: str = "") -> int:
        """Put photos into classes: those in folders into classes of these names, others into the one that is given.

        What is no photo is left out with a word.

        Returns:
            How many there are more.

        Raises:
            DataError: photos without a class, or an archive that cannot be used; nothing is added.
        """
        with self._lock:
            photos = self.shelf.keep(uploads)
            try:
                self.board.put(photos, label)
            except DataError:
                self.shelf.drop(photos)
                raise
            self.changed |= bool(photos)
            return len(photos)

    def remove(self, numbers: Collection[int]) -> None:
        """Take photos away."""
        with self._lock:
            gone = self.board.remove(numbers)
            self.shelf.drop(gone)
            self.changed |= bool(gone)

    def move(self, numbers: Collection[int], label: str) -> None:
        """Put photos into another class; raises as `Board.move`."""
        with self._lock:
            self.board.move(numbers, label)
            self.changed = True

    def rename(self, old: str, new: str) -> None:
        """Give a class another name; raises as `Board.rename`."""
        with self._lock:
            self.board.rename(old, new)
            self.changed = True

    def remove_class(self, label: str) -> None:
        """Take a class away with its photos."""
        self.remove([photo.number for photo in self.board.classes.get(label, [])])

    def train(self, network: str) -> FewShotClassifier:
        """Make the classifier of the photos as they are, at once: nothing is fine-tuned.

        Args:
            network: name of the network; of no matter where a classifier was opened.

        Raises:
            SmatError: there are photos of fewer than two classes, or as `FewShotClassifier.fit`.
        """
        with self._lock:
            photos = self._photos()
            if self.opened:
                self._become(*grown(self.opened, photos, self.networks.device), self.network)
            else:
                self._become(made(photos, self.networks.open(network), self.networks.device), photos, network)
            return self._made()

    def estimate(self, network: str, how: Tuning) -> Estimate:
        """How long `tune` will take, from steps that are done on the photos; arguments and errors as there."""
        with self._lock:
            photos = self._photos_to_tune()
            return estimated(photos, self.networks.open(network), self.networks.device, how)

    def tune(self, network: str, how: Tuning, on_step: OnStep) -> FewShotClassifier:
        """Fine-tune the network on the photos; the classifier that is there stays where this is stopped or fails.

        Args:
            network: name of the network.
            how: what of it is tuned, and how.
            on_step: called after each step.

        Raises:
            Stopped: `stop` was called.
            SmatError: a classifier was opened, whose photos are not there; or as `FewShotClassifier.fit`.
        """
        self._stop = False

        def watch(text: str, done: int, total: int) -> None:
            if self._stop or self._closed:
                raise Stopped
            on_step(text, done, total)

        with self._lock:
            photos = self._photos_to_tune()
            found = tuned(photos, self.networks.open(network), self.networks.device, how, watch)
            self._become(found, photos, network, how)
            return found

    def stop(self) -> None:
        """Have the fine-tuning end after its next step."""
        self._stop = True

    def _become(
        self, classifier: FewShotClassifier, photos: list[Photo], network: str, tuning: Tuning | None = None
    ) -> None:
        """Have another classifier, which is asked about the photos to try in its turn."""
        trial, looked_at = self._trial.asked_again(classifier), LookedAt.of(classifier, photos)
        self.classifier, self._trial, self._looked_at = classifier, trial, looked_at
        self.network, self.tuning, self.changed = network, tuning, False

    def _photos(self) -> list[Photo]:
        photos = [photo for photos in self.board.classes.values() for photo in photos]
        if len(self.board.classes) < 2:
            raise DataError("there are photos of fewer than two classes; add photos of at least two, 5 of each do well")
        return photos

    def _photos_to_tune(self) -> list[Photo]:
        if self.opened:
            raise ConfigError(
                "the photos of a classifier that was opened are not in it, so that it cannot be fine-tuned: it can "
                "grow, or begin anew with all photos"
            )
        return self._photos()

    def doubts(self) -> list[Doubt]:
        """The labelled photos that may be wrong and are still there."""
        with self._lock:
            there, found = self.board.photos, self._looked_at.doubts
            return [
                doubt
                for doubt in found
                if all(photo.number in there for photo in doubt.photos) and doubt.photos[0].label != doubt.seems
            ]

    @property
    def curve(self) -> LearningCurve | None:
        """Whether more photos would help; None where that is not known."""
        with self._lock:
            return self._looked_at.curve

    def try_on(self, uploads: Sequence[Upload]) -> int:
        """Ask the classifier about photos; what is no photo is left out with a word.

        Returns:
            How many there are more.

        Raises:
            DataError: there is no classifier yet.
        """
        with self._lock:
            classifier = self._made()
            photos = self.shelf.keep(uploads)
            self._trial.ask(classifier, photos)
            return len(photos)

    def tried(self, rate: float | None = None) -> Tried | None:
        """What the classifier says of the photos to try; arguments and errors are those of `Trial.tried`."""
        return None if self.classifier is None else self._trial.tried(self.classifier, rate)

    def clear_tried(self) -> None:
        """Forget the photos to try."""
        with self._lock:
            self.shelf.drop(self._trial.photos)
            self._trial = Trial()

    @property
    def smallest_rate(self) -> float | None:
        """The smallest rate for `tried`; None where there is none."""
        return None if self.classifier is None else smallest_rate(self.classifier)

    def _made(self) -> FewShotClassifier:
        if self.classifier is None:
            raise DataError("there is no classifier yet: add photos of two or more classes, and train")
        return self.classifier

    def open(self, source: Upload | Path) -> None:
        """Begin anew with a saved classifier: the zip of its folder, or the folder.

        Raises:
            SmatError: it is none, or damaged; all stays as it was.
        """
        with self._lock:
            if isinstance(source, Upload):
                place = self.folder / f"classifier-{self.shelf.number()}"
                try:
                    folder = unpack_classifier(source, place, self.limits)
                    classifier = self._loaded(folder)
                except BaseException:
                    shutil.rmtree(place, ignore_errors=True)
                    raise
            else:
                folder, classifier = source, self._loaded(source)
            self.clear()
            support, classes = classifier.support_, classifier.classes_
            thumbnails = support.thumbnails or [None] * len(support)
            for index, (code, name) in enumerate(zip(support.codes.tolist(), support.names, strict=True)):
                number = self.shelf.number()
                photo = Photo(number, name, thumbnails[index], str(classes[code]), stored=index)
                self.board.photos[number] = photo
            self._become(classifier, [*self.board.photos.values()], str(classifier.model))
            self.opened = folder

    def _loaded(self, folder: Path) -> FewShotClassifier:
        classifier = FewShotClassifier.load(folder, device=self.networks.device)
        if classifier.classes_.dtype.kind != "U":
            raise DataError("its classes are numbers, not names; use it in Python (FewShotClassifier.load)")
        return classifier

    def clear(self) -> None:
        """Forget all photos and the classifier."""
        with self._lock:
            self.shelf.drop([*self.board.photos.values(), *self._trial.photos])
            if self.opened and self.opened.is_relative_to(self.folder):
                shutil.rmtree(self.opened, ignore_errors=True)
            self._begin()

    def save(self, thumbnails: bool, rate: float | None = None) -> Path:
        """The classifier as a zip archive.

        Args:
            thumbnails: whether small pictures of the labelled photos go with it.
            rate: the rate that it answers "unknown" by, as for `tried`.

        Raises:
            SmatError: there is none, or photos have changed since; or as `saved_zip`.
        """
        with self._lock:
            return saved_zip(self._to_keep(rate), self.out, thumbnails)

    def export(self, to: Export, rate: float | None = None) -> Path:
        """The classifier as something that runs elsewhere, with `rate` as in `save`; raises as that and `exported`."""
        with self._lock:
            return exported(self._to_keep(rate), self.out, to, self.writers)

    def report(self, name: Report, rate: float | None) -> Path:
        """What the classifier says of the photos to try, as a page or a table.

        Raises:
            SmatError: there are none, or the labelled photos are too few for the rate.
        """
        with self._lock:
            tried = self.tried(rate)
            if tried is None:
                raise DataError("there is nothing to report: try some photos first")
            return reported(tried, self.out, name, self.writers)

    def _to_keep(self, rate: float | None) -> FewShotClassifier:
        classifier = self._made()
        if self.changed:
            raise DataError("photos have changed since the classifier was made: train again first")
        return classifier.set_params(reject=rate, unknown_label=UNKNOWN)

    def close(self) -> None:
        """Forget everything, also on disk; what is being done ends soon, and finds nothing any more."""
        self._closed = True
        for place in (self.folder, self.out):
            shutil.rmtree(place, ignore_errors=True)

    def wait(self, seconds: float) -> None:
        """Wait for the end of what is being done, so many seconds at most."""
        if self._lock.acquire(timeout=seconds):
            self._lock.release()
