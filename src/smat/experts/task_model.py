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
    """

    prototypes: Tensor
    merge_weights: Tensor

    def __init__(
        self, backbone: Backbone, vector: Tensor, layout: Layout, prototypes: Tensor, merge_weights: Tensor
    ) -> None:
        super().__init__()
        self.backbone = copy.deepcopy(backbone)
        for name, value in layout.views(vector).items():
            parameter = self.backbone.get_parameter(name)
            parameter.data = value.clone()
            parameter.requires_grad_(True)
        self.register_buffer("prototypes", prototypes)
        self.register_buffer("merge_weights", merge_weights)

    def forward(self, images: Float[Tensor, "n 3 height width"]) -> Float[Tensor, "n way"]:
        """Ten times the cosine similarity to each class's prototype."""
        return cosine_logits(self.backbone(images), self.prototypes)
