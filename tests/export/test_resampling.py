"""The page's cutting and resizing, run by Node.js, beside Pillow's."""

import json
import shutil
import subprocess
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from smat.domains import canvas

NODE = shutil.which("node")
pytestmark = pytest.mark.skipif(NODE is None, reason="Node.js is not installed")

RESAMPLE = files("smat.export.web") / "page" / "resample.js"
RUN = """
const fs = require("fs");
const [file, cases] = [process.argv[2], JSON.parse(process.argv[3])];
const all = fs.readFileSync(file);
let at = 0;
const found = cases.map(([width, height, side]) => {
  const values = all.subarray(at, (at += width * height * 4));
  const square = new Square(width, height, side);
  for (let top = square.first; top < square.last; top += 17) {
    square.add(top, values.subarray(top * width * 4, Math.min(top + 17, square.last) * width * 4));
  }
  return square.values();
});
fs.writeFileSync(file, Buffer.concat(found));
"""
# width, height, side of the square
CASES = [
    (64, 64, 64),
    (64, 64, 73),
    (640, 480, 96),
    (481, 641, 64),
    (19, 77, 34),
    (9, 900, 12),
    (300, 299, 8),
    (9, 8, 1),
]


def test_squares_are_pillows_to_the_bit(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    pictures = []
    for width, height, _ in CASES:
        smooth = Image.fromarray(generator.integers(0, 256, (7, 9, 3)).astype(np.uint8)).resize((width, height))
        noise = generator.integers(-60, 61, (height, width, 3))
        pictures.append(Image.fromarray((np.asarray(smooth) + noise).clip(0, 255).astype(np.uint8)))
    script, values = tmp_path / "run.js", tmp_path / "values"
    script.write_text(RESAMPLE.read_text(encoding="utf-8") + RUN, encoding="utf-8")
    values.write_bytes(b"".join(np.asarray(picture.convert("RGBA")).tobytes() for picture in pictures))
    subprocess.run([str(NODE), str(script), str(values), json.dumps(CASES)], check=True, timeout=60)
    expected = [canvas(p, side).permute(1, 2, 0).numpy() for p, (_, _, side) in zip(pictures, CASES, strict=True)]
    assert values.read_bytes() == b"".join(square.tobytes() for square in expected)
