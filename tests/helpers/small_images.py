"""Small images and domains, made on the spot."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from PIL import Image


def noise(seed: int, size: tuple[int, int] = (20, 16), mode: str = "RGB") -> Image.Image:
    """An image of random pixels, of (width, height)."""
    values = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(values).convert(mode)


def encode(image: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def write_parquet(
    path: Path,
    labels: Sequence[int],
    names: Sequence[str],
    mode: str = "RGB",
    replaced: Mapping[int, bytes] | None = None,
    paths: Sequence[str | None] | None = None,
) -> Path:
    """A parquet file as `datasets` writes it: row i is `noise(i)` of class `labels[i]`, or `replaced[i]`."""
    encoded = [(replaced or {}).get(i) or encode(noise(i, mode=mode)) for i in range(len(labels))]
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=list(names))})
    paths = [f"img{i}.png" for i in range(len(labels))] if paths is None else paths
    images = [{"bytes": content, "path": path} for content, path in zip(encoded, paths, strict=True)]
    datasets.Dataset.from_dict({"image": images, "label": list(labels)}, features).to_parquet(path)
    return path


def write_folders(root: Path, classes: Mapping[str, int], mode: str = "RGB") -> Path:
    """A folder of class folders with so many PNG images each."""
    for place, (name, count) in enumerate(classes.items()):
        (root / name).mkdir(parents=True)
        for i in range(count):
            noise(1000 * place + i, mode=mode).save(root / name / f"{i}.png")
    return root
