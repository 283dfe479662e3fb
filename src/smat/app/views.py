"""What the page shows, as HTML; every text in it is escaped."""

import base64
from collections.abc import Sequence
from html import escape

import numpy as np

from smat.app.board import UNKNOWN, Photo
from smat.app.doubts import Doubt
from smat.app.session import Session
from smat.app.training import Estimate
from smat.app.trying import Tried
from smat.assessment import Accuracy
from smat.left_out import LeftOut

_BARS = 3  # classes that have a bar, of each photo
_SHOWN = 200  # photos to try that are shown


def board(session: Session) -> str:
    """The classes, each with its photos as buttons that select them."""
    classes = session.board.classes
    if not classes:
        return '<p class="soft">No photos yet.</p>'
    options = "".join(f"<option>{escape(name)}</option>" for name in classes)
    tools = (
        '<div class="tools" role="toolbar" aria-label="Selected photos"><span class="count">'
        "Select photos by a click (or Tab and Space) to remove or move them.</span>"
        '<button type="button" data-do="remove" disabled>Remove</button>'
        f'<label>Move to <input list="classes" class="to" placeholder="class" disabled></label>'
        f'<datalist id="classes">{options}</datalist>'
        '<button type="button" data-do="move" disabled>Move</button></div>'
    )
    return tools + "".join(_class(name, photos) for name, photos in classes.items())


def _class(name: str, photos: Sequence[Photo]) -> str:
    what, text = escape(name), f"{len(photos)} photo{'s' if len(photos) > 1 else ''}"
    pictures = "".join(
        f'<button type="button" class="photo" data-number="{photo.number}" aria-pressed="false" '
        f'title="{escape(photo.name)}">{picture(photo)}</button>'
        for photo in photos
    )
    return (
        f'<section><div class="name"><input value="{what}" data-class="{what}" aria-label="Name of class {what}" '
        f'maxlength="80"><span class="soft">{text}</span><button type="button" data-do="remove-class" '
        f'data-class="{what}" aria-label="Remove class {what}">Remove class</button></div>'
        f'<div class="photos">{pictures}</div></section>'
    )


def picture(photo: Photo) -> str:
    """A small picture of a photo, or its name."""
    if photo.thumbnail is None:
        return f'<span class="none">{escape(photo.name.rpartition("/")[2])}</span>'
    return f'<img alt="{escape(photo.name)}" src="data:image/jpeg;base64,{base64.b64encode(photo.thumbnail).decode()}">'


def status(text: str, left_out: Sequence[LeftOut] = ()) -> str:
    """What was done, and what was left out of it."""
    lines = [text, *(f"{entry}." for entry in left_out)]
    return "".join(f"<p>{escape(line)}</p>" for line in lines if line)


def summary(session: Session) -> str:
    """What to expect of the classifier."""
    classifier = session.classifier
    if classifier is None:
        return '<p class="soft">There is no classifier yet.</p>'
    if session.changed:
        return '<p class="note">Photos have changed since: train again.</p>'
    how = "" if session.tuning is None else f", fine-tuned ({session.tuning.kind})"
    photos, classes = len(classifier.support_), len(classifier.classes_)
    lines = [f"{photos} photos of {classes} classes; network {escape(session.network)}{how}."]
    if classifier.assessment_ is None:
        lines.append("How right it will be is not known: the network was fine-tuned on all photos.")
    elif classifier.assessment_.accuracy is None:
        lines.append("No class has two photos, so nothing is known of how right it will be.")
    else:
        lines += [_expected(classifier.assessment_.accuracy), escape(str(session.curve))]
    return "".join(f"<p>{line}</p>" for line in lines)


def _expected(found: Accuracy) -> str:
    """What share of photos will be right, with its interval, as words and as a bar."""
    right, low, high = (100 * share for share in (found.expected, found.low, found.high))
    return (
        f"Expect it to be right for <strong>{right:.0f} %</strong> of new photos like these "
        f'({low:.0f} to {high:.0f} %, with 95 % confidence).<span class="bar wide"><i style="width: {right:.0f}%"></i>'
        f'<b style="left: {low:.0f}%; width: {high - low:.0f}%"></b></span>'
    )


def doubts(session: Session) -> str:
    """The photos that may be wrong, each with a button that removes it."""
    found = [] if session.classifier is None else session.doubts()
    if not found:
        return (
            ""
            if session.classifier is None or session.classifier.assessment_ is None
            else '<p class="soft">No photo looks wrong.</p>'
        )
    cards = "".join(map(_doubt, found))
    return f'<h3>Photos to look at</h3><div class="cards">{cards}</div>'


def _doubt(doubt: Doubt) -> str:
    photo = doubt.photos[0]
    which = f'data-number="{photo.number}"'
    move = ""
    if doubt.seems:
        to = escape(doubt.seems)
        move = f'<button type="button" data-do="move-one" {which} data-to="{to}">Move to {to}</button> '
    return (
        f'<div class="card"><div class="pair">{"".join(map(picture, doubt.photos))}</div><p>{escape(doubt.text)}</p>'
        f'{move}<button type="button" data-do="remove-one" {which} aria-label="Remove {escape(photo.name)}">Remove'
        "</button></div>"
    )


def answers(tried: Tried | None) -> str:
    """What is said of photos, the newest first, with the likeliest classes as bars."""
    if tried is None:
        return '<p class="soft">No photos yet.</p>'
    order = range(len(tried.photos) - 1, -1, -1)
    cards = "".join(_answer(tried, index) for index in order[:_SHOWN])
    more = len(tried.photos) - _SHOWN
    rest = f"<p>{more} earlier photos are not shown here; the report has them.</p>" if more > 0 else ""
    return f'<div class="cards">{cards}</div>{rest}'


def _answer(tried: Tried, index: int) -> str:
    photo, label, row = tried.photos[index], tried.labels[index], tried.probabilities[index]
    bars = "".join(
        f'<div class="row"><span>{escape(tried.classes[code])}</span><div class="bar"><i style="width: '
        f'{100 * row[code]:.0f}%"></i></div><span>{100 * row[code]:.0f} %</span></div>'
        for code in np.argsort(-row, kind="stable")[:_BARS]
    )
    own = '<p class="soft">one of the labelled photos</p>' if tried.seen[index] else ""
    kind = "unknown" if label == UNKNOWN else ""
    name = escape(photo.name.rpartition("/")[2])
    return (
        f'<div class="card answer">{picture(photo)}<div><div class="label {kind}">{escape(label)}</div>{bars}{own}'
        f'<div class="soft file" title="{escape(photo.name)}">{name}</div></div></div>'
    )


def estimate(found: Estimate) -> str:
    """How long fine-tuning takes."""
    return (
        f"<p>It will take <strong>{duration(found.seconds)}</strong>: {found.steps:,} steps of {found.step:.2g} "
        "seconds, as measured on these photos. The page has to stay open. Go on?</p>"
    )


def duration(seconds: float) -> str:
    """A time in words, rounded."""
    if seconds < 90:
        return f"about {max(5 * round(seconds / 5), 5)} seconds"
    if seconds < 90 * 60:
        return f"about {round(seconds / 60)} minutes"
    return f"about {seconds / 3600:.1f} hours"
