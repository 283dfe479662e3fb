"""The network that is taken where none is named."""

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from huggingface_hub import constants, snapshot_download
from huggingface_hub.errors import LocalEntryNotFoundError

from smat.adaptation.installed import Network, find_networks
from smat.adaptation.ranking import Ranked, ranking
from smat.errors import BackboneError, ConfigError, one_line
from smat.left_out import leave_out

_log = logging.getLogger(__name__)

_BYTES = 24  # of memory for each parameter: the network, its copies while a classifier is made, and images on their way
_FILES = ["config.json", "preprocessor_config.json", "model.safetensors"]


@dataclass(frozen=True)
class Choice:
    """A network that was chosen.

    Attributes:
        name: what commands and `FewShotClassifier` take.
        why: why this one, in a line.
    """

    name: str
    why: str


def default_model(folders: Sequence[str | Path] = (".",), download: bool = False) -> Choice:
    """The network to take where none is named: the best one on this machine, by smat's ranking.

    A pool of experts counts as the backbone that it was meta-tuned around, and is taken before that backbone as it is;
    of several pools the newest. Networks that are not ranked come after those that are, pools first, then by size. One
    that does not fit the memory is passed over. `pocket`, and pools around it, are never chosen: they know drawings
    only, and whoever has drawings can name them. Neither is one that is not ranked and no larger than `pocket`.

    Args:
        folders: folders that may have pools, besides what is in the hub's cache.
        download: whether to download the best network that suits this machine, where there is none as good on it.

    Raises:
        ConfigError: there is no network but `pocket`, and none is to be downloaded.
        BackboneError: the download failed.
    """
    return choose(find_networks(searched=folders), download)


def choose(networks: Sequence[Network], download: bool = False) -> Choice:
    """The same among networks that were found already; arguments and errors are those of `default_model`."""
    best = to_download()
    for network in networks:
        if network.problem and network.name in ranking():
            leave_out("network", network.problem, [network.name])
    smallest = next((n.parameters or 0 for n in networks if n.name == "pocket"), 0)
    usable = [n for n in networks if not (n.problem or n.given or _is_toy(n, smallest))]
    fitting = [network for network in usable if fits(network.parameters)]
    too_large = [network.name for network in usable if network not in fitting]
    leave_out("network", f"too large for the {_memory() / 1e9:.0f} GB of memory here; name it to try", too_large)
    found = min(fitting, key=_order, default=None)
    if download and best and (found is None or _rank(found) > best.rank):
        return _downloaded(best)
    if found is None:
        raise ConfigError(_only_pocket(networks, best))
    return Choice(found.name, _why(found))


def to_download() -> Ranked | None:
    """The best ranked network that this machine can compute with and anybody may download; None where none fits."""
    gpu = torch.cuda.is_available()
    return next((n for n in ranking().values() if not n.gated and (gpu or not n.gpu) and fits(n.parameters)), None)


def fits(parameters: int | None) -> bool:
    """Whether this machine has the memory to work with a network of so many parameters; where unknown, it may."""
    return _BYTES * (parameters or 0) <= _memory()


def _memory() -> int | float:
    """Bytes of memory of the GPU, or of this machine where it has none."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # a system that does not say
        return float("inf")


def _is_toy(network: Network, smallest: int) -> bool:
    """Whether it is `pocket`, or around it, or smaller than it and nothing that smat knows."""
    if network.backbone == "pocket":
        return True
    return network.backbone not in ranking() and network.parameters is not None and network.parameters <= smallest


def _rank(network: Network) -> int:
    known = ranking().get(network.backbone)
    return known.rank if known else len(ranking()) + 1


def _order(network: Network) -> tuple:
    size = 0 if network.backbone in ranking() else -(network.parameters or 0)
    if network.kind == "pool":
        return _rank(network), 0, -network.modified, network.name
    return _rank(network), 1, size, network.name


def _why(network: Network) -> str:
    rank = f"rank {_rank(network)} of {len(ranking())}" if network.backbone in ranking() else "not ranked"
    what = f"a pool around {network.backbone}, {rank}" if network.kind == "pool" else rank
    return f"the best network on this machine ({what}); `smat networks` lists all"


def _only_pocket(networks: Sequence[Network], best: Ranked | None) -> str:
    pools = [n.name for n in networks if n.kind == "pool" and n.backbone == "pocket" and not n.problem]
    named = "`pocket`" + (f" and pools around it ('{pools[0]}')" if pools else "")
    know = "know" if pools else "knows"
    add = f"add --download (in Python download=True) to get {best.name} ({best.download_mb} MB, once), " if best else ""
    return (
        f"there is no network for photographs on this machine: {named} {know} drawings only. Give a network by name: "
        f"{add}or {pools[0] if pools else 'pocket'} itself if yours are drawings. `smat networks` lists what is here"
    )


def _downloaded(best: Ranked) -> Choice:
    """Download a network into the hub's cache; huggingface_hub shows how far it is."""
    what = f"{best.name} ({best.download_mb} MB)"
    _log.info("downloading %s, once, to %s; licence: %s", what, constants.HF_HUB_CACHE, best.licence)
    instead = "connect to the network and try again, or name a network that is on this machine (`smat networks`)"
    try:
        folder = Path(snapshot_download(best.name, allow_patterns=_FILES))
    except Exception as error:  # whatever the network, the hub or the disk has to say
        unreached = isinstance(error, LocalEntryNotFoundError)
        why = "the hub cannot be reached" if unreached else f"{type(error).__name__}: {one_line(error)}"
        why = "offline mode is on (unset HF_HUB_OFFLINE)" if constants.HF_HUB_OFFLINE else why
        raise BackboneError(f"{what} cannot be downloaded: {why}; {instead}") from error
    lacking = [file for file in _FILES if not (folder / file).is_file()]
    if lacking:  # of what the cache has, without a network, the hub's client says nothing
        raise BackboneError(f"{what} was not downloaded whole: {', '.join(lacking)} is missing; {instead}")
    return Choice(best.name, f"downloaded: rank {best.rank} of {len(ranking())}, the best that suits this machine")
