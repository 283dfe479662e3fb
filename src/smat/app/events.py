"""What each button of the page does: calls a session, and shows what comes of it."""

import logging
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html import escape
from typing import Any, cast, get_args

import gradio as gr

from smat.app import views
from smat.app.keeping import Export, Report
from smat.app.session import Session
from smat.app.sessions import Sessions
from smat.app.training import Stopped, Tuning
from smat.app.uploads import Upload
from smat.errors import SmatError
from smat.left_out import LeftOut, collecting

_log = logging.getLogger(__name__)

LARGEST_RATE, USUAL_RATE = 0.5, 0.05
"""Of photos that may be taken for unknown: the largest share that can be chosen, and that at first."""


@contextmanager
def said() -> Iterator[list[LeftOut]]:
    """Within the block, errors become sentences on the page, and what is left out is collected."""
    try:
        with collecting() as left_out:
            yield left_out
    except SmatError as error:
        text = str(error)
        raise gr.Error(
            escape(text[:1].upper() + text[1:]), title="This cannot be done", duration=None, print_exception=False
        ) from error
    except (OSError, MemoryError) as error:
        text = f"The machine says: {escape(str(error) or type(error).__name__)}. Nothing else has changed."
        raise gr.Error(text, title="This could not be done", duration=None, print_exception=False) from error
    except (gr.Error, Stopped):
        raise
    except Exception as error:
        _log.exception("an unexpected error on the page")
        text = f"An error of smat's own, {type(error).__name__}: its traceback is where the page was started."
        raise gr.Error(text, title="This could not be done", duration=None, print_exception=False) from error


class Events:
    """The functions behind the page; each gets its session by the request, and gives what the page is to show.

    Args:
        sessions: who is on the page.
    """

    def __init__(self, sessions: Sessions) -> None:
        self.sessions = sessions

    def _of(self, request: gr.Request) -> Session:
        return self.sessions.of(request.session_hash)

    def _shown(self, session: Session) -> tuple[str, str, str]:
        """The board, the summary and the doubts."""
        inner = views.board(session), views.summary(session), views.doubts(session)
        return framed(inner[0]), framed(inner[1]), framed(inner[2])

    def load(self, request: gr.Request) -> tuple[Any, ...]:
        """What a page shows that was just loaded."""
        with said():
            session = self._of(request)
            return *self._shown(session), *self._answered(session, False, USUAL_RATE), self._networks(session)

    def unload(self, request: gr.Request) -> None:
        """Forget the session of a page that was closed."""
        self.sessions.close(request.session_hash)

    def _networks(self, session: Session) -> Any:
        if session.opened:
            label = f"Network: {session.network}, that of the classifier that was opened"
            return gr.update(label=label, interactive=False)
        return gr.update(label="Network", interactive=True)

    def add(self, label: str, event: gr.EventData, request: gr.Request) -> tuple[Any, ...]:
        """Put files that were sent into classes."""
        with said() as left_out:
            session = self._of(request)
            session.to_add.put(self._uploads(event))
            with session.to_add.taken() as uploads:
                count = session.add(uploads, label)
            shown, photos, classes = self._shown(session), len(session.board.photos), len(session.board.classes)
        text = f"{_many(count, 'photo')} added: {_many(photos, 'photo')} of {_many(classes, 'class', 'es')} now."
        return framed(views.status(text, left_out)), *shown

    def _uploads(self, event: gr.EventData) -> list[Upload]:
        """The files that a browser says that it has sent."""
        sent = event._data.get("files", []) if isinstance(event._data, dict) else []
        return [self.sessions.upload(str(each["path"]), str(each["name"])) for each in sent]

    def edit(self, event: gr.EventData, request: gr.Request) -> tuple[Any, ...]:
        """What was done to photos or classes on the board."""
        with said():
            session, what = self._of(request), dict(event._data)
            numbers = [int(number) for number in what.get("numbers", [])]
            label, to = str(what.get("label", "")), str(what.get("to", ""))
            does: dict[str, Callable[[], None]] = {
                "remove": lambda: session.remove(numbers),
                "move": lambda: session.move(numbers, to),
                "rename": lambda: session.rename(label, to),
                "remove-class": lambda: session.remove_class(label),
            }
            does[str(what.get("what"))]()
            return "", *self._shown(session)

    def begin_anew(self, request: gr.Request) -> tuple[Any, ...]:
        """Forget everything of a session."""
        with said():
            session = self._of(request)
            session.clear()
            return "", *self._shown(session), *self._answered(session, False, USUAL_RATE), self._networks(session)

    def train(
        self, network: str, reject: bool, rate: float, request: gr.Request, progress: gr.Progress = gr.Progress()
    ) -> tuple[Any, ...]:
        """Make the classifier."""
        with said():
            session = self._of(request)
            progress(None, desc=f"{len(session.board.photos)} photos pass through the network")
            session.train(network)
            progress(None, desc="looking at what was learned")
            return *self._shown(session)[1:], *self._answered(session, reject, rate)

    def forget_time(self) -> tuple[str, Any]:
        """What was estimated holds no more."""
        return framed(""), gr.update(visible=False)

    def begin_tuning(self) -> tuple[Any, Any]:
        """A button to stop in place of that to begin."""
        return gr.update(visible=False), gr.update(visible=True)

    def estimate(
        self,
        network: str,
        kind: Any,
        choose: bool,
        assess: bool,
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),
    ) -> tuple[Any, ...]:
        """Measure how long fine-tuning will take, and offer it."""
        with said():
            progress(None, desc="measuring a step on these photos")
            found = self._of(request).estimate(network, Tuning(kind, choose, assess))
            return framed(views.estimate(found)), gr.update(visible=True)

    def tune(
        self, network: str, kind: Any, choose: bool, assess: bool, reject: bool, rate: float, request: gr.Request,
        progress: gr.Progress = gr.Progress(),
    ) -> tuple[Any, ...]:  # fmt: skip
        """Fine-tune, with its progress."""
        hidden = gr.update(visible=False)

        def follow(text: str, done: int, total: int) -> None:
            progress((done, total), desc=text)

        with said():
            session = self._of(request)
            try:
                session.tune(network, Tuning(kind, choose, assess), follow)
                text = _tuned(session)
            except Stopped:
                text = "Stopped: the classifier is as it was."
            shown = self._shown(session), self._answered(session, reject, rate)
            return framed(views.status(text)), hidden, *shown[0][1:], *shown[1]

    def stop(self, request: gr.Request) -> None:
        """End the fine-tuning."""
        with said():
            self._of(request).stop()

    def _answered(self, session: Session, reject: bool, rate: float) -> tuple[str, Any]:
        """What is said of the photos to try, and the slider as far as it may go."""
        least = least_rate(session)
        slider = gr.update(
            minimum=least or 0.01, value=max(rate, least or 0.0), interactive=reject and least is not None
        )
        return framed(views.answers(session.tried(_rate(session, reject, rate)))), slider

    def answer(self, reject: bool, rate: float, request: gr.Request) -> tuple[Any, ...]:
        """What is said of the photos to try, with another rate."""
        with said():
            session = self._of(request)
            return self._trial_status(session, reject), *self._answered(session, reject, rate)

    def _trial_status(self, session: Session, reject: bool, left_out: list[LeftOut] | None = None) -> str:
        text = ""
        if session.classifier is None:
            text = "There is no classifier yet: add photos of two or more classes (1), and train (2)."
        elif session.changed:
            text = "Photos have changed since training; these are the answers from before."
        elif reject and least_rate(session) is None:
            text = "There are too few labelled photos to tell what is unknown: two or more of a class are needed."
        return framed(views.status(text, left_out or []))

    def receive(self, event: gr.EventData, request: gr.Request) -> None:
        """Keep photos that were sent to try, whatever is done now."""
        with said():
            self._of(request).to_try.put(self._uploads(event))

    def receive_classifier(self, event: gr.EventData, request: gr.Request) -> None:
        """Keep a classifier that was sent."""
        with said():
            self._of(request).to_open.put(self._uploads(event))

    def receive_photo(self, photo: str | None, request: gr.Request) -> None:
        """Keep a photo that was taken."""
        with said():
            if photo is not None:
                self._of(request).to_try.put([self.sessions.upload(photo, "camera.jpg")])

    def ask(self, reject: bool, rate: float, request: gr.Request) -> tuple[Any, ...]:
        """Ask about the files that were received."""
        with said() as left_out:
            session = self._of(request)
            with session.to_try.taken() as uploads:
                session.try_on(uploads)
            answered = self._answered(session, reject, rate)
        return self._trial_status(session, reject, left_out), *answered

    def clear(self, reject: bool, rate: float, request: gr.Request) -> tuple[Any, ...]:
        """Forget the photos to try."""
        with said():
            session = self._of(request)
            session.clear_tried()
            return self._trial_status(session, reject), *self._answered(session, reject, rate)

    def maker(self, what: str) -> Callable[..., tuple[Any, str]]:
        """The function that makes something to take along: `zip`, `onnx`, `web`, or a report by its name."""

        def make(
            thumbnails: bool, reject: bool, rate: float, request: gr.Request, progress: gr.Progress = gr.Progress()
        ) -> tuple[Any, str]:
            with said() as left_out:
                session = self._of(request)
                progress(None, desc="writing")
                least = _rate(session, reject, rate)
                if what == "zip":
                    out = session.save(thumbnails, least)
                elif what in get_args(Export):
                    out = session.export(cast(Export, what), least)
                else:
                    out = session.report(cast(Report, what), least)
            return gr.update(value=str(out), visible=True), framed(views.status("", left_out))

        return make

    def open(self, request: gr.Request) -> tuple[Any, ...]:
        """Begin with the classifier that was received."""
        with said():
            session = self._of(request)
            with session.to_open.taken() as uploads:
                for upload in uploads[-1:]:
                    session.open(upload)
            text = views.status("Opened. Add photos to its classes (1), or try it (3).")
            shown = self._shown(session), self._answered(session, False, USUAL_RATE)
            return framed(text), *shown[0], *shown[1], self._networks(session)


def _many(count: int, what: str, plural: str = "s") -> str:
    return f"{count:,} {what}{'' if count == 1 else plural}"


def least_rate(session: Session) -> float | None:
    """The smallest rate of the slider that there are photos enough for; None where there is none."""
    smallest = session.smallest_rate
    if smallest is None or smallest > LARGEST_RATE:
        return None
    return max(math.ceil(100 * smallest - 1e-9) / 100, 0.01)


def _rate(session: Session, reject: bool, rate: float) -> float | None:
    """The rate that is meant; None where every photo gets a class."""
    least = least_rate(session)
    return max(rate, least) if reject and least is not None else None


def _tuned(session: Session) -> str:
    classifier = session.classifier
    if classifier is None or not classifier.task_model_.tuned:
        return "No learning rate did better than none on photos that were held out, so the network is as it was."
    return f"Fine-tuned: {classifier.task_model_.tuned:,} parameters, learning rate {classifier.learning_rate_:g}."


def framed(inner: str) -> str:
    """A part of the page in its style."""
    return f'<div class="smat">{inner}</div>'
