"""A pool as a folder: `config.json` to read and `model.safetensors` to load, the pre-trained parameters included.

Storage takes and gives plain pieces, settings and tensors by name; it knows no pool.
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

import smat
from smat.backbones import Backbone, BackboneSpec, build
from smat.errors import CheckpointError, SmatError
from smat.files import write_whole
from smat.flat import Layout

CONFIG, WEIGHTS, FORMAT = "config.json", "model.safetensors", 1


def write_pool(
    folder: Path,
    config: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    vectors: Collection[str],
    layout: Layout,
    buffers: Mapping[str, Tensor],
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
    write_whole(folder / WEIGHTS, lambda file: save_file(plain, file))
    head = {"format": FORMAT, "smat_version": smat.__version__}
    write_whole(folder / CONFIG, json.dumps(head | dict(config), indent=2) + "\n")


@dataclass(frozen=True)
class StoredPool:
    """What a folder holds."""

    name: str
    config: Mapping[str, Any]
    stored: dict[str, Tensor]

    def build_backbone(self, module: Backbone | None, allow_imports: Collection[str] = ()) -> Backbone:
        """The architecture, with the stored buffers; the parameters come with `tensors_of`.

        Raises:
            CheckpointError: the pool was made around a module of the user's, which was not given, or around a network
                whose code may not be imported.
        """
        spec = BackboneSpec.from_dict(self.config["backbone"])
        if spec.kind == "module" and module is None:
            raise CheckpointError(
                f"{self.name} was made around your own module {spec.name!r}: load it with from_pretrained(..., "
                "backbone=smat.backbones.load(module, image_size=...))"
            )
        try:
            backbone = module or build(spec, allow_imports=allow_imports)
        except SmatError as error:
            raise CheckpointError(f"{self.name} cannot be loaded: {error}") from error
        buffers = dict(backbone.named_buffers())
        for key, value in self._part("buffers").items():
            if key not in buffers or buffers[key].shape != value.shape:
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


def read_pool(name: str, **download: Any) -> StoredPool:
    """Read a pool from a local folder or, where there is none of that name, from the hub.

    Raises:
        CheckpointError: nothing of that name, no pool in it, a newer format, or a damaged file.
    """
    folder = Path(name)
    if not folder.is_dir():
        folder = _fetch(name, **download)
    missing = [file for file in (CONFIG, WEIGHTS) if not (folder / file).is_file()]
    if missing:
        raise CheckpointError(
            f"{name} is no smat checkpoint: it has no {' and no '.join(missing)}. Give a folder that save_pretrained "
            "or `smat train` made (its `best` or `last` folder)"
        )
    try:
        config = json.loads((folder / CONFIG).read_text())
        if config.get("format", FORMAT + 1) > FORMAT:
            raise CheckpointError(
                f"{name} has format {config.get('format')} (smat {config.get('smat_version')}), but this is smat "
                f"{smat.__version__}, which reads up to format {FORMAT}: upgrade smat"
            )
        return StoredPool(name, config, load_file(folder / WEIGHTS))
    except (json.JSONDecodeError, SafetensorError) as error:
        raise CheckpointError(f"{name} is damaged: {error}. Copy or download it again") from error


def _fetch(name: str, **download: Any) -> Path:
    try:
        return Path(snapshot_download(name, allow_patterns=[CONFIG, WEIGHTS], **download))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise CheckpointError(
            f"there is no folder {name!r}, and the hub gave no checkpoint of that name ({type(error).__name__}): check "
            "the spelling, or the network connection"
        ) from error
