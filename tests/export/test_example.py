"""The example of docs/export.md, in a process without smat, says what the classifier says."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from smat.adaptation import FewShotClassifier
from smat.export import deployed_from, onnx_bytes
from tiny_checkpoint import save_checkpoint
from tiny_images import image, labelled

PAGE = Path(__file__).resolve().parents[2] / "docs" / "export.md"


@pytest.fixture
def photos(tmp_path: Path) -> list[str]:
    """A large JPEG on its side, a transparent PNG, a palette, a grey one, one that is narrow, one of odd sides."""
    large = Image.fromarray(image("brick", 1, (301, 400)))
    exif = large.getexif()
    exif[0x0112] = 6
    large.save(tmp_path / "large.jpg", exif=exif)
    clear = np.dstack([image("sky", 2, (31, 40)), np.full((31, 40), 120, np.uint8)])
    Image.fromarray(clear).save(tmp_path / "clear.png")
    Image.fromarray(image("grass", 3)).quantize(16).save(tmp_path / "palette.png")
    Image.fromarray(image("sky", 4)).convert("L").save(tmp_path / "grey.png")
    Image.fromarray(image("sky", 5, (3, 90))).save(tmp_path / "narrow.webp", lossless=True)
    Image.fromarray(image("grass", 6, (57, 44))).save(tmp_path / "odd.bmp")
    return sorted(path.name for path in tmp_path.iterdir())


def test_the_example(photos: list[str], tmp_path: Path) -> None:
    checkpoint = save_checkpoint(tmp_path / "checkpoint")
    classifier = FewShotClassifier(checkpoint, device="cpu", precision="32-true", head="lda").fit(*labelled(3))
    (tmp_path / "birds.onnx").write_bytes(onnx_bytes(*deployed_from(classifier)))
    code = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)[0]
    code += 'assert not [name for name in sys.modules if name.partition(".")[0] in ("smat", "torch")]\n'
    done = subprocess.run(
        [sys.executable, "-c", code, *photos], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    answers = classifier.answer([tmp_path / name for name in photos])
    best = zip(photos, answers.labels, answers.probabilities.max(axis=1), strict=True)
    assert done.stdout.splitlines() == [f"{name} {label} {probability:.3f}" for name, label, probability in best]
