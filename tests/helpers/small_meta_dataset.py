"""The paper's eighteen data sets with a few images of noise: Meta-Dataset's ten as records, the others as folders."""

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
import yaml
from transformers import ViTConfig, ViTModel

from records import write_records
from small_images import encode, noise, write_folders

SHIPPED = Path(str(files("smat"))) / "configs" / "meta_dataset.yaml"
CLASSES, IMAGES = 5, 4  # of a split, and of each class: the fewest of which Meta-Dataset's rule draws
PLAIN = ["aircraft", "cu_birds", "dtd", "quickdraw", "fungi", "vgg_flower"]
FOLDERS = ["cifar10", "cifar100", "mnist", "sketch", "food", "clipart", "pets", "cars"]


def write_meta_dataset(root: Path) -> Path:
    """The records of all ten data sets in `records/`, as the converter writes them."""
    graph = {split: _graph(split) for split in ("TRAIN", "VALID", "TEST")}
    alphabets = {str(n): CLASSES for n in range(3)}
    names = {str(n): f"class{n}" for n in range(3 * CLASSES)}
    specifications: list[dict[str, Any]] = [
        *(_plain(name, CLASSES, CLASSES, CLASSES) for name in PLAIN),
        _plain("traffic_sign", 0, 0, CLASSES),
        _plain("mscoco", 0, CLASSES, CLASSES),
        {
            "name": "omniglot",
            "superclasses_per_split": {"TRAIN": 1, "VALID": 1, "TEST": 1},
            "classes_per_superclass": alphabets,
            "superclass_names": {"0": "Greek", "1": "Latin", "2": "Korean"},
            "class_names": {
                n: f"{('Greek', 'Latin', 'Korean')[int(n) // CLASSES]}-{name}" for n, name in names.items()
            },
            "images_per_class": dict.fromkeys(names, IMAGES),
            "__class__": "BiLevelDatasetSpecification",
        },
        {
            "name": "ilsvrc_2012",
            "split_subgraphs": graph,
            "images_per_class": {s: {node["wn_id"]: IMAGES for node in nodes} for s, nodes in graph.items()},
            "class_names": dict(enumerate(node["wn_id"] for nodes in graph.values() for node in nodes[1:])),
            "__class__": "HierarchicalDatasetSpecification",
        },
    ]
    for specification in specifications:
        folder = root / "records" / specification["name"]
        folder.mkdir(parents=True)
        specification |= {"path": str(folder), "file_pattern": "{}.tfrecords"}
        (folder / "dataset_spec.json").write_text(json.dumps(specification))
        for n in specification["class_names"]:
            pictures = [encode(noise(100 * int(n) + i), "JPEG") for i in range(IMAGES)]
            write_records(folder / f"{n}.tfrecords", pictures, int(n))
    return root / "records"


def write_others(data: Path) -> None:
    """The data sets that are not in Meta-Dataset, as folders of class folders."""
    for name in FOLDERS:
        write_folders(data / name, {f"class{n}": IMAGES for n in range(CLASSES)})


def small_base(folder: Path, data: Path) -> Path:
    """The shipped configuration with a tiny DINO and 4 tasks, beside what methods need over it."""
    torch.manual_seed(0)
    config = ViTConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32)
    ViTModel(config, add_pooling_layer=False).save_pretrained(folder / "dino")
    (folder / "dino" / "preprocessor_config.json").write_text('{"image_mean": 0.5, "image_std": 0.25}')
    values = yaml.safe_load(SHIPPED.read_text())
    for domain in values["domains"] + values["test_domains"]:
        domain["source"] = str(data / Path(domain["source"]).name)
    values["tuning"] |= {"tasks": 4, "validate_every": 4, "validation_episodes": 1}
    values |= {"backbone": str(folder / "dino"), "workers": 0, "accelerator": "cpu"}
    base = folder / SHIPPED.name
    base.write_text(yaml.safe_dump(values))
    own = base.with_suffix("")
    own.mkdir()
    for file in SHIPPED.with_suffix("").iterdir():
        (own / file.name).write_text(file.read_text())
    return base


def _plain(name: str, train: int, val: int, test: int) -> dict[str, Any]:
    numbers = [str(n) for n in range(train + val + test)]
    return {
        "name": name,
        "classes_per_split": {"TRAIN": train, "VALID": val, "TEST": test},
        "images_per_class": dict.fromkeys(numbers, IMAGES),
        "class_names": {n: f"class{n}" for n in numbers},
        "__class__": "DatasetSpecification",
    }


def _graph(split: str) -> list[dict[str, Any]]:
    """A node that spans all classes of a split, and these."""
    leaves = [f"{split.lower()}{n}" for n in range(CLASSES)]
    root = split.lower()
    nodes = [{"wn_id": root, "words": root, "children_ids": leaves, "parents_ids": []}]
    return nodes + [{"wn_id": leaf, "words": leaf, "children_ids": [], "parents_ids": [root]} for leaf in leaves]
