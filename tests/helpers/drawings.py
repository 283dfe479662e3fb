"""Procedural drawings as files, in folders by class, and sessions that make classifiers of them."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from smat.adaptation.installed import Network
from smat.app import Export, Limits, Networks, Session, Tried, Upload, Writers
from smat.domains import Domain
from smat.domains.pocket import pocket_domains

SIDE = 32


def domain() -> Domain:
    return next(domain for domain in pocket_domains(image_size=SIDE, images_per_class=40) if domain.name == "plants")


def draw(root: Path, classes: dict[str, int], each: int, start: int = 0) -> list[Upload]:
    """So many drawings of each class, in a folder of its name; classes by their number."""
    plants, uploads = domain(), []
    for name, number in classes.items():
        (root / name).mkdir(parents=True, exist_ok=True)
        for index, row in enumerate(plants.rows(f"plants{number:03d}")[start : start + each]):
            path = root / name / f"{start + index}.png"
            plants.image(int(row)).save(path)
            uploads.append(Upload(path, f"{name}/{path.name}"))
    return uploads


def zip_of(folder: Path, archive: Path) -> Upload:
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(folder.rglob("*")):
            file.write(path, path.relative_to(folder.parent))
    return Upload(archive, archive.name)


class PlainWriters(Writers):
    """Writes hardly anything."""

    def labels(self, out: Path, tried: Tried) -> None:
        out.write_text(
            "\n".join(f"{photo.name} {label}" for photo, label in zip(tried.photos, tried.labels, strict=True))
        )

    def export(self, folder: Path, to: Export, out: Path) -> None:
        assert (folder / "classifier.json").is_file()
        if to == "web":
            out.mkdir()
            out /= "index.html"
        out.write_text(to)


def only_pocket() -> Networks:
    return Networks([Network("pocket", "backbone", "", 0.0, "pocket", "Drawings.")], "", "cpu")


def session(folder: Path, **limits: Any) -> Session:
    folder.mkdir(parents=True, exist_ok=True)
    return Session(folder / "photos", folder / "out", only_pocket(), PlainWriters(), Limits(**limits))


def noise(path: Path, seed: int) -> Upload:
    from PIL import Image

    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)).save(path)
    return Upload(path, path.name)
