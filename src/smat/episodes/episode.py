"""What a few-shot task is: first as a plan (which images), then as tensors."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from smat.transfer import onto


@dataclass(frozen=True)
class EpisodePlan:
    """Which images an episode is made of; enough to make it again.

    Attributes:
        id: `"{domain}/{split}/{seed}/{n}"`.
        domain: name of the domain.
        split: split that its classes are of: `"train"`, `"val"` or `"test"`.
        classes: class names; the class at index i has label i.
        support_rows: rows of the support images in the domain, class by class.
        support_labels: their labels, 0..way-1.
        query_rows: rows of the query images; none of them is a support row.
        query_labels: their labels.
    """

    id: str
    domain: str
    split: str
    classes: tuple[str, ...]
    support_rows: tuple[int, ...]
    support_labels: tuple[int, ...]
    query_rows: tuple[int, ...]
    query_labels: tuple[int, ...]

    @property
    def way(self) -> int:
        """Number of classes."""
        return len(self.classes)


@dataclass
class Episode:
    """A few-shot task as tensors: normalised images, ready for the backbone, with labels 0..way-1.

    Attributes:
        plan: where the images come from.
        support: labelled images.
        support_labels: their labels.
        query: images to classify.
        query_labels: the labels they should get.
    """

    plan: EpisodePlan
    support: Float[Tensor, "n_support 3 size size"]
    support_labels: Int[Tensor, " n_support"]
    query: Float[Tensor, "n_query 3 size size"]
    query_labels: Int[Tensor, " n_query"]

    @property
    def way(self) -> int:
        """Number of classes."""
        return self.plan.way

    def to(self, device: torch.device | str) -> "Episode":
        """The same episode with its tensors on another device; a GPU gets them while it computes."""
        return replace(
            self,
            support=onto(self.support, device),
            support_labels=onto(self.support_labels, device),
            query=onto(self.query, device),
            query_labels=onto(self.query_labels, device),
        )
