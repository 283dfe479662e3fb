"""What is done with damaged files: a function for each kind, called in a fork of a process that has run `prepare`."""

import functools
import importlib
import json
import logging
import warnings
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
from lightning.fabric import Fabric
from PIL import Image
from transformers import ViTModel

import authors_format
import smat.recipes.data.doctor
import smat.recipes.evaluate  # noqa: F401  (so that forks have it)
from smat import backbones
from smat.cli import main
from smat.domains import image_domain, load_image, open_domains
from smat.domains.imported import read_imported
from smat.episodes import EpisodeSource, FixedSampler, PlanOptions, read_episodes
from smat.evaluation import Store
from smat.experts import PoolConfig, SparseInterpolatedExperts, pack
from smat.metatuning import GroupConfig, MetaTuner, OptimizerConfig, TuningConfig
from smat.metatuning.run_config import load_config
from smat.recipes.data.episodes import data_episodes
from smat.recipes.data.imports import data_import
from smat.released import read_smat_checkpoint
from tiny_cells import two_methods
from tiny_checkpoint import SIZE, tiny_vit

CLASSES = ("red", "green", "blue")
_STUBBED = (
    "train:train",
    "reproduce.run:reproduce",
    "bench.run:bench",
    "bench.data:bench_data",
    "quickstart:quickstart",
)
_made: dict[str, Any] = {}


def prepare(folder: Path) -> None:
    """Make one good file of each kind in the folder, which tests damage copies of."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    datasets.config.HF_DATASETS_CACHE = folder / "cache"
    _write_photos(folder / "photos")
    torch.manual_seed(0)
    ViTModel(tiny_vit(), add_pooling_layer=False).save_pretrained(folder / "vit")
    half = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "do_normalize": True}
    (folder / "vit" / "preprocessor_config.json").write_text(json.dumps(half))
    pool = SparseInterpolatedExperts(backbones.load(folder / "vit"), PoolConfig(experts=2))
    pool.save_pretrained(folder / "pool")
    pool.update.delta.data.normal_()
    pack(pool).save_pretrained(folder / "packed")
    pool.update.delta.data.zero_()
    authors_format.write(folder / "authors", authors_format.model_of(authors_format.tiny_vit(), 2), 2)
    data_import("folder", str(folder / "photos"), str(folder / "imported"), processes=0)
    domain = next(folder.joinpath("imported").iterdir())
    domain.rename(folder / "domain")
    data_episodes(
        [str(folder / "domain")],
        output=str(folder / "episodes.jsonl"),
        episodes=3,
        options=PlanOptions(way=2, shot=1, query=1),
    )
    store = Store(folder / "cells.jsonl")
    for cell in two_methods():
        store.add(cell)
    tuner = _tuner(folder, pool)
    tuner.run()
    _made["tuner"] = tuner
    main(["predict", str(folder / "pool"), *_images(folder), "--output", str(folder / "p.csv")])  # imports the rest


def _write_photos(folder: Path) -> None:
    rng = np.random.default_rng(0)
    for number, name in enumerate(CLASSES):
        (folder / name).mkdir(parents=True)
        for image in range(4):
            pixels = rng.integers(0, 60, (12, 12, 3), dtype=np.uint8)
            pixels[..., number] += 120
            Image.fromarray(pixels).save(folder / name / f"{image}.png")
    for end in ("jpg", "tif", "gif", "bmp", "webp"):
        Image.open(folder / "red" / "0.png").save(folder.parent / f"image.{end}")
    Image.open(folder / "red" / "0.png").save(folder.parent / "image.png")


def _tuner(folder: Path, pool: SparseInterpolatedExperts) -> MetaTuner:
    sampler = FixedSampler(2, 1, 1)
    domains = open_domains(["pocket:glyphs"], pocket_image_size=SIZE)
    source = EpisodeSource(domains, "train", sampler, image_format=pool.backbone.spec.image_format, train=True, seed=1)
    groups = OptimizerConfig(delta=GroupConfig("sgd", 1e-3, momentum=0.9))
    config = TuningConfig(tasks=4, meta_batch=2, validate_every=0, precision="32-true", optimizers=groups)
    return MetaTuner(pool, source, [], config, folder / "run", Fabric(accelerator="cpu", devices=1))


def _images(folder: Path) -> list[str]:
    return ["--support", str(folder / "photos"), "--query", str(folder / "photos" / "red")]


def pool(folder: str) -> None:
    """Load a pool, and use it."""
    loaded = SparseInterpolatedExperts.from_pretrained(folder)
    loaded.merged_for(torch.zeros(2, 3, SIZE, SIZE), torch.tensor([0, 1]))


def released(folder: str) -> None:
    """Read a checkpoint of the authors' code."""
    read_smat_checkpoint(Path(folder), heads=authors_format.HEADS)


def backbone(folder: str) -> None:
    """Load a backbone, and use it."""
    loaded = backbones.load(folder)
    loaded(torch.zeros(1, 3, loaded.spec.image_size, loaded.spec.image_size))


def state(folder: str) -> None:
    """Resume a run, and take a step."""
    tuner: MetaTuner = _made["tuner"]
    tuner.folder = Path(folder)
    tuner.kept = type(tuner.kept)(Path(folder))
    tuner.resume()
    tuner.progress.tasks = 0
    tuner.run()


def domain(folder: str) -> None:
    """Open an imported domain, and read its images."""
    read_imported(Path(folder))
    opened = image_domain.open_domain(folder)
    for name in opened.classes(next(iter(opened.splits), "train")):
        for row in opened.rows(name).tolist():
            opened.image(row)


def cells(file: str) -> None:
    """Read stored results, and look all of them up."""
    store = Store(file)
    for key in store:
        store.find(key, 10)


def episodes(file: str, domain: str) -> None:
    """Read episodes."""
    read_episodes(file, [image_domain.open_domain(domain)])


def config(file: str) -> None:
    """Read the settings of a run."""
    load_config([file]).resolved()


def image(file: str) -> None:
    """Read an image."""
    load_image(Path(file), SIZE)


def command(arguments: list[str]) -> None:
    """Run a command; those that take long only as far as their settings are read."""
    for place in _STUBBED:
        module, _, name = place.partition(":")
        owner = importlib.import_module(f"smat.recipes.{module}")
        recipe = getattr(owner, name)
        setattr(owner, name, functools.wraps(recipe)(lambda *_, **__: None))
    main(arguments)
