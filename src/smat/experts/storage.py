"""A pool as a folder: `config.json` to read and `model.safetensors` to load, the pre-trained parameters included.

Storage takes and gives plain pieces, settings and tensors by name; it knows no pool. What a folder says of sizes is
compared with its weights before a network is made, so that none is made that could not be filled.
"""

import hashlib
import json
import re
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from safetensors.torch import save_file
from torch import Tensor

import smat
from smat.backbones import Backbone, BackboneSpec, build, check_network, too_large
from smat.compression import Coding, compress
from smat.errors import CheckpointError, SmatError
from smat.experts.card import CARD, FIGURES, README, Card
from smat.experts.card_storage import read_card
from smat.experts.settings import PoolConfig
from smat.files import write_whole
from smat.flat import Layout
from smat.schema import from_plain, read_json, read_versioned
from smat.weights import Header, bounded, misfits, read_header, read_weights

CONFIG, WEIGHTS, FORMAT = "config.json", "model.safetensors", 1
CHECKSUMS = "checksums.json"
"""File of a published pool with the SHA-256 of its other files, which are compared after a download."""
_ROW = re.compile(r"[^/]*\.(\d{1,9})/")  # of a tensor with several entries for each parameter
_AGAIN = "Copy or download it again"


def write_pool(
    folder: Path,
    config: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    vectors: Collection[str],
    layout: Layout,
    buffers: Mapping[str, Tensor],
    codings: Mapping[str, Coding] | None = None,
) -> None:
    """Write a pool's two files into a folder that exists.

    Args:
        folder: where to.
        config: settings, plain data.
        tensors: parameters and buffers by name.
        vectors: which of them have an entry for each parameter of the network: `[params]`, stored as `NAME/PARAMETER`,
            or several, `[n, params]`, stored as `NAME.0/PARAMETER` and so on.
        layout: names and shapes of the network's parameters.
        buffers: of the network.
        codings: how the stored tensors that are not exact are compressed; None: nothing is compressed.

    Raises:
        ConfigError: they cannot be written, as on a full disk.
    """
    stored = {f"buffers/{name}": value for name, value in buffers.items()}
    for key, value in tensors.items():
        if key not in vectors:
            stored[key] = value
            continue
        rows = [(key, value)] if value.ndim == 1 else [(f"{key}.{m}", row) for m, row in enumerate(value)]
        for name, row in rows:
            stored |= {f"{name}/{parameter}": view for parameter, view in layout.views(row).items()}
    plain = {key: value.contiguous().cpu() for key, value in stored.items()}
    kept, metadata = (plain, None) if codings is None else compress(plain, codings)
    write_whole(folder / WEIGHTS, lambda file: save_file(kept, file, metadata))
    head = {"format": FORMAT, "smat_version": smat.__version__}
    write_whole(folder / CONFIG, json.dumps(head | dict(config), indent=2) + "\n")


@dataclass(frozen=True)
class _Config:
    """The keys of `config.json`."""

    format: int
    smat_version: str
    method: str
    image_size: int
    backbone: dict[str, Any]
    pool: dict[str, Any]


@dataclass(frozen=True)
class StoredPool:
    """What a folder holds.

    Attributes:
        name: what the user asked for.
        spec: the backbone.
        config: the pool's settings.
        stored: tensors by name, as `write_pool` names them.
        card: what is known of the pool besides.
    """

    name: str
    spec: BackboneSpec
    config: PoolConfig
    stored: dict[str, Tensor]
    card: Card

    def build_backbone(self, module: Backbone | None, allow_imports: Collection[str] = ()) -> Backbone:
        """The architecture, with the stored buffers; the parameters come with `tensors_of`.

        Raises:
            CheckpointError: the pool was made around a module of the user's, which was not given, or around a network
                whose code may not be imported.
        """
        spec = self.spec
        if spec.kind == "module" and module is None:
            raise CheckpointError(
                f"{self.name} was made around your own module {spec.name!r}: load it with from_pretrained(..., "
                "backbone=smat.backbones.load(module, image_size=...))"
            )
        try:
            backbone = module or build(spec, allow_imports=allow_imports)
        except SmatError as error:
            where = "backbone.config: " if spec.kind == "transformers" else ""
            raise CheckpointError(f"{self.name} cannot be loaded: {where}{error}") from error
        buffers = dict(backbone.named_buffers())
        for key, value in self._part("buffers").items():
            fits = key in buffers and buffers[key].shape == value.shape
            if not fits or buffers[key].is_floating_point() != value.is_floating_point():
                raise CheckpointError(
                    f"{self.name}: stored buffer {key} {tuple(value.shape)} does not fit the backbone"
                )
            buffers[key].copy_(value)
        return backbone

    def tensors_of(self, vectors: Collection[str], layout: Layout) -> dict[str, Tensor]:
        """The stored tensors by name, those of the network's parameters put together to vectors again.

        Args:
            vectors: names as in `write_pool`.
            layout: names and shapes of the network's parameters.

        Raises:
            CheckpointError: parameters are missing or have other shapes.
        """
        tensors = {key: value for key, value in self.stored.items() if "/" not in key}
        try:
            for key in vectors:
                rows = sum(f"{key}.{m}/{layout.names[0]}" in self.stored for m in range(len(self.stored)))
                several = [layout.flatten(self._part(f"{key}.{m}")) for m in range(rows)]
                tensors[key] = torch.stack(several) if rows else layout.flatten(self._part(key))
        except CheckpointError as error:
            raise CheckpointError(f"{self.name}: {error}") from error
        return tensors

    def _part(self, prefix: str) -> dict[str, Tensor]:
        return {k.removeprefix(f"{prefix}/"): v for k, v in self.stored.items() if k.startswith(f"{prefix}/")}


def read_pool(name: str, allow_imports: Collection[str] = (), **download: Any) -> StoredPool:
    """Read a pool from a local folder or, where there is none of that name, from the hub.

    Raises:
        CheckpointError: nothing of that name, no pool in it, a newer format, settings that cannot be or that do not fit
            the weights, code that may not be imported, or a damaged file, `card.json` included.
    """
    folder = Path(name)
    if not folder.is_dir():
        folder = _fetch(name, **download)
    spec, settings, _ = describe_pool(name, folder, allow_imports)
    card = read_card(folder)
    return StoredPool(name, spec, settings, read_weights(folder / WEIGHTS, CheckpointError, _AGAIN), card)


def describe_pool(
    name: str, folder: Path, allow_imports: Collection[str] = ()
) -> tuple[BackboneSpec, PoolConfig, Header]:
    """The backbone, the settings and the tensors of a pool in a local folder, whose weights are not read.

    Raises:
        CheckpointError: as for `read_pool`.
    """
    config = read_config(name, folder)
    try:
        spec, settings = BackboneSpec.from_dict(config["backbone"]), PoolConfig.from_dict(config["pool"], allow_imports)
        header = read_header(folder / WEIGHTS, CheckpointError, _AGAIN)
        _check_sizes(spec, settings, header)
    except SmatError as error:
        raise CheckpointError(f"{name} cannot be loaded: {error}") from error
    return spec, settings, header


def read_config(name: str, folder: Path) -> dict[str, Any]:
    """What `config.json` of a pool in a local folder says: settings as plain data.

    Raises:
        CheckpointError: there is no pool in the folder, or the file is damaged or of a newer format.
    """
    missing = [file for file in (CONFIG, WEIGHTS) if not (folder / file).is_file()]
    if missing:
        raise CheckpointError(
            f"{name} is no smat checkpoint: it has no {' and no '.join(missing)}. Give a folder that save_pretrained "
            "or `smat train` made (its `best` or `last` folder)"
        )
    said = read_versioned(folder / CONFIG, FORMAT, name, CheckpointError, _AGAIN)
    try:
        return asdict(from_plain(said, _Config, "", CheckpointError))
    except SmatError as error:
        raise CheckpointError(f"{name} cannot be loaded: {error}") from error


def _check_sizes(spec: BackboneSpec, config: PoolConfig, header: Header) -> None:
    """Raise a `SmatError` for settings of a network, experts or a router that are not those of the weights.

    All of it is made without memory, where that is possible. Networks and routers of the user's own are left to
    `build_backbone` and to whoever loads the tensors.
    """
    rows = [int(found[1]) + 1 for name in header if (found := _ROW.match(name))]
    most = max([*rows, *(stored.shape[0] for stored in header.values() if stored.shape)], default=0)
    if config.experts > most:
        raise CheckpointError(f"pool.experts is {config.experts}, but the weights have none of so many: it was changed")
    codes = header.get("update.codes")
    if config.packed and codes and codes.shape[:1] != (config.packed.bytes_for(config.experts),):
        raise CheckpointError(f"pool.experts is {config.experts}, but the codes are of another number: it was changed")
    backbone = check_network(spec, header, "pretrained/", "buffers/")
    if backbone is None:
        return
    if not config.experts or config.routing is not None:
        return
    with torch.device("meta"), bounded(header, too_large("pool.router", vars(config.router))):
        router = config.make_router()
        router.build(backbone.feature_dim, config.routes)
        if wrong := misfits(header, {f"router.{key}": value for key, value in router.state_dict().items()}):
            raise CheckpointError(f"pool.router and pool.experts do not fit the weights: {'; '.join(wrong[:3])}")


def _fetch(name: str, **download: Any) -> Path:
    """A pool of the hub in the cache; `OWNER/NAME@REVISION` is a branch, a tag or a commit of it."""
    repository, _, revision = name.partition("@")
    if revision:
        download = {"revision": revision} | download
    files = [CONFIG, WEIGHTS, CARD, README, CHECKSUMS, f"{FIGURES}/*"]
    try:
        folder = Path(snapshot_download(repository, allow_patterns=files, **download))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise CheckpointError(
            f"there is no folder {name!r}, and the hub gave no checkpoint of that name ({type(error).__name__}): check "
            "the spelling, or the network connection"
        ) from error
    _check_sums(name, folder)
    return folder


def checksum(path: Path) -> str:
    """The SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_sums(name: str, folder: Path) -> None:
    """Raise a `CheckpointError` for files that are not those that were published."""
    path = folder / CHECKSUMS
    if not path.is_file() or not all((folder / file).is_file() for file in (CONFIG, WEIGHTS)):
        return  # `read_config` names what is missing
    said = read_json(path, dict, CheckpointError, _AGAIN)
    wrong = [file for file in (CONFIG, WEIGHTS) if file in said and checksum(folder / file) != said[file]]
    if wrong:
        raise CheckpointError(
            f"{name}: {' and '.join(wrong)} is not what was published (its hash in {CHECKSUMS} is another). {_AGAIN}; "
            "if that does not help, it was changed on the hub"
        )
