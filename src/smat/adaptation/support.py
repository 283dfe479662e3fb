"""What a fitted classifier keeps of its labelled images."""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from io import BytesIO

import torch
from jaxtyping import Bool, Float, Int, UInt8
from PIL import Image
from torch import Tensor

_log = logging.getLogger(__name__)

KEPT = 256 * 2**20
"""Bytes of labelled images, as the network takes them, that a classifier keeps in memory so that it can `refit`."""

THUMBNAIL = 96
"""Largest side of a thumbnail in pixels."""


def digest_of(square: UInt8[Tensor, "3 side side"]) -> str:
    """What tells an image from others by its content, as the network sees it: a hash."""
    return hashlib.sha256(square.contiguous().numpy().tobytes()).hexdigest()[:32]


def thumbnail_of(square: UInt8[Tensor, "3 side side"]) -> bytes:
    """A small JPEG of an image."""
    image = Image.fromarray(square.permute(1, 2, 0).contiguous().numpy())
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    file = BytesIO()
    image.save(file, "JPEG", quality=85)
    return file.getvalue()


@dataclass(frozen=True)
class Support:
    """The labelled images of a classifier, without their pixels.

    Attributes:
        codes: class of each, an index of `classes_`.
        names: what each is called: its path, or its number.
        digests: what tells each by its content.
        weights: how much each counts; None: each once.
        thumbnails: a small JPEG of each; None: they are not kept.
    """

    codes: Int[Tensor, " n"]
    names: tuple[str, ...]
    digests: tuple[str, ...]
    weights: Float[Tensor, " n"] | None = None
    thumbnails: tuple[bytes, ...] | None = None

    def __len__(self) -> int:
        return len(self.codes)

    def with_more(self, others: "Support") -> "Support":
        """These images and others after them; weights and thumbnails where both have them, or 1."""
        weights = None
        if self.weights is not None or others.weights is not None:
            weights = torch.cat([_ones(self), _ones(others)])
        thumbnails = None
        if self.thumbnails is not None and others.thumbnails is not None:
            thumbnails = self.thumbnails + others.thumbnails
        return Support(
            torch.cat([self.codes, others.codes]),
            self.names + others.names,
            self.digests + others.digests,
            weights,
            thumbnails,
        )

    def part(self, kept: Bool[Tensor, " n"]) -> "Support":
        """Some of the images."""
        numbers = kept.nonzero()[:, 0].tolist()
        return replace(
            self,
            codes=self.codes[kept],
            names=tuple(self.names[n] for n in numbers),
            digests=tuple(self.digests[n] for n in numbers),
            weights=None if self.weights is None else self.weights[kept],
            thumbnails=None if self.thumbnails is None else tuple(self.thumbnails[n] for n in numbers),
        )

    def warn_of_doubles(self, classes: Sequence[str]) -> None:
        """Say so when the same image is in two classes."""
        first: dict[str, int] = {}
        for number, digest in enumerate(self.digests):
            other = first.setdefault(digest, number)
            if self.codes[other] != self.codes[number]:
                _log.warning(
                    "the same image is in two classes: '%s' is '%s', and '%s' is '%s'; remove one of them",
                    self.names[other],
                    classes[int(self.codes[other])],
                    self.names[number],
                    classes[int(self.codes[number])],
                )


def _ones(support: Support) -> Float[Tensor, " n"]:
    return torch.ones(len(support), dtype=torch.float64) if support.weights is None else support.weights
