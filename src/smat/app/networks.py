"""The networks that classifiers can be made with: opened once, and shared by all who use the page."""

from dataclasses import dataclass, field, replace
from threading import Lock

from smat.adaptation import Device, Network, choose, find_networks, open_model, pick_device
from smat.adaptation.networks import fits
from smat.errors import ConfigError
from smat.experts import SparseInterpolatedExperts
from smat.left_out import collecting

DRAWINGS = "pocket"
"""The network that smat carries, which knows drawings only."""


@dataclass
class Networks:
    """What there is to choose from.

    Attributes:
        choices: networks that can be used, the one that is taken at first before the others.
        note: what to know before one is chosen; empty if nothing.
        device: device to compute on.
    """

    choices: list[Network]
    note: str
    device: Device = "auto"
    _open: dict[str, SparseInterpolatedExperts] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    @classmethod
    def here(cls, model: str | None = None, device: Device = "auto") -> "Networks":
        """Those on this machine; nothing is downloaded.

        Args:
            model: one to take at first, by folder or hub name.
            device: device to compute on.

        Raises:
            SmatError: there is no such network, or none that can be used.
        """
        found = find_networks()
        with collecting():  # `smat networks` says what cannot be used
            try:
                first, note = choose(found).name, ""
            except ConfigError:
                first = DRAWINGS
                note = (
                    "The only network on this machine knows simple drawings, not photographs: of photos expect little "
                    "of it. To get a network for photographs, see what <code>smat networks</code> says."
                )
        opened = {}
        if model is not None:
            opened[model] = pool = open_model(model, pick_device(device)).eval()
            named = next((network for network in found if network.name == model), None)
            named = named or Network(model, "", model, 0.0, summary=f"{pool.backbone.spec.name}, given by name.")
            found, first, note = [named, *found], model, ""
        usable = [network for network in found if not network.problem and fits(network.parameters)]
        choices = [_described(network) for network in sorted(usable, key=lambda network: network.name != first)]
        return cls([*{network.name: network for network in choices}.values()], note, device, opened)

    def open(self, name: str) -> SparseInterpolatedExperts:
        """A network, in evaluation mode.

        Raises:
            ConfigError: it is none of the choices.
            SmatError: it cannot be opened.
        """
        if name not in [network.name for network in self.choices]:
            raise ConfigError(f"there is no network '{name}' here; choose one of those that are listed")
        with self._lock:
            if name not in self._open:
                self._open[name] = open_model(name, pick_device(self.device)).eval()
            return self._open[name]


def _described(network: Network) -> Network:
    """A network with a sentence on it."""
    if network.backbone == DRAWINGS and not network.summary.startswith("A pool"):
        return replace(network, summary="Simple drawings only, such as signs and sketches; not photographs.")
    return network
