"""What contenders are called: METHOD, METHOD+HEAD, METHOD@STRENGTH@STRENGTH+HEAD."""

from dataclasses import dataclass

from smat.errors import ConfigError
from smat.experts import Strength
from smat.heads import Head, make_head

BASELINES = {"logistic": "pretrained+logistic", "knn": "pretrained+knn"}
"""Short names of what a user would pick instead, on frozen features; under these names they are not fine-tuned."""


@dataclass(frozen=True)
class Variant:
    """A method with a head of its own, and the networks whose features the head gets.

    Attributes:
        text: how it was written, which is its name in tables.
        method: name of the method.
        strengths: how far each network goes from the frozen one to the merged one; None: as the head has it.
        head: the head that is named; None is the class mean, the paper's.
        headed: whether a head is named.
    """

    text: str
    method: str
    strengths: tuple[Strength, ...] | None = None
    head: Head | None = None
    headed: bool = False

    @classmethod
    def parse(cls, text: str) -> "Variant":
        """From `smat`, `smat+lda`, `smat@0@1+auto` (frozen and merged network), `smat@0.5+ridge`, `logistic`.

        Raises:
            ConfigError: there is no such head, or a strength is no number.
        """
        if text.endswith((".yaml", ".yml")):  # a method of one's own, in whatever folder
            return cls(text, text)
        networks, headed, head = BASELINES.get(text, text).partition("+")
        method, *strengths = networks.split("@")
        if method in BASELINES:
            raise ConfigError(f"{text}: {method} is short for {BASELINES[method]}, to which nothing can be added")
        return cls(
            text,
            method,
            tuple(map(Strength.parse, strengths)) or None,
            make_head(head) if headed else None,
            bool(headed),
        )

    def head_or(self, usual: Head | None) -> Head | None:
        """Its own head, or the one that is usual; None is the class mean."""
        return self.head if self.headed else usual
