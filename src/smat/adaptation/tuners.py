"""What of a task's network fine-tuning changes: nothing, everything, or adapters; an extension point."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

from smat.adaptation.lora import Adapters, adapted_layers
from smat.adaptation.settings import FineTuneConfig
from smat.backbones import Backbone
from smat.errors import ConfigError
from smat.plugins import Plugin

Kind = Literal["none", "full", "lora"]


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


_KINDS: dict[str, FineTuner] = {tuner.name: tuner for tuner in (NoTuning(), FullTuning(), LoRATuning())}


def make_tuner(kind: str | FineTuner) -> FineTuner:
    """The fine-tuner of a name; one that is given is the result.

    Raises:
        ConfigError: an unknown name.
    """
    if isinstance(kind, FineTuner):
        return kind
    if kind not in _KINDS:
        known = ", ".join(get_args(Kind))
        raise ConfigError(f"adapt is {kind!r}; choose one of {known}, or give a FineTuner by import path")
    return _KINDS[kind]
