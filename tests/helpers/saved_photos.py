"""Photos of two colours in folders, and a classifier of them that was saved."""

from pathlib import Path

import numpy as np
from PIL import Image

from smat.adaptation import FewShotClassifier
from tiny_checkpoint import save_checkpoint

COLOURS = {"blue": (20, 20, 200), "green": (20, 200, 20)}


def save_photos(root: Path, *, thumbnails: bool = False) -> Path:
    """Write three photos of each colour to `support`, as many to `query`, and a checkpoint to `pool`.

    Returns:
        The folder of a classifier of the labelled photos.
    """
    for number, (name, colour) in enumerate(COLOURS.items()):
        for i in range(6):
            path = root / ("support" if i < 3 else "query") / name / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            noise = np.random.default_rng(10 * number + i).integers(-20, 21, (24, 30, 3))
            Image.fromarray(np.clip(noise + colour, 0, 255).astype(np.uint8)).save(path)
    checkpoint, support = save_checkpoint(root / "pool"), sorted((root / "support").rglob("*.png"))
    classifier = FewShotClassifier(checkpoint, device="cpu", head="lda")
    classifier.fit(support, [file.parent.name for file in support])
    classifier.save(root / "colours", thumbnails=thumbnails)
    return root / "colours"
