import hashlib
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import ViTModel

import smat.backbones
from smat.domains.domain import Domain
from smat.domains.pocket import POCKET_ID, POCKET_OOD, pocket_domains
from smat.errors import DataError

NAMES = POCKET_ID + POCKET_OOD
WEIGHTS = Path(next(iter(smat.backbones.__path__))) / "pocket"


def domain(name: str, **settings: int) -> Domain:
    return next(d for d in pocket_domains(**settings) if d.name == name)


def pixels(source: Domain, row: int) -> np.ndarray:
    return np.asarray(source.image(row))


def every_class(source: Domain) -> list[str]:
    return [label for split in source.splits for label in source.classes(split)]


def test_six_domains_to_tune_on_and_five_out_of_distribution() -> None:
    domains = pocket_domains()
    assert tuple(d.name for d in domains) == NAMES
    assert tuple(d.name for d in domains if d.role == "id") == POCKET_ID
    assert tuple(d.name for d in domains if d.role == "ood") == POCKET_OOD
    assert len(POCKET_ID) == 6
    assert len(POCKET_OOD) == 5
    assert len({d.fingerprint for d in domains}) == len(domains)


@pytest.mark.parametrize("name", NAMES)
def test_rows_of_all_classes_are_disjoint_and_cover(name: str) -> None:
    source = domain(name, images_per_class=7)
    counts = {split: len(source.classes(split)) for split in source.splits}
    expected = {"train": 40, "val": 10, "test": 14} if source.role == "id" else {"test": 20}
    assert counts == expected
    labels = every_class(source)
    assert len(set(labels)) == len(labels)
    rows = np.concatenate([source.rows(label) for label in labels])
    assert rows.dtype == np.int64
    assert np.array_equal(rows, np.arange(7 * len(labels)))


@pytest.mark.parametrize("name", NAMES)
def test_a_row_is_the_same_image_in_any_order_and_copy(name: str) -> None:
    first, second = domain(name), domain(name)
    rows = [0, 5, 1003, 7999, 13021]
    forwards = [pixels(first, row) for row in rows]
    backwards = [pixels(second, row) for row in reversed(rows)]
    travelled = pickle.loads(pickle.dumps(second))
    for here, there, row in zip(forwards, reversed(backwards), rows, strict=True):
        assert np.array_equal(here, there)
        assert np.array_equal(here, pixels(travelled, row))
    assert first.fingerprint == second.fingerprint


@pytest.mark.parametrize("name", NAMES)
def test_images_differ_within_and_between_classes_and_by_seed(name: str) -> None:
    source = domain(name)
    rows = [int(source.rows(label)[i]) for label in every_class(source)[::6] for i in range(3)]
    digests = {hashlib.sha256(pixels(source, row).tobytes()).digest() for row in rows}
    assert len(digests) == len(rows)
    other = domain(name, seed=1)
    assert not np.array_equal(pixels(source, 0), pixels(other, 0))
    assert source.fingerprint != other.fingerprint


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [16, 32, 45])
def test_images_are_square_colour_pictures_with_something_on_them(name: str, size: int) -> None:
    source = domain(name, image_size=size)
    for label in every_class(source)[::7]:
        image = source.image(int(source.rows(label)[2]))
        assert image.mode == "RGB"
        assert image.size == (size, size)
        assert np.asarray(image.convert("L")).std() > 2


def test_every_class_of_every_domain_can_be_drawn() -> None:
    for source in pocket_domains():
        for label in every_class(source):
            assert np.asarray(source.image(int(source.rows(label)[-1]))).std() > 0


def nearest_prototype_accuracy(features: np.ndarray, episodes: int, way: int = 5, shot: int = 5) -> float:
    """Accuracy by cosine similarity, `features` [classes, images, dim]."""
    rng = np.random.default_rng(0)
    right = []
    for _ in range(episodes):
        chosen = features[rng.choice(len(features), way, replace=False)]
        chosen = chosen[:, rng.permutation(features.shape[1])]
        prototypes, queries = chosen[:, :shot].mean(axis=1), chosen[:, shot:]
        prototypes = prototypes / np.linalg.norm(prototypes, axis=1, keepdims=True)
        right.append((queries @ prototypes.T).argmax(axis=2) == np.arange(way)[:, None])
    return float(np.mean(right))


def pool(source: Domain, images: int) -> np.ndarray:
    """Images of all test classes, uint8 [classes, images, height, width, 3]."""
    rows = [source.rows(label)[:images] for label in source.classes("test")]
    return np.stack([[pixels(source, int(row)) for row in some] for some in rows])


@pytest.fixture(scope="module")
def backbone() -> ViTModel:
    return ViTModel.from_pretrained(WEIGHTS, add_pooling_layer=False).float().eval()


@pytest.mark.parametrize("name", NAMES)
def test_classes_are_neither_given_away_nor_hopeless(name: str, backbone: ViTModel) -> None:
    images = pool(domain(name), images=20)
    batch = torch.from_numpy(images.reshape(-1, 32, 32, 3)).permute(0, 3, 1, 2).float() / 127.5 - 1
    hues = images.mean(axis=(2, 3)) - images.mean(axis=(2, 3, 4))[..., None]
    with torch.no_grad():
        features = backbone(pixel_values=batch).last_hidden_state[:, 0].numpy()
    by_hue, by_pixels, by_features = (
        nearest_prototype_accuracy(f.reshape(*images.shape[:2], -1), episodes=60)
        for f in (hues, batch.numpy(), features)
    )
    # Chance is 0.2; 60 episodes of 75 queries leave a standard error of about 0.01.
    assert by_hue < 0.26
    assert 0.2 < by_pixels < 0.6
    assert by_pixels + 0.03 < by_features < 0.95


def test_shipped_weights_are_small_safe_and_complete(backbone: ViTModel) -> None:
    files = sorted(path.name for path in WEIGHTS.iterdir())
    assert files == ["config.json", "model.safetensors", "preprocessor_config.json"]
    assert sum(path.stat().st_size for path in WEIGHTS.iterdir()) < 5_000_000
    assert backbone.config.image_size == 32
    assert 800_000 < backbone.num_parameters() < 1_500_000
    assert all(torch.isfinite(p).all() for p in backbone.parameters())


def test_unfit_requests_say_what_fits() -> None:
    with pytest.raises(DataError, match="images of 8 pixels; draw them at 16 or more"):
        pocket_domains(image_size=8)
    with pytest.raises(DataError, match="0 images per class; ask for 1 or more"):
        pocket_domains(images_per_class=0)
    glyphs = pocket_domains(images_per_class=2)[0]
    with pytest.raises(DataError, match="no class 'faces001'; its classes are glyphs000 to glyphs063"):
        glyphs.rows("faces001")
    with pytest.raises(DataError, match="no row 128; its rows are 0 to 127"):
        glyphs.image(128)
    assert glyphs.image_name(3) == "glyphs001/1"
