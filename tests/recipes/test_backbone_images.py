"""`--image-size`, `--mean` and `--std` of backbones, in every command, and a pool around any image model."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from smat.adaptation import FewShotClassifier
from smat.cli import main
from tiny_checkpoints import save

OPTIONS = ["--image-size", "64", "--mean", "0.5", "--std", "[0.2,0.25,0.3]"]
ONE_EPISODE = ["--episodes", "1", "--way", "2", "--shot", "1", "--query", "1", "--workers", "0"]


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """A backbone, and three images of each of two classes."""
    save("swin_classifier", tmp_path / "swin")
    for name, colour in (("dark", 120), ("light", 126)):
        for i in range(3):
            noise = np.random.default_rng(i).integers(-20, 21, (40, 40, 3))
            (tmp_path / "photos" / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray((noise + colour).astype(np.uint8)).save(tmp_path / "photos" / name / f"{i}.png")
    return tmp_path


def predicted(folders: Path, model: Path, *options: str) -> str:
    output = folders / "labels.csv"
    photos = str(folders / "photos")
    main(["predict", str(model), "--support", photos, "--query", photos, "--output", str(output), *options])
    return output.read_text()


def test_predict_and_the_classifier_take_them(folders: Path) -> None:
    swin, files = folders / "swin", sorted((folders / "photos").rglob("*.png"))
    table = predicted(folders, swin, *OPTIONS, "--device", "cpu")
    assert table != predicted(folders, swin, "--device", "cpu")
    classifier = FewShotClassifier(swin, device="cpu", image_size=64, mean=0.5, std=(0.2, 0.25, 0.3))
    found = classifier.fit(files, [file.parent.name for file in files]).predict_proba(files)
    assert [line.split(",")[3] for line in table.splitlines()[1:]] == [f"{p:.6f}" for p in found[:, 0]]


def test_a_pool_is_trained_with_them_and_keeps_them(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, photos = folders / "run", str(folders / "photos")
    settings = folders / "run.yaml"
    shape, rate = {"way": 2, "shot": 1, "query": 1}, {"delta": {"lr": 1e-4}}
    tuning = {"tasks": 2, "meta_batch": 2, "validate_every": 0, "optimizers": rate}
    run = {"backbone": str(folders / "swin"), "domains": ["pocket:glyphs"], "accelerator": "cpu", "workers": 0}
    settings.write_text(yaml.safe_dump(run | {"episodes": shape, "pool": {"experts": 2}, "tuning": tuning}))
    main(["train", "--config", str(settings), "--out", str(out), *OPTIONS])
    assert yaml.safe_load((out / "config.yaml").read_text())["std"] == [0.2, 0.25, 0.3]
    backbone = json.loads((out / "best" / "config.json").read_text())["backbone"]
    assert (backbone["image_size"], backbone["mean"], backbone["feature"]) == (64, [0.5] * 3, "pooler")
    assert predicted(folders, out / "best") == predicted(folders, out / "best", *OPTIONS)
    main(["evaluate", str(out / "best"), photos, *ONE_EPISODE, *OPTIONS])
    capsys.readouterr()
    with pytest.raises(SystemExit, match="2"):
        main(["evaluate", str(out / "best"), photos, *ONE_EPISODE, "--image-size", "32"])
    assert "image_size is 32, but" in " ".join(capsys.readouterr().err.split())


def test_evaluate_takes_them_for_a_backbone(folders: Path) -> None:
    report = folders / "r.json"
    evaluate = ["evaluate", str(folders / "swin"), str(folders / "photos")]
    main([*evaluate, *ONE_EPISODE, *OPTIONS, "--output", str(report)])
    settings = json.loads(report.read_text())["config"]
    assert (settings["image_size"], settings["mean"], settings["std"]) == (64, [0.5] * 3, [0.2, 0.25, 0.3])
