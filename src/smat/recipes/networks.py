"""`smat networks`: the networks on this machine, what each is good for, and how fast it is here."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled
from rich.console import Console
from rich.markup import escape
from rich.progress import track
from rich.table import Table

from smat.adaptation import Choice, Device, Network, choose, find_networks, open_model, pick_device
from smat.adaptation.networks import fits
from smat.errors import ConfigError, SmatError, one_line
from smat.left_out import collecting, leave_out
from smat.precision import resolve_precision
from smat.rng import torch_generator

_CAPTION = (
    "MB: on disk; params: parameters, in millions; px: side of the images; ms: milliseconds for an image to pass "
    "through once; accuracy: on validation classes, of the pool's own run, in per cent"
)
_MOST = 100  # pools of the hub in the table
_IMAGES, _SECONDS, _SECONDS_IN_ALL = 8, 1.0, 60.0


@dataclass(frozen=True)
class Listed(Network):
    """A network, and its speed.

    Attributes:
        ms_per_image: milliseconds for one image to pass through the network once; None where it was not measured.
    """

    ms_per_image: float | None = None


@dataclass(frozen=True)
class OnHub:
    """A pool of experts that somebody has published.

    Attributes:
        name: its name on the hub.
        commit: hash of its newest version: NAME@COMMIT is just this one.
        modified: day of this version.
        downloads: number of downloads in the last month.
    """

    name: str
    commit: str
    modified: str
    downloads: int


@dataclass(frozen=True)
class Networks:
    """What is on this machine.

    Attributes:
        networks: those that can be used, then those that cannot be, with the problem.
        device: where the speed was measured.
        default: the network that is taken where none is named; None where there is none for photographs.
        why_none: what to do then.
        on_hub: pools on the hub, where these were asked for.
    """

    networks: list[Listed]
    device: str
    default: Choice | None
    why_none: str = ""
    on_hub: list[OnHub] = field(default_factory=list)


def networks(
    folders: list[str] = [],  # noqa: B006  (it is only read)
    *,
    speed: bool = True,
    hub: bool = False,
    device: Device = "auto",
) -> Networks:
    """List the networks on this machine that images can be classified with, and what each is good for.

    These are the models in the Hugging Face hub's cache, the pools of experts in folders of runs below the working
    directory, those in the folders that are given, and `pocket`. Nothing is downloaded.

    Example: smat networks

    Args:
        folders: folders of networks or of runs, or with such folders in them.
        hub: list the pools that were published on the Hugging Face hub (`smat publish`) instead.
        speed: whether to load each network and measure how fast it is here, for at most about a minute.
        device: device to measure on: `auto`, `cpu` or `cuda`.

    Returns:
        The networks, and the one that is taken where none is named.

    Raises:
        ConfigError: a folder that is not there or has no network, or the hub cannot be reached.
    """
    console, place = Console(), pick_device(device)
    if hub:
        if folders:
            raise ConfigError("folders and --hub are given: leave one of them out")
        return Networks([], str(place), None, on_hub=_published(console))
    found = [Listed(**vars(network)) for network in find_networks(folders)]
    if speed:
        found = _measured(found, place, console)
    found.sort(key=lambda network: bool(network.problem))
    default, why_none = _default(found)
    _show(found, console)
    text = f"taken where no network is named: {default.name}: {default.why}" if default else why_none
    console.print(text, soft_wrap=True, markup=False, highlight=False)
    return Networks(found, str(place), default, why_none)


def _published(console: Console) -> list[OnHub]:
    """The pools on the hub, the most downloaded first."""
    try:
        models = list(HfApi().list_models(filter="smat", sort="downloads", limit=_MOST, full=True))
    except (HfHubHTTPError, OfflineModeIsEnabled, OSError) as error:
        raise ConfigError(
            f"the hub cannot be asked for its pools ({one_line(error)[:200]}): look at the network connection, or list "
            "what is on this machine by leaving out --hub"
        ) from error
    found = [
        OnHub(model.id, model.sha or "", f"{model.last_modified:%Y-%m-%d}" if model.last_modified else "", downloads)
        for model in models
        for downloads in [model.downloads or 0]
    ]
    table = Table("pool", "version", "of", "downloads", caption="NAME@VERSION is just this version of a pool")
    for each in found:
        table.add_row(escape(each.name), each.commit[:12], each.modified, f"{each.downloads:,}")
    console.print(table if found else "there are no pools of smat on the hub")
    return found


def _default(found: Sequence[Network]) -> tuple[Choice | None, str]:
    with collecting():  # the table says what cannot be used
        try:
            return choose(found), ""
        except SmatError as error:
            return None, f"Where no network is named: {error}"


def _measured(found: Sequence[Listed], device: torch.device, console: Console) -> list[Listed]:
    """The networks with their speeds, and with the problem of those that cannot be loaded."""
    end, late, measured = time.monotonic() + _SECONDS_IN_ALL, [], []
    for network in track(found, "loading and timing", console=console, transient=True):
        if network.problem or not fits(network.parameters):
            measured.append(network)
        elif time.monotonic() > end:
            measured.append(network)
            late.append(network.name)
        else:
            try:
                measured.append(replace(network, ms_per_image=_speed(network, device)))
            except SmatError as error:
                measured.append(replace(network, problem=str(error)))
    leave_out("speed", f"the {_SECONDS_IN_ALL:.0f} seconds for it were over; --speed false measures none", late)
    return measured


def _speed(network: Network, device: torch.device) -> float:
    """Milliseconds per image, of batches until a second is over; the first batch does not count."""
    backbone = open_model(network.folder, device).backbone
    spec, mixed = backbone.spec, resolve_precision("auto", device) == "bf16-mixed"
    size = spec.image_size
    images = torch.randn(_IMAGES, 3, size, size, generator=torch_generator(0, "speed")).to(device)
    batches, begin = -1, 0.0
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=mixed):
        while batches < 1 or time.monotonic() - begin < _SECONDS:
            float(backbone(images).sum())  # the number is waited for, also from a GPU
            begin, batches = begin if batches >= 0 else time.monotonic(), batches + 1
        return 1000 * (time.monotonic() - begin) / (batches * _IMAGES)


def _show(found: Sequence[Listed], console: Console) -> None:
    table = Table("network", "good for", "MB", "params", "px", "ms", "accuracy", caption=_CAPTION)
    for column in table.columns[2:]:
        column.justify = "right"
    for network in found:
        if not network.problem:
            cells = [
                f"{network.size_mb:.0f}",
                "" if network.parameters is None else f"{network.parameters / 1e6:.1f}",
                "" if network.image_size is None else f"{network.image_size}",
                "" if network.ms_per_image is None else f"{network.ms_per_image:.1f}",
                "" if network.accuracy is None else f"{100 * network.accuracy:.1f}",
            ]
            table.add_row(escape(network.name), escape(network.summary), *cells)
    table.columns[0].overflow = table.columns[1].overflow = "fold"
    console.print(table)
    for network in found:
        if network.accuracy is not None and not network.problem:
            console.print(f"accuracy of {network.name}: {network.measured}", soft_wrap=True, markup=False)
    for network in found:
        if network.problem:
            console.print(f"cannot be used: {network.name}: {network.problem}", soft_wrap=True, markup=False)
