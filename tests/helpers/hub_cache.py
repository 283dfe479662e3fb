"""A cache of the hub in its real layout: blobs, snapshots of links to them, and refs."""

import hashlib
import shutil
from pathlib import Path

import huggingface_hub.constants
import pytest

import tiny_checkpoints

REVISION = "a" * 40


def use_cache(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have the hub's client use this cache, and never the network."""
    folder.mkdir(parents=True, exist_ok=True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(folder))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    return folder


def put(cache: Path, name: str, source: Path, ref: str = "main") -> Path:
    """Put a folder's files into the cache as the main revision of a model; returns the snapshot."""
    repo = cache / f"models--{name.replace('/', '--')}"
    snapshot = repo / "snapshots" / REVISION
    for folder in (repo / "blobs", repo / "refs", snapshot):
        folder.mkdir(parents=True)
    (repo / "refs" / ref).write_text(REVISION)
    for file in source.iterdir():
        blob = repo / "blobs" / hashlib.sha256(file.read_bytes()).hexdigest()
        shutil.copy(file, blob)
        (snapshot / file.name).symlink_to(Path("../../blobs") / blob.name)
    return snapshot


def put_backbone(cache: Path, name: str, scratch: Path, family: str = "dinov2", **changes: object) -> Path:
    """Put a tiny network with random weights into the cache."""
    made = scratch / name.replace("/", "-")
    tiny_checkpoints.save(family, made, **changes)
    return put(cache, name, made)
