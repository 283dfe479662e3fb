"""A network for one task, free of experts."""

import copy

from jaxtyping import Float
from torch import Tensor, nn

from smat.backbones import Backbone
from smat.experts.prototypes import cosine_logits
from smat.flat import Layout


class TaskModel(nn.Module):
    """A network for one task, with ordinary parameters and no experts in it: images in, logits out.

    Attributes:
        backbone: a copy with the merged parameters.
        prototypes: class means, `[way, dim]`.
        merge_weights: how much of each expert is in it, `[experts]`.
        head: scale and bias of the cosine, where they were learned.
    """

    prototypes: Tensor
    merge_weights: Tensor
    head: Tensor | None

    def __init__(
        self,
        backbone: Backbone,
        vector: Tensor,
        layout: Layout,
        prototypes: Tensor,
        merge_weights: Tensor,
        head: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.backbone = copy.deepcopy(backbone)
        for name, value in layout.views(vector).items():
            parameter = self.backbone.get_parameter(name)
            parameter.data = value.clone()
            parameter.requires_grad_(True)
        self.register_buffer("prototypes", prototypes)
        self.register_buffer("merge_weights", merge_weights)
        self.register_buffer("head", None if head is None else head.detach().clone())

    def logits(self, features: Float[Tensor, "n dim"], prototypes: Float[Tensor, "way dim"]) -> Float[Tensor, "n way"]:
        """Cosine similarity of features to prototypes, times ten or as it was learned."""
        return cosine_logits(features, prototypes, self.head)

    def forward(self, images: Float[Tensor, "n 3 height width"]) -> Float[Tensor, "n way"]:
        """Logits of the task's classes."""
        return self.logits(self.backbone(images), self.prototypes)
