"""Making a classifier of folders of images, and changing it, from the command line."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from saved_photos import save_photos
from smat.adaptation import FewShotClassifier
from smat.cli import main
from smat.errors import CheckpointError, ConfigError, DataError
from smat.recipes.fit import fit, grow
from smat.recipes.photos import FitOptions
from smat.recipes.predict import predict


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("photos")
    save_photos(root)
    for i in range(2):
        file = root / "more" / "red" / f"{i}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(50 + i).integers(-20, 21, (24, 30, 3))
        Image.fromarray(np.clip(noise + np.array([200, 20, 20]), 0, 255).astype(np.uint8)).save(file)
    return root


def made(root: Path, out: Path, **settings: Any) -> Any:
    given = {"support": str(root / "support"), "device": "cpu", "fit_options": FitOptions(head="lda")} | settings
    return fit(str(root / "pool"), out=str(out), **given)


def test_the_folder_labels_images_without_the_others(root: Path, tmp_path: Path, capsys: Any) -> None:
    found = made(root, tmp_path / "colours", thumbnails=True)
    assert found.images == {"blue": 3, "green": 3}
    assert found.accuracy.held == 6
    assert found.network == str(root / "pool")
    shown = capsys.readouterr().out
    assert "expected accuracy:" in shown
    assert "smat predict" in shown
    result = predict(str(found.folder), query=str(root / "query"), output=str(tmp_path / "labels.csv"), device="cpu")
    assert result.accuracy == 1
    assert (tmp_path / "colours" / "thumbnails" / "5.jpg").is_file()


def test_classes_come_and_go(root: Path, tmp_path: Path) -> None:
    made(root, tmp_path / "one")
    found = grow(str(tmp_path / "one"), add=str(root / "more"), out=str(tmp_path / "two"), device="cpu")
    assert found.images == {"blue": 3, "green": 3, "red": 2}
    assert grow(str(tmp_path / "two"), rename="red", to="a red", device="cpu").images == {
        "a red": 2,
        "blue": 3,
        "green": 3,
    }
    assert grow(str(tmp_path / "two"), remove="green", device="cpu").images == {"a red": 2, "blue": 3}
    assert FewShotClassifier.load(tmp_path / "one", device="cpu").classes_.tolist() == ["blue", "green"]
    red = FewShotClassifier.load(tmp_path / "two", device="cpu").predict([Image.new("RGB", (30, 24), (210, 20, 20))])
    assert red.tolist() == ["a red"]


def test_nothing_is_known_of_classes_with_one_image(root: Path, tmp_path: Path, capsys: Any) -> None:
    for name in ("blue", "green"):
        file = tmp_path / "support" / name / "0.png"
        file.parent.mkdir(parents=True)
        file.symlink_to(root / "support" / name / "0.png")
    found = made(root, tmp_path / "out", support=str(tmp_path / "support"))
    assert found.accuracy is None
    assert "expected accuracy: not known" in capsys.readouterr().out


def test_after_fine_tuning_nothing_is_said_but_for_reject(root: Path, tmp_path: Path) -> None:
    options = FitOptions(adapt="full", learning_rate=1e-3, steps=1)
    assert made(root, tmp_path / "one", fit_options=options).accuracy is None
    again = made(root, tmp_path / "two", fit_options=options, reject=0.2)
    assert again.accuracy is not None
    loaded = FewShotClassifier.load(tmp_path / "two", device="cpu")
    assert loaded.assessment_ is not None
    assert loaded.assessment_.accuracy == again.accuracy
    with pytest.raises(ConfigError, match="fit anew, or set reject to None first"):
        loaded.remove(images=[0])
    loaded.set_params(reject=None).remove(images=[0])
    assert loaded.assessment_ is None


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({}, ConfigError, "there is nothing to do: give --add, --remove, or --rename and --to"),
        ({"rename": "blue"}, ConfigError, "give --rename and --to together"),
        ({"remove": "pink"}, DataError, "there is no class 'pink'; the classes are blue, green"),
        ({"remove": "blue"}, DataError, "fewer than two classes would be left"),
        ({"rename": "blue", "to": "green"}, DataError, "there is a class 'green' already"),
        ({"add": "nowhere"}, DataError, "nowhere"),
    ],
)
def test_what_cannot_be_changes_nothing(
    root: Path, tmp_path: Path, settings: dict[str, Any], error: type[Exception], message: str
) -> None:
    made(root, tmp_path / "c")
    before = (tmp_path / "c" / "classifier.json").read_text()
    with pytest.raises(error, match=message):
        grow(str(tmp_path / "c"), device="cpu", **settings)
    assert (tmp_path / "c" / "classifier.json").read_text() == before


def test_a_folder_of_photos_is_not_overwritten(root: Path) -> None:
    with pytest.raises(ConfigError, match=r"has other files in it; give an empty or a new folder \(--out\)"):
        made(root, root / "query")
    with pytest.raises(CheckpointError, match="holds no classifier"):
        grow(str(root / "query"), remove="blue")


def test_on_the_command_line(root: Path, tmp_path: Path) -> None:
    out, report = str(tmp_path / "c"), str(tmp_path / "r.json")
    arguments = ["fit", str(root / "pool"), "--support", str(root / "support"), "--out", out, "--head", "lda"]
    main([*arguments, "--reject", "0.2", "--json", report])
    said = json.loads(Path(report).read_text())
    assert said["complete"]
    assert said["result"]["images"] == {"blue": 3, "green": 3}
    with pytest.raises(SystemExit, match="2"):
        main([*arguments, "--reject", "2"])


def test_without_a_network_it_says_how_to_get_one(root: Path, tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("smat.adaptation.installed.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="2"):
        main(["fit", "--support", str(root / "support"), "--out", str(tmp_path / "c")])
    assert "--download" in capsys.readouterr().err
