"""A task's classifier as one plain module: square pictures of bytes in, probabilities out."""

import copy

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from smat.adaptation import TaskModels, models_of
from smat.backbones import Backbone
from smat.episodes import TransformConfig
from smat.heads import WHOLE, TaskModel, View
from smat.heads.features import averaged, side_by_side


class CutByProducts(nn.Module):
    """What a view does to images of one size, as two matrix products; nothing that another runtime may not have.

    Cutting, going on beyond the edge and resizing all treat rows and columns apart, and linearly: so the view of an
    image X is R X Cᵀ, with R and C what the view does to the columns and the rows of the identity.
    """

    rows: Tensor
    columns: Tensor

    def __init__(self, view: View, size: int) -> None:
        super().__init__()
        rows, columns = view.matrices(size)
        self.register_buffer("rows", rows.float())
        self.register_buffer("columns", columns.T.float().contiguous())

    def forward(self, images: Float[Tensor, "n 3 size size"]) -> Float[Tensor, "n 3 size size"]:
        """The views of images."""
        return self.rows @ images @ self.columns


class Deployed(nn.Module):
    """All that turns a square picture into an answer: the cut of its centre, normalisation, views, networks, head.

    It computes in float32 on the CPU. The weights are those of the task model, not copies, unless that is elsewhere.

    Args:
        model: one network for a task, or several as one.
        margin: side of the pictures over the image size, as `TransformConfig.margin`; by default that of the model's
            backbone.
        temperature: what logits are divided by before they become probabilities, above 0.
        knownness: features `[n, networks_dim]` to the score `known`, `[n]`; of several networks that are averaged, it
            gets the features of the first, as `TaskModels.described` gives them. By default the score is the largest
            probability.

    Attributes:
        side: height and width of the pictures in pixels.
        size: height and width of what the networks see, the centre of a picture.
        way: number of classes.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        model: TaskModel | TaskModels,
        *,
        margin: float | None = None,
        temperature: float = 1.0,
        knownness: nn.Module | None = None,
    ) -> None:
        super().__init__()
        spec = model.backbone.spec
        self.way, self.size, self.temperature = model.way, spec.image_size, temperature
        self.side = TransformConfig(margin=spec.margin if margin is None else margin).canvas_size(self.size)
        self.members = nn.ModuleList(map(_on_cpu, models_of(model)))
        self.knownness = knownness if knownness is None else _on_cpu(knownness)
        self.views = nn.ModuleList(_plain(view, self.size) for view in models_of(model)[0].head.views.query)
        for name in ("mean", "std"):
            self.register_buffer(name, torch.tensor(getattr(spec, name)).view(3, 1, 1))
        self.eval()

    @property
    def backbone(self) -> Backbone:
        """That of the first network."""
        return self.members[0].backbone  # pyright: ignore

    def forward(self, pictures: UInt8[Tensor, "n side side 3"]) -> tuple[Float[Tensor, "n way"], Float[Tensor, " n"]]:
        """Probabilities of the classes, and the score `known`: the higher, the more like the labelled images."""
        start = (self.side - self.size) // 2
        stop = start + self.size
        images = pictures[:, start:stop, start:stop].permute(0, 3, 1, 2).float() / 255
        images = (images - self.mean) / self.std
        views = torch.cat([view(images) for view in self.views])  # all in one pass, so that the graph has one
        features = [self._features(member, views) for member in self.members]  # pyright: ignore[reportArgumentType]
        each = [m.classifier(some) for m, some in zip(self.members, features, strict=True)]  # pyright: ignore
        logits = each[0] if len(each) == 1 else torch.stack([some.softmax(1) for some in each]).mean(0).log()
        probabilities = (logits / self.temperature).softmax(1)
        if self.knownness is None:
            return probabilities, probabilities.amax(1)
        return probabilities, self.knownness(features[0])

    def _features(self, member: TaskModel, views: Float[Tensor, "views_n 3 size size"]) -> Float[Tensor, "n dim"]:
        each = side_by_side([network(views) for network in member.networks])
        return averaged(each.unflatten(0, (len(self.views), -1)).unbind())


def _plain(view: View, size: int) -> nn.Module:
    return nn.Identity() if view == WHOLE else CutByProducts(view, size)


def _on_cpu(module: nn.Module) -> nn.Module:
    """The module itself, where it is there already."""
    tensors = [*module.parameters(), *module.buffers()]
    return module if all(tensor.device.type == "cpu" for tensor in tensors) else copy.deepcopy(module).cpu()
