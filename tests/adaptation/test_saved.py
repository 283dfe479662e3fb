"""A classifier that was saved answers as before, without its model and images."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from smat.adaptation import FewShotClassifier, is_classifier
from smat.backbones import load
from smat.errors import CheckpointError, ConfigError
from smat.heads import Auto, Logistic
from tiny_images import class_images, make_pool

IMAGES, LABELS = class_images(classes=3, shots=3)
QUERIES = class_images(classes=3, shots=2, seed=1)[0]


def fitted(**settings: Any) -> FewShotClassifier:
    given = {"model": "pocket", "device": "cpu", "precision": "32-true"} | settings
    return FewShotClassifier(**given).fit(IMAGES, LABELS)


def assert_same(one: FewShotClassifier, two: FewShotClassifier) -> None:
    ours, theirs = one.answer(QUERIES), two.answer(QUERIES)
    assert np.array_equal(ours.probabilities, theirs.probabilities)
    assert np.array_equal(ours.labels, theirs.labels)
    assert np.array_equal(one.transform(QUERIES), two.transform(QUERIES))


@pytest.mark.parametrize(
    "settings",
    [
        *(
            {"head": head}
            for head in ("auto", "prototype", "ridge", "lda:1", "logistic", "knn", "average", Logistic(9.0))
        ),
        {"head": Auto(0), "batch_size": 2, "margin": 1.0, "max_pixels": 1000},
        {"adapt": "lora", "learning_rate": 1e-3, "steps": 1},
        {"adapt": "full", "learning_rate": "average", "steps": 1},
    ],
    ids=lambda settings: "-".join(map(str, settings.values()))[:30],
)
def test_it_answers_as_before(settings: dict[str, Any], tmp_path: Path) -> None:
    classifier = fitted(**settings)
    classifier.save(tmp_path / "saved")
    assert is_classifier(tmp_path / "saved")
    loaded = FewShotClassifier.load(tmp_path / "saved", device="cpu", precision="32-true")
    assert_same(classifier, loaded)
    assert loaded.learning_rate_ == classifier.learning_rate_
    assert loaded.task_model_.tuned == classifier.task_model_.tuned
    assert loaded.get_params()["batch_size"] == classifier.batch_size


@pytest.mark.parametrize("strengths", [(1.0,), (0.0, 1.0), (0.5, 1.5)])
def test_experts_stay_behind(strengths: tuple[float, ...], tmp_path: Path) -> None:
    pool = make_pool()
    classifier = fitted(model=pool, strengths=strengths, head="lda")
    classifier.save(tmp_path)
    names = {*load_file(tmp_path / "model.safetensors")}
    assert sum(name.endswith("patches.weight") for name in names) == len(strengths)
    assert not [name for name in names if "delta" in name or "router" in name]
    assert_same(classifier, FewShotClassifier.load(tmp_path, device="cpu", precision="32-true", backbone=pool.backbone))
    with pytest.raises(CheckpointError, match="made around your own module 'Patches'"):
        FewShotClassifier.load(tmp_path)


def test_what_was_grown_is_saved_and_what_was_saved_grows(tmp_path: Path) -> None:
    classifier = fitted()
    classifier.save(tmp_path / "one", thumbnails=True)
    loaded = FewShotClassifier.load(tmp_path / "one", device="cpu", precision="32-true")
    for each in (classifier, loaded):
        each.add(QUERIES[:2], ["new", "new"])
        each.rename("a", "other")
        each.remove(images=[4])
    assert_same(classifier, loaded)
    loaded.save(tmp_path / "two", thumbnails=True)
    again = FewShotClassifier.load(tmp_path / "two", device="cpu", precision="32-true")
    assert_same(classifier, again)
    assert again.support_.thumbnails is not None
    assert len(again.support_.thumbnails) == len(again.support_) == 10


@pytest.mark.parametrize("labels", [[1, 1, 1, 5, 5, 5, -2, -2, -2], [True] * 4 + [False] * 5])
def test_labels_keep_their_type(labels: list[Any], tmp_path: Path) -> None:
    classifier = FewShotClassifier(device="cpu").fit(IMAGES, labels)
    classifier.save(tmp_path)
    loaded = FewShotClassifier.load(tmp_path, device="cpu")
    assert loaded.classes_.dtype == classifier.classes_.dtype
    assert loaded.predict(QUERIES).tolist() == classifier.predict(QUERIES).tolist()


def test_an_earlier_classifier_is_replaced_and_nothing_else(tmp_path: Path) -> None:
    classifier = fitted()
    classifier.save(tmp_path / "c", thumbnails=True)
    classifier.save(tmp_path / "c")
    assert {file.name for file in (tmp_path / "c").iterdir()} == {"README.md", "classifier.json", "model.safetensors"}
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").touch()
    with pytest.raises(ConfigError, match="has other files in it; give an empty or a new folder"):
        classifier.save(tmp_path / "photos")
    assert [file.name for file in tmp_path.iterdir() if file.name.startswith(".")] == []


def test_the_card_says_what_it_is(tmp_path: Path) -> None:
    fitted().save(tmp_path)
    card = (tmp_path / "README.md").read_text()
    assert "3 classes, learned from 9 labelled images" in card
    assert "| a | 3 |" in card
    assert "It has no pictures." in card


def changed(key: str, value: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        content = json.loads((folder / "classifier.json").read_text())
        *way, last = key.split(".")
        place = content
        for part in way:
            place = place[int(part)] if part.isdigit() else place[part]
        place[last] = value
        (folder / "classifier.json").write_text(json.dumps(content))

    return change


def without(name: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        tensors = load_file(folder / "model.safetensors")
        (folder / "model.safetensors").unlink()
        save_file({key: value for key, value in tensors.items() if name not in key}, folder / "model.safetensors")

    return change


def damaged(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"no weights")


def not_a_number(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors["0.features"][0, 0] = torch.nan
    (folder / "model.safetensors").unlink()
    save_file(tensors, folder / "model.safetensors")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / "classifier.json").unlink(), "holds no classifier: it has no classifier.json"),
        (changed("format", 9), "reads up to format 1: upgrade smat"),
        (changed("classes", ["a", "b"]), "support.codes are not those of 2 classes"),
        (changed("classes", "abc"), "classes is 'abc'; expected a list"),
        (changed("support.codes", [0, 1]), "not as many codes as names"),
        (changed("members", []), "there are no members"),
        (changed("settings.batch_size", "many"), "batch_size"),
        (changed("settings.colour", "red"), "colour"),
        (changed("members.0.head.class_path", "os.path.Head"), "code outside smat"),
        (changed("members.0.networks.0.config", {"model_type": "vit", "hidden_size": 10**6}), "damaged|fit|more param"),
        (without("features"), "features"),
        (without("classifier/"), "cannot be loaded"),
        (without("merge_weights"), "merge_weights"),
        (without("network.0/network.layers"), "cannot be loaded|does not fit"),
        (damaged, "is damaged"),
        (not_a_number, r"not finite .* in 0.features"),
    ],
)
def test_damage_is_named(change: Callable[[Path], None], message: str, tmp_path: Path) -> None:
    fitted().save(tmp_path)
    change(tmp_path)
    with pytest.raises(CheckpointError, match=message) as found:
        FewShotClassifier.load(tmp_path)
    assert str(tmp_path) in str(found.value)


def test_a_network_of_transformers_is_built_from_its_description(tmp_path: Path) -> None:
    classifier = fitted(model=load("pocket"))
    classifier.save(tmp_path)
    assert_same(classifier, FewShotClassifier.load(tmp_path, device="cpu", precision="32-true"))
