"""What of a task's network fine-tuning changes: nothing, everything, or adapters; an extension point.

Those that need the experts are in `smat.adaptation.expert_tuners`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from smat.adaptation.lora import Adapters, adapted_layers
from smat.adaptation.settings import FineTuneConfig
from smat.backbones import Backbone
from smat.experts import SparseInterpolatedExperts
from smat.plugins import Plugin


class FineTuner(Plugin, ABC):
    """Chooses what fine-tuning changes in a backbone.

    The settings are the constructor's arguments, kept as attributes of the same name.

    Attributes:
        trains: whether there is anything to tune.
        rate_factor: what the learning rates of the grid are multiplied by.
    """

    trains: bool = True
    rate_factor: float = 1.0

    @property
    def name(self) -> str:
        """What tables and messages call it."""
        return type(self).__name__

    def learning_rates(self, config: FineTuneConfig) -> list[float]:
        """The learning rates to choose from, smallest first."""
        return sorted({self.rate_factor * rate for rate in config.grid})

    def check(self, backbone: Backbone) -> None:
        """Raise a `ConfigError` for a network that this cannot tune; asked before any work begins."""

    def check_pool(self, pool: SparseInterpolatedExperts) -> None:
        """Raise a `ConfigError` for a pool whose networks this cannot tune; asked before any work begins."""
        self.check(pool.backbone)

    @abstractmethod
    def prepare(self, backbone: Backbone, config: FineTuneConfig, seed: int) -> Callable[[], None]:
        """Make what is tuned the only parameters of a backbone with `requires_grad`.

        Args:
            backbone: changed in place; all its parameters have `requires_grad`.
            config: settings of the fine-tuning.
            seed: seed of whatever is drawn.

        Returns:
            What is to be called after the last step, to leave a plain backbone behind.
        """

    def prepare_merged(
        self,
        backbone: Backbone,
        pool: SparseInterpolatedExperts,
        weights: Float[Tensor, " experts"],
        config: FineTuneConfig,
        seed: int,
    ) -> Callable[[], None]:
        """As `prepare`, for a backbone that was merged from experts; for tuners that need to know them.

        Args:
            backbone: changed in place; all its parameters have `requires_grad`.
            pool: the experts, in evaluation mode; they stay as they are.
            weights: merge weights α that the backbone was merged by.
            config: settings of the fine-tuning.
            seed: seed of whatever is drawn.
        """
        return self.prepare(backbone, config, seed)


@dataclass(frozen=True)
class NoTuning(FineTuner):
    """Leaves the network as it is."""

    trains = False

    @property
    def name(self) -> str:
        """`none`."""
        return "none"

    def prepare(self, backbone: Backbone, config: FineTuneConfig, seed: int) -> Callable[[], None]:
        """Nothing to tune."""
        backbone.requires_grad_(False)
        return lambda: None


@dataclass(frozen=True)
class FullTuning(FineTuner):
    """Tunes every parameter."""

    @property
    def name(self) -> str:
        """`full`."""
        return "full"

    def prepare(self, backbone: Backbone, config: FineTuneConfig, seed: int) -> Callable[[], None]:
        """Everything is tuned as it is."""
        return lambda: None


@dataclass(frozen=True)
class LoRATuning(FineTuner):
    """Tunes low-rank adapters of queries and values (Hu et al. 2021), which are merged in the end."""

    rate_factor = 10.0

    @property
    def name(self) -> str:
        """`lora`."""
        return "lora"

    def check(self, backbone: Backbone) -> None:
        """Raise a `ConfigError` for a network without attention layers."""
        adapted_layers(backbone)

    def prepare(self, backbone: Backbone, config: FineTuneConfig, seed: int) -> Callable[[], None]:
        """Put adapters into the backbone."""
        return Adapters(backbone, config, seed).merge
