"""Sources in their authors' formats, made tiny; each maker says what should come out of it."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
from PIL import Image

from small_images import encode, noise
from smat.domains.imported import Refused
from smat.importing import Listing

Truth = dict[str, tuple[str, Any]]
"""What an image is called: its class and its content."""


def read_all(listing: Listing) -> tuple[Truth, list[Refused]]:
    """All that a domain gives, and all that is refused of it."""
    found: Truth = {}
    refused = list(listing.refused)
    for part in listing.parts:
        for item in listing.read(part):
            if isinstance(item, Refused):
                refused.append(item)
            else:
                assert item.name not in found
                found[item.name] = listing.classes[part.label], item.image
    return found, refused


def said(refused: Sequence[Refused]) -> str:
    return "\n".join(map(str, refused))


def write(root: Path, files: Mapping[str, bytes | str]) -> None:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)


def photo(seed: int, form: str = "JPEG", size: tuple[int, int] = (12, 10), mode: str = "RGB") -> bytes:
    return encode(noise(seed, size, mode), form)


def make_gtsrb(root: Path, classes: Mapping[int, str], images: int = 3) -> Truth:
    """`GTSRB/Final_Training/Images` for class numbers and the names that they should get."""
    truth: Truth = {}
    for number, name in classes.items():
        folder = f"Final_Training/Images/{number:05d}"
        lines = ["Filename;Width;Height;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2;ClassId"]
        for i in range(images):
            file = f"{i // 30:05d}_{i % 30:05d}.ppm"
            lines.append(f"{file};12;10;1;1;10;8;{number}")
            truth[f"{folder}/{file}"] = name, photo(100 * number + i, "PPM")
        write(root / "GTSRB", {f"{folder}/GT-{number:05d}.csv": "\r\n".join(lines) + "\r\n"})
    write(root / "GTSRB", {path: content for path, (_, content) in truth.items()})
    return truth


def make_domainnet(root: Path, domain: str, classes: Sequence[str]) -> Truth:
    """A domain with two training images and one test image a class."""
    truth: Truth = {}
    lists: dict[str, list[str]] = {"train": [], "test": []}
    for number, name in enumerate(classes):
        for i in range(3):
            path = f"{domain}/{name}/{domain}_{number:03d}_{i:06d}.jpg"
            lists["test" if i == 2 else "train"].append(f"{path} {number}")
            truth[path] = name, photo(10 * number + i)
    write(root, {f"{domain}_{part}.txt": "\n".join(lines) + "\n" for part, lines in lists.items()})
    write(root, {path: content for path, (_, content) in truth.items()})
    return truth


def make_pets(root: Path, breeds: Sequence[str]) -> Truth:
    truth: Truth = {}
    lines = ["#Image CLASS-ID SPECIES BREED ID", "#ID: 1:37 Class ids", "#SPECIES: 1:Cat 2:Dog"]
    for number, breed in enumerate(breeds, start=1):
        for i in (1, 2, 100):
            lines.append(f"{breed}_{i} {number} {1 + breed.islower()} {number}")
            truth[f"images/{breed}_{i}.jpg"] = breed, photo(10 * number + i, "JPEG" if i < 100 else "PNG")
    write(root, {"annotations/list.txt": "\n".join(lines) + "\n", "annotations/README": "about"})
    write(root, {path: content for path, (_, content) in truth.items()})
    return truth


def make_food(root: Path, classes: Sequence[str]) -> Truth:
    truth: Truth = {}
    lists: dict[str, list[str]] = {"train": [], "test": []}
    for place, name in enumerate(classes):
        for i in range(4):
            image = f"{name}/{1000000 + 37 * place + i}"
            lists["train" if i else "test"].append(image)
            truth[f"images/{image}.jpg"] = name, photo(10 * place + i)
    names = {"classes": classes, "labels": [name.replace("_", " ").capitalize() for name in classes], **lists}
    write(root / "food-101", {f"meta/{name}.txt": "\n".join(lines) + "\n" for name, lines in names.items()})
    write(root / "food-101", {path: content for path, (_, content) in truth.items()})
    return truth


def make_dtd(root: Path, classes: Sequence[str]) -> Truth:
    truth: Truth = {}
    lines: list[str] = []
    for place, name in enumerate(classes):
        for i in range(1, 4):
            lines.append(f"{name}/{name}_{i:04d}.jpg {' '.join(sorted({name, classes[i % len(classes)]}))} ")
            truth[f"images/{name}/{name}_{i:04d}.jpg"] = name, photo(10 * place + i)
    write(root / "dtd", {"labels/labels_joint_anno.txt": "\n".join(lines) + "\n"})
    write(root / "dtd", {path: content for path, (_, content) in truth.items()})
    return truth


def make_cub(root: Path, classes: Sequence[str]) -> Truth:
    truth: Truth = {}
    images: list[str] = []
    labels: list[str] = []
    for number, name in enumerate(classes, start=1):
        for _ in range(3):
            image = len(images) + 1
            path = f"{name}/{name[4:]}_{image:04d}_{7 * image}.jpg"
            images.append(f"{image} {path}")
            labels.append(f"{image} {number}")
            truth[f"images/{path}"] = name, photo(image)
    lists = {
        "classes": [f"{number} {name}" for number, name in enumerate(classes, start=1)],
        "images": images,
        "image_class_labels": labels,
        "bounding_boxes": [f"{number} 1.0 1.0 9.0 8.0" for number in range(1, len(images) + 1)],
    }
    write(root / "CUB_200_2011", {f"{name}.txt": "\n".join(lines) + "\n" for name, lines in lists.items()})
    write(root / "CUB_200_2011", {path: content for path, (_, content) in truth.items()})
    return truth


def make_aircraft(root: Path, variants: Sequence[str]) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Four images a variant, one for validation and two for training; the truth has the boxes, not the pixels."""
    truth: dict[str, tuple[str, tuple[int, ...]]] = {}
    lists: dict[str, list[str]] = {"train": [], "val": [], "trainval": [], "test": []}
    boxes: list[str] = []
    for place, name in enumerate(variants):
        for i in range(4):
            image = f"{1000000 + 101 * place + i:07d}"
            box = (1 + i, 2, 11 - place % 2, 9)
            for part in (("train", "trainval"), ("val", "trainval"), ("test",), ("train", "trainval"))[i]:
                lists[part].append(f"{image} {name}")
            boxes.append(f"{image} {' '.join(map(str, box))}")
            truth[f"data/images/{image}.jpg"] = name, box
            write(root / "fgvc-aircraft-2013b", {f"data/images/{image}.jpg": photo(10 * place + i)})
    texts = {f"images_variant_{part}": lines for part, lines in lists.items()}
    texts |= {"variants": list(variants), "images_box": boxes}
    write(root / "fgvc-aircraft-2013b", {f"data/{name}.txt": "\n".join(lines) + "\n" for name, lines in texts.items()})
    return truth


def make_flowers(root: Path, labels: Sequence[int], packed: bool = True) -> dict[str, bytes]:
    """Images in order, of these class numbers; gives their contents."""
    images = {f"jpg/image_{number:05d}.jpg": photo(number) for number in range(1, len(labels) + 1)}
    write(root, images)
    values = {"labels": np.array([labels], dtype=np.uint8)}
    scipy.io.savemat(root / "imagelabels.mat", values, do_compression=packed)
    return images


def annotations(rows: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """A MATLAB structure array, 1 × rows, as in the files of Stanford Cars."""
    found = np.empty((1, len(rows)), dtype=[(name, object) for name in rows[0]])
    for place, row in enumerate(rows):
        found[0, place] = tuple(np.uint8(v) if isinstance(v, int) else v for v in row.values())
    return found


def texts(names: Sequence[str]) -> np.ndarray:
    """A MATLAB cell array of texts, 1 × names."""
    found = np.empty((1, len(names)), dtype=object)
    found[0, :] = names
    return found


def make_cars(root: Path, names: Sequence[str], packed: bool = True) -> Truth:
    """`cars_train`, `cars_test` and the development kit."""
    truth: Truth = {}
    box = {"bbox_x1": 1, "bbox_y1": 1, "bbox_x2": 9, "bbox_y2": 8}
    rows: dict[str, list[dict[str, Any]]] = {"train": [], "test": []}
    for i in range(2 * len(names)):
        for part in rows:
            file, label = f"{i + 1:05d}.jpg", (3 * i) % len(names) + 1
            rows[part].append({**box, "class": label, "fname": file})
            truth[f"cars_{part}/{file}"] = names[label - 1], photo(100 * (part == "test") + i)
    write(root, {path: content for path, (_, content) in truth.items()} | {"devkit/README.txt": "about"})
    for file, values in (
        ("devkit/cars_meta.mat", {"class_names": texts(names)}),
        ("devkit/cars_train_annos.mat", {"annotations": annotations(rows["train"])}),
        ("cars_test_annos_withlabels.mat", {"annotations": annotations(rows["test"])}),
    ):
        scipy.io.savemat(root / file, values, do_compression=packed)
    return truth


def coco_tables(boxes: Sequence[tuple[int, int, Sequence[float]]], names: Mapping[int, str]) -> dict[str, Any]:
    """MSCOCO's tables for objects, each an image's number, a category and a box."""
    images = sorted({image for image, _, _ in boxes})
    return {
        "info": {"year": 2017},
        "licenses": [],
        "images": [{"id": i, "file_name": f"{i:012d}.jpg", "width": 60, "height": 40, "license": 1} for i in images],
        "annotations": [
            {
                "segmentation": [[1.5, 2.5, 3.5, 4.5, 5.5, 6.5]],
                "area": 4.0,
                "iscrowd": 0,
                "image_id": image,
                "bbox": list(box),
                "category_id": category,
                "id": 500 + place,
            }
            for place, (image, category, box) in enumerate(boxes)
        ],
        "categories": [{"supercategory": "thing", "id": number, "name": name} for number, name in names.items()],
    }


def make_coco(
    root: Path, boxes: Sequence[tuple[int, int, Sequence[float]]], names: Mapping[int, str]
) -> dict[str, Any]:
    """`train2017` with images of 60 × 40, and their annotations, which are given back."""
    tables = coco_tables(boxes, names)
    write(root, {"annotations/instances_train2017.json": json.dumps(tables)})
    for entry in tables["images"]:
        write(root, {f"train2017/{entry['file_name']}": photo(entry["id"], size=(60, 40))})
    return tables


def make_omniglot(root: Path, alphabets: Mapping[str, int], images: int = 2) -> Truth:
    """`images_background/Greek` and the like, with so many characters; images of one bit, black on white."""
    truth: Truth = {}
    for place, (alphabet, characters) in enumerate(alphabets.items()):
        for character in range(1, characters + 1):
            for i in range(images):
                strokes = np.random.default_rng(100 * place + 10 * character + i).random((15, 15)) < 0.2
                path = f"{alphabet}/character{character:02d}/{place:04d}_{i:02d}.png"
                picture = Image.fromarray(~strokes)
                assert picture.mode == "1"
                write(root, {path: encode(picture)})
                truth[path] = path.split("/", 1)[1].rpartition("/")[0], np.where(strokes, 255, 0).astype(np.uint8)
    return truth


def strokes(seed: int, points: int = 4) -> list[list[list[int]]]:
    """Two strokes as in the simplified files: at the left upper edge, the longer side 255."""
    random = np.random.default_rng(seed)
    drawing = [random.integers(0, 256, (2, points)).tolist() for _ in range(2)]
    drawing[0][0][:2] = 0, 255
    drawing[0][1][0] = 0
    return drawing


def make_ndjson(path: Path, word: str, count: int, first: int = 0) -> dict[str, list[list[list[int]]]]:
    """A file of drawings; gives these by what they are to be called."""
    truth: dict[str, list[list[list[int]]]] = {}
    lines: list[str] = []
    for i in range(count):
        key = str(5891796615823360 + first + i)
        truth[f"{path.name}#{key}"] = strokes(first + i)
        entry = {
            "word": word,
            "countrycode": "AE",
            "timestamp": "2017-03-01 20:41:36.70725 UTC",
            "recognized": bool(i % 3),
            "key_id": key,
            "drawing": truth[f"{path.name}#{key}"],
        }
        lines.append(json.dumps(entry, ensure_ascii=bool(i % 2), separators=(",", ":")))
    write(path.parent, {path.name: "\n".join(lines) + "\n"})
    return truth


def make_bitmaps(path: Path, count: int, seed: int = 0) -> np.ndarray:
    """A `.npy` file of so many random drawings, which are given back."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(seed).integers(0, 256, (count, 784), dtype=np.uint8)
    np.save(path, values)
    return values
