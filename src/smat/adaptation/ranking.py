"""The ranking of pre-trained networks that ships with smat."""

from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from smat.errors import BackboneError
from smat.schema import Count, parse_json


@dataclass(frozen=True)
class Ranked:
    """A network that smat knows, with facts of its page on the hub; the file has no accuracies.

    Attributes:
        rank: 1 for the best. Larger networks are before smaller ones of their kind, and those that were trained on the
            most images before others.
        name: hub name.
        parameters: number of parameters that are used: without classifier, text half, and the like.
        image_size: side of its images in pixels.
        download_mb: size of what is downloaded, in MB (10⁶ bytes).
        licence: of the weights.
        gpu: whether it is slow without a GPU, so that a smaller one is downloaded there.
        gated: whether terms must be accepted on the hub first, so that it is never downloaded unasked.
        summary: what it is good for, in a sentence.
    """

    rank: Count
    name: str
    parameters: Count
    image_size: Count
    download_mb: Count
    licence: str
    gpu: bool
    gated: bool
    summary: str


@dataclass(frozen=True)
class _File:
    networks: list[Ranked]


@cache
def ranking() -> dict[str, Ranked]:
    """The ranked networks by hub name, the best first."""
    text = (files("smat.adaptation") / "networks.json").read_text(encoding="utf-8")
    known = parse_json(text, _File, "networks.json of smat", BackboneError, "Install smat again").networks
    return {entry.name: entry for entry in sorted(known, key=lambda entry: entry.rank)}
