from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from deep_images import RAMP, in_bits, png
from small_images import noise
from smat.adaptation import FewShotClassifier
from smat.adaptation.inputs import as_labels, as_list, as_weights, squares_of
from smat.domains import GreyRange
from smat.errors import DataError


@pytest.mark.parametrize(
    "missing", [None, float("nan"), np.nan, pd.NA, pd.NaT, np.datetime64("NaT")], ids=lambda value: repr(value)
)
def test_missing_labels_are_refused_by_their_number(missing: Any) -> None:
    for labels in (["a", missing, "b"], pd.Series(["a", missing, "b"], dtype=object)):
        with pytest.raises(DataError, match="label 1 of 3 is missing"):
            as_labels(labels, 3)
    with pytest.raises(DataError, match="label 1 of 2 is missing"):
        as_labels(np.array([0, np.nan]), 2)
    with pytest.raises(DataError, match="label 1 of 2 is missing"):
        as_labels(pd.Series(["a", pd.NA], dtype="string"), 2)


def test_an_image_of_each_class_is_enough(recwarn: pytest.WarningsRecorder) -> None:
    assert as_labels([f"class {k}" for k in range(25)], 25).tolist()[0] == "class 0"
    assert not recwarn.list


@pytest.mark.parametrize(
    ("labels", "match"),
    [
        (["a", 1], "several types: label 0 of 2 is 'a', label 1 of 2 is 1"),
        ([0, b"a"], "several types"),
        ([["a"], ["b"]], r"label 0 of 2 is a list, \['a'\]; give one string or integer per image"),
        (["a", ("b", "c")], "label 1 of 2 is a tuple"),
        ([np.array([1]), np.array([2])], "label 0 of 2 is a ndarray"),
        ("ab", "y is one label, 'ab'"),
        (["a"], "X has 2 images and y 1 labels"),
    ],
)
def test_what_cannot_be_labels(labels: Any, match: str) -> None:
    with pytest.raises(DataError, match=match):
        as_labels(labels, 2)


@pytest.mark.parametrize(
    "labels",
    [
        ["a", "b"],
        (0, 1),
        np.array(["a", "b"]),
        [np.str_("a"), "b"],
        [np.int64(1), 2],
        [True, False],
        pd.Series([1, 2]),
        pd.Series(["a", "b"], dtype="category"),
        torch.tensor([0, 1]),
        iter(["a", "b"]),
    ],
)
def test_labels(labels: Any) -> None:
    assert len(set(as_labels(labels, 2).tolist())) == 2


def classifier(**settings: Any) -> FewShotClassifier:
    return FewShotClassifier(device="cpu", precision="32-true", head="prototype", **settings)


def closed(path: Path, load: bool) -> Image.Image:
    noise(0).save(path)
    image = Image.open(path)
    if load:
        image.load()
    image.close()
    return image


@pytest.mark.parametrize("load", [False, True])
def test_closed_images_are_refused_by_their_number(tmp_path: Path, load: bool) -> None:
    images = [noise(0), noise(1), closed(tmp_path / "a.png", load), noise(3)]
    with pytest.raises(
        DataError, match=r"^image 2 of 4 cannot be used: it is closed; load it \(image.load\(\)\) within"
    ):
        classifier().fit(images, [0, 0, 1, 1])


@pytest.mark.parametrize("image", [None, float("nan"), 5, [[0, 1]], object()])
def test_what_is_no_image_is_refused_by_its_number(image: Any) -> None:
    with pytest.raises(DataError, match=r"image 1 of 2 cannot be used: it is of type \w+; an image is a path"):
        classifier().fit([noise(0), image], [0, 1])


def test_deep_images_are_on_one_range() -> None:
    dark, bright = (in_bits(12, RAMP / most) for most in (2550, 255))
    with pytest.raises(DataError, match="image 0 of 2 cannot be used: its values are"):
        classifier().fit([dark, bright], ["dark", "bright"])
    for option in ((0, 4095), "auto"):
        fitted = classifier(range=option).fit([dark, png(bright)], ["dark", "bright"])
        assert fitted.range_ == GreyRange(0, 4095)
        assert fitted.predict([dark, png(dark), bright]).tolist() == ["dark", "dark", "bright"]
    with pytest.raises(DataError, match="it has 20 x 16 pixels"):
        classifier(max_pixels=319).fit([noise(0), noise(1)], [0, 1])


PICTURE = np.arange(8 * 10 * 3, dtype=np.uint8).reshape(8, 10, 3)


@pytest.mark.parametrize(
    "X",
    [
        torch.from_numpy(PICTURE).permute(2, 0, 1)[None],
        [torch.from_numpy(PICTURE).permute(2, 0, 1)],
        torch.from_numpy(PICTURE).permute(2, 0, 1)[None].float() / 255,
        torch.from_numpy(PICTURE)[None],
        pd.DataFrame({"image": [PICTURE]}),
        pd.Series([PICTURE]),
    ],
    ids=["tensor", "list of tensors", "floats", "channels last", "data frame", "series"],
)
def test_images_of_other_libraries(X: Any) -> None:
    (square,) = squares_of(as_list(X), 8, None, 1000)
    (expected,) = squares_of([PICTURE], 8, None, 1000)
    assert torch.equal(square, expected)


def test_undecoded_images_of_datasets(tmp_path: Path) -> None:
    Image.fromarray(PICTURE).save(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    given = [{"bytes": content, "path": None}, {"bytes": None, "path": str(tmp_path / "a.png")}]
    one, two = squares_of(as_list(given), 8, None, 1000)
    assert torch.equal(one, two)
    with pytest.raises(DataError, match="an image has neither bytes nor a path"):
        as_list([{"bytes": None, "path": None}])


def test_web_addresses_and_tables_are_refused() -> None:
    with pytest.raises(DataError, match=r"'https://example\.org/a\.jpg' is a web address; download the image first"):
        as_list(["https://example.org/a.jpg"])
    with pytest.raises(DataError, match="X is a table of 2 columns; give the one that has the images"):
        as_list(pd.DataFrame({"a": [1], "b": [2]}))


@pytest.mark.parametrize(
    ("weights", "message"),
    [([1.0], "shape"), ([1.0, -1.0], "Negative"), ([1.0, np.nan], "NaN"), ([0, 0], "all weights .* are zero")],
)
def test_weights_that_cannot_be(weights: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        as_weights(weights, 2)
