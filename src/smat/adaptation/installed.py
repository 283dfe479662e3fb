"""The networks on this machine: `pocket`, those in the hub's cache, and pools and backbones in folders."""

import json
import os
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from math import prod
from pathlib import Path
from typing import Any, Literal

import torch
from huggingface_hub import constants, scan_cache_dir
from huggingface_hub.errors import CacheNotFound

from smat.adaptation.ranking import ranking
from smat.backbones import POCKET
from smat.backbones.checkpoint import Checkpoint
from smat.backbones.families import check_size, read_config
from smat.backbones.pretrained import quiet
from smat.errors import BackboneError, ConfigError, SmatError, one_line
from smat.experts.storage import describe_pool
from smat.left_out import leave_out
from smat.weights import bounded
from smat.yaml_files import Unreadable, load_yaml

_DEPTH, _ENTRIES = 5, 20_000  # how deep, and among how many files and folders, networks are searched for
_PREPROCESSORS = ("preprocessor_config.json", "processor_config.json")


@dataclass(frozen=True)
class Network:
    """A network on this machine.

    Attributes:
        name: what commands and `FewShotClassifier` take.
        kind: `pool` for a pool of experts, `backbone` for a pre-trained network; empty where it is neither, or where
            that cannot be told.
        folder: where its files lie.
        size_mb: size of its files in MB (10⁶ bytes).
        backbone: name of the pre-trained network; that of a pool is the one that it was meta-tuned around.
        summary: what it is good for, in a sentence.
        parameters: number of parameters of the network that images pass through.
        image_size: side of its images in pixels.
        accuracy: accuracy of a pool on the validation classes of its own run, in 0..1; None where it is not known.
        measured: what that accuracy is of.
        modified: when its weights were written, in seconds since 1970.
        given: whether it was only found because its folder was given: it is not taken where none is named.
        problem: why it cannot be used, with what to do; empty where it can.
    """

    name: str
    kind: Literal["pool", "backbone", ""]
    folder: str
    size_mb: float
    backbone: str = ""
    summary: str = ""
    parameters: int | None = None
    image_size: int | None = None
    accuracy: float | None = None
    measured: str = ""
    modified: float = 0.0
    given: bool = False
    problem: str = ""


def find_networks(folders: Sequence[str | Path] = (), searched: Sequence[str | Path] = (".",)) -> list[Network]:
    """The networks on this machine; nothing is loaded or downloaded.

    Args:
        folders: folders that have networks: one itself, the folder of a run, or one with several.
        searched: folders that may have pools, as those of runs; backbones in them are passed over.

    Folders are looked through up to five deep, and up to 20,000 files and folders.

    Raises:
        ConfigError: one of `folders` is no folder or has no network, or the place of the hub's cache is none.
    """
    found = {POCKET: _network("pocket", POCKET), **_in_cache()}
    for place, given in [*((place, False) for place in searched), *((place, True) for place in folders)]:
        here = _networks_below(Path(place), given)
        if given and not here:
            raise ConfigError(
                f"there is no network in '{place}' or the folders within it: a network is a folder with config.json "
                "and model.safetensors, such as the `best` folder of a training"
            )
        for folder in here:
            if folder.resolve() not in found:
                found[folder.resolve()] = replace(_network(str(folder), folder), given=given)
    return list(found.values())


def _in_cache() -> dict[Path, Network]:
    """The models in the hub's cache, wherever its settings put it (HF_HOME, HF_HUB_CACHE)."""
    try:
        cache = scan_cache_dir(constants.HF_HUB_CACHE)
    except CacheNotFound:
        return {}
    except (ValueError, OSError) as error:  # the first: it is no folder
        raise ConfigError(
            f"the hub's cache '{constants.HF_HUB_CACHE}' cannot be read: {one_line(error)}; set HF_HUB_CACHE or "
            "HF_HOME to another place"
        ) from error
    found = {}
    for repo in sorted(cache.repos, key=lambda repo: repo.repo_id):
        if repo.repo_type != "model":
            continue
        main = next((revision for revision in repo.revisions if "main" in revision.refs), None)
        if main:
            found[main.snapshot_path] = _network(repo.repo_id, main.snapshot_path, cached=True)
        else:
            lacking = f"its main revision is not in the hub's cache; `hf download {repo.repo_id}` gets it"
            found[repo.repo_path] = Network(repo.repo_id, "", str(repo.repo_path), _mb(repo.repo_path), problem=lacking)
    for folder in sorted(Path(constants.HF_HUB_CACHE).glob("models--*")):
        if not any(place.is_relative_to(folder) for place in found):
            name = folder.name.removeprefix("models--").replace("--", "/")
            lacking = f"it is damaged in the hub's cache; remove '{folder}' and download it again"
            found[folder] = Network(name, "", str(folder), _mb(folder), problem=lacking)
    return found


def _networks_below(root: Path, given: bool) -> list[Path]:
    """Folders of networks; of a run its `best` pool, or its `last` one where it has no better."""
    if not root.is_dir():
        raise ConfigError(f"'{root}' is no folder; give folders of networks, or of runs")
    found, waiting, left, seen = [], deque([(root, 0)]), _ENTRIES, set()
    while waiting and left > 0:
        folder, depth = waiting.popleft()
        real = folder.resolve()
        if real in seen:
            continue
        seen.add(real)
        names, below = _entries(folder)
        left -= len(names) + len(below)
        # other programs have files of this name too
        if "config.json" in names and (any(name.endswith(".safetensors") for name in names) or (given and depth == 0)):
            if given or _is_pool(folder):
                found.append(folder)
        elif depth < _DEPTH:
            waiting.extend((folder / name, depth + 1) for name in below if name != "last" or "best" not in below)
    if waiting:
        reason = f"the search for networks in it ended after {_ENTRIES:,} files; give the folder of a network itself"
        leave_out("folder", reason, [str(root)])
    return found


def _is_pool(folder: Path) -> bool:
    try:
        return "pool" in Checkpoint(str(folder), str(folder)).config()
    except SmatError:
        return False


def _entries(folder: Path) -> tuple[set[str], list[str]]:
    """Names of the files in a folder, and of the folders, without hidden ones and those of Python."""
    names, below = set(), []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith((".", "__")) or entry.name in ("site-packages", "node_modules"):
                    continue
                below.append(entry.name) if entry.is_dir() else names.add(entry.name)
    except OSError:  # a folder that may not be read has nothing to offer
        return set(), []
    return names, sorted(below)


def _network(name: str, folder: Path, *, cached: bool = False) -> Network:
    size, weights = _mb(folder), folder / "model.safetensors"
    modified = weights.stat().st_mtime if weights.is_file() else 0.0
    kind: Literal["pool", "backbone", ""] = ""
    try:
        if (folder / "classifier.json").is_file():
            raise BackboneError(f"it is a classifier, ready to use: smat predict {name} --query FOLDER")
        config = Checkpoint(name, str(folder)).config()
        kind = "pool" if "pool" in config else "backbone"
        found = _pool(name, folder) if kind == "pool" else _backbone(name, folder, config, cached)
        return Network(name, kind, str(folder), size, modified=modified, **found)
    except SmatError as error:
        return Network(name, kind, str(folder), size, modified=modified, problem=str(error))


def _pool(name: str, folder: Path) -> dict[str, Any]:
    spec, settings, header = describe_pool(name, folder)
    if spec.kind == "module":
        raise BackboneError(f"it was made around a module of yours, {spec.name}: load it in Python (from_pretrained)")
    if spec.kind == "own":
        raise BackboneError(
            f"its network is made by code of yours, {spec.name}: name it, and the code (--allow-import)"
        )
    shapes = [stored.shape for key, stored in header.items() if key.startswith("pretrained/")]
    accuracy, measured = _validation(folder)
    good_for = {"pocket": "Simple drawings; not photographs."} | {key: e.summary for key, e in ranking().items()}
    experts = "" if settings.experts == 0 else f"A pool of {settings.experts} experts around "
    return {
        "backbone": spec.name,
        "summary": f"{experts}{spec.name}. {good_for.get(spec.name, '')}".strip(),
        "parameters": sum(map(prod, shapes)),
        "image_size": spec.image_size,
        "accuracy": accuracy,
        "measured": measured,
    }


def _backbone(name: str, folder: Path, config: dict[str, Any], cached: bool) -> dict[str, Any]:
    if "architecture" in config and "model_type" not in config:
        prefix = "timm:hf-hub:" if cached else "timm:local-dir:"
        install = "" if find_spec("timm") else ", once timm is installed (pip install '.[timm]')"
        raise BackboneError(f"it is a network of timm: name it {prefix}{name}{install}")
    if "model_type" not in config:
        raise BackboneError("it is neither a network of transformers nor a pool of smat: its config.json is of neither")
    checkpoint = Checkpoint(name, str(folder))
    with quiet():
        family, settings = read_config(checkpoint)
    header = checkpoint.header()
    if header is None:
        raise BackboneError("it has no weights that are read: they must be safetensors files (model.safetensors)")
    if cached and not any((folder / file).is_file() for file in _PREPROCESSORS):
        raise BackboneError(
            f"only a part of it is in the hub's cache, without {_PREPROCESSORS[0]}; `hf download {name}` gets the rest"
        )
    size = check_size(checkpoint, family, settings, None)
    known = ranking().get(name)
    summary = known.summary if known else f"An image network ({settings.model_type}) that smat does not rank."
    if name == "pocket":
        summary = "Simple drawings, to try everything out; not photographs."
    try:
        too_large = BackboneError("config.json makes a network of more parameters than there are weights")
        with torch.device("meta"), bounded(header, too_large):
            parameters = sum(value.numel() for value in family.untrained(settings).parameters())
    except SmatError:
        raise
    except Exception:  # some networks do not work without memory
        parameters = known.parameters if known else None
    return {"backbone": name, "summary": summary, "parameters": parameters, "image_size": size}


def _validation(folder: Path) -> tuple[float | None, str]:
    """The accuracy on validation classes that a run's log has for its pool, and what it is of."""
    accuracies = []
    try:
        for line in (folder.parent / "log.jsonl").read_text(encoding="utf-8", errors="replace").splitlines():
            if '"validation"' in line:
                accuracies.append(float(json.loads(line)["validation"]))
        shape = load_yaml(folder.parent / "config.yaml")["episodes"]
        fixed = shape.get("sampler", "fixed") == "fixed"
        tasks = f", {shape['way']}-way {shape['shot']}-shot" if fixed else ""
    except (OSError, ValueError, TypeError, KeyError, AttributeError, Unreadable):  # no run, or one cut off
        tasks = ""
    if not accuracies:
        return None, ""
    return (max(accuracies) if folder.name == "best" else accuracies[-1]), f"validation classes of its run{tasks}"


def _mb(folder: Path) -> float:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6
