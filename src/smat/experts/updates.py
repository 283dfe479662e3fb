"""What experts add to the pre-trained network: an update for each kind of pool.

An extension point: a class of one's own needs `build`, `merge` and, where there are other groups than `delta`,
`trainable`.
"""

from abc import ABC, abstractmethod
from typing import Literal, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from smat.backbones import Backbone
from smat.experts.interpolation import Merged, Uniform
from smat.experts.lookup import merge_by_table
from smat.flat import Layout
from smat.plugins import Plugin

Scores = Literal["gradient", "square"]


class Update(nn.Module, Plugin, ABC):
    """What the experts of a pool add to the pre-trained parameters: θ_i = θ_pre + Σ_m α_im Δ_m.

    The constructor takes settings only and keeps each as an attribute of its name. The parameters are made by `build`,
    on a copy for each pool.

    Attributes:
        vectors: names of those tensors that have an entry for each parameter of the network, `[params]` or
            `[experts, params]`; a checkpoint stores them under the network's own names.
        chosen_by: what `choose` wants to know before the training begins: the size of each parameter's gradient, summed
            over a few training tasks, or the sum of its squares; None: nothing.
    """

    vectors: tuple[str, ...] = ()
    chosen_by: Scores | None = None

    @abstractmethod
    def build(self, backbone: Backbone, pretrained: Float[Tensor, " params"], layout: Layout, experts: int) -> None:
        """Make the parameters and buffers, such that the update is zero at first.

        Args:
            backbone: the network, for the types of its layers and its dimensions.
            pretrained: θ_pre.
            layout: names and shapes of its parameters.
            experts: M.
        """

    @abstractmethod
    def merge(
        self,
        pretrained: Float[Tensor, " params"],
        weights: Float[Tensor, " experts"],
        uniform: Uniform | None = None,
    ) -> Merged:
        """The network that the experts make together, differentiable in `weights` and in what is trained.

        Args:
            pretrained: θ_pre.
            weights: merge weights α.
            uniform: noise of random gates, where the update has any.
        """

    def merged_vector(
        self, pretrained: Float[Tensor, " params"], weights: Float[Tensor, " experts"]
    ) -> Float[Tensor, " params"]:
        """The parameters of `merge` alone, for use without training."""
        with torch.no_grad():
            return self.merge(pretrained, weights).vector

    def settle(self) -> None:
        """Called before many tasks are merged for use; gates then stay as they are until `unsettle` is called."""

    def unsettle(self) -> None:
        """Called where the pool is trained, or gets other numbers."""

    def trainable(self) -> dict[str, list[nn.Parameter]]:
        """The trained parameters by optimizer group: `delta`, and `gates` for those that the constraint closes."""
        return {"delta": list(self.parameters())}

    def parameter_vectors(self) -> list[Tensor]:
        """The tensors of `vectors`."""
        return [getattr(self, name) for name in self.vectors]

    def choose(self, scores: Float[Tensor, " params"]) -> None:
        """Choose what is trained by scores of the network's parameters; see `chosen_by`."""

    def before_step(self, progress: float) -> None:
        """Called before the tasks of an optimizer step, with the share of the training that is done, 0..1."""

    def after_step(self) -> None:
        """Called after every optimizer step, to bring parameters back into their range."""

    def fingerprinted(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """What the pool's fingerprint is made of: its tensors by name, unless results would not be found again then."""
        return tensors

    def current(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """The tensors of a checkpoint, by the pool's names for them, in today's form where an earlier one differs.

        Raises:
            CheckpointError: they contradict the settings.
        """
        return tensors

    def gates(self, uniform: Uniform | None = None) -> Float[Tensor, "experts params"] | None:
        """Every expert's gate of every parameter, in full, for analysis; None where the update has no gates."""
        return None

    def merged_gates(self, weights: Float[Tensor, " experts"]) -> Float[Tensor, " params"] | None:
        """How open each parameter's gates are together, Σ_m α_m z_m; None where no gate can be closed."""
        return None


Gated = TypeVar("Gated", bound="GatedUpdate")


class GatedUpdate(Update):
    """One update that the experts share, each behind gates of its own: Δ_m = z_m ⊙ θ_δ.

    Attributes:
        delta: θ_δ, `[params]`.
    """

    delta: nn.Parameter
    _codes: Tensor | None

    def __init__(self) -> None:
        super().__init__()
        self._is_settled = False
        self.register_buffer("_codes", None, persistent=False)  # so that they go where the pool goes

    @abstractmethod
    def _codes_of_gates(self) -> Tensor | None:
        """Codes of the gates by parameter, as `codes_of` gives them."""

    def _merged_vector(
        self, pretrained: Float[Tensor, " params"], weights: Float[Tensor, " experts"]
    ) -> Float[Tensor, " params"]:
        """As `merged_vector`, from the gates as they are now."""
        return super().merged_vector(pretrained, weights)

    def settle(self) -> None:
        """Where all gates are 0 or 1, merge by a table from now on: several times as fast, the same numbers."""
        if self._is_settled or self.training:
            return
        self._codes, self._is_settled = self._codes_of_gates(), True

    def unsettle(self) -> None:
        """Merge from the gates again."""
        self._codes, self._is_settled = None, False

    def train(self: Gated, mode: bool = True) -> Gated:
        """Set the mode; gates that are trained are not settled."""
        if mode:
            self.unsettle()
        return super().train(mode)

    def merged_vector(
        self, pretrained: Float[Tensor, " params"], weights: Float[Tensor, " experts"]
    ) -> Float[Tensor, " params"]:
        """The parameters of `merge` alone: the gates are not measured."""
        if self._codes is None:
            return self._merged_vector(pretrained, weights)
        return merge_by_table(pretrained, self.delta, self._codes, weights)


class NoUpdate(Update):
    """The pre-trained network as it is."""

    def build(self, backbone: Backbone, pretrained: Float[Tensor, " params"], layout: Layout, experts: int) -> None:
        """Nothing to make."""

    def merge(
        self,
        pretrained: Float[Tensor, " params"],
        weights: Float[Tensor, " experts"],
        uniform: Uniform | None = None,
    ) -> Merged:
        """θ_pre."""
        return Merged.dense(pretrained, weights)
