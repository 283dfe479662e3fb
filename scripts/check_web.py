"""Whether the web page says what Python says: real photos in a headless Chromium, for each backbone.

python scripts/check_web.py [BACKBONE ...]

Fits a classifier of 5 classes of flowers of `../shared/data`, writes its page, gives it 200 other photos as they are
stored and as PNG of odd sizes, and prints how many labels are alike, the largest difference of probabilities, the size,
and the time per image.
"""

import argparse
import io
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet
from PIL import Image

from smat.adaptation import FewShotClassifier
from smat.export.web import export_web

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
sys.path.insert(0, str(ROOT / "tests" / "helpers"))

from browser import Page, browsing  # noqa: E402  # pyright: ignore[reportMissingImports]

BACKBONES = ["mobilenet_v2", "vit_tiny_8_64", "dinov2_small_mended"]
WAY, SHOT, QUERY = 5, 5, 40


def photos(domain: str, folder: Path) -> tuple[list[Path], list[str], list[Path]]:
    """Labelled files, their labels, and others: every second one as PNG of another size."""
    table = parquet.read_table(SHARED / "data" / f"{domain}.parquet")
    labels = np.array(table["label"].to_pylist())
    classes = [label for label in np.unique(labels) if (labels == label).sum() >= SHOT + QUERY][:WAY]
    generator = np.random.default_rng(0)
    support, names, query = [], [], []
    for label in classes:
        for place, row in enumerate((labels == label).nonzero()[0][: SHOT + QUERY]):
            image = table["image"][int(row)].as_py()
            content = image["bytes"] if isinstance(image, dict) else image
            stored = Image.open(io.BytesIO(content))
            file = folder / f"{label}-{place:03}.{str(stored.format).lower()}"
            if place % 2 and place >= SHOT:
                file = file.with_suffix(".png")
                stored.convert("RGB").resize(tuple(generator.integers(90, 400, 2))).save(file)
            else:
                file.write_bytes(content)
            if place < SHOT:
                support.append(file)
                names.append(f"class {label}")
            else:
                query.append(file)
    return support, names, query


def check(backbone: str, domain: str) -> None:
    """Print a line about a backbone."""
    with tempfile.TemporaryDirectory() as scratch, browsing() as browser:
        folder = Path(scratch)
        support, names, query = photos(domain, folder)
        classifier = FewShotClassifier(str(SHARED / "backbone" / backbone), device="cpu", precision="32-true")
        export_web(classifier.fit(support, names), folder / "page")
        page = Page(browser, (folder / "page" / "index.html").as_uri())
        start = time.perf_counter()
        _, *rows = page.classify(query)
        seconds = time.perf_counter() - start
        found = np.array([row[3:] for row in rows], dtype=float)
        expected = classifier.predict_proba(query)
        alike = int((found.argmax(1) == expected.argmax(1)).sum())
        size = sum(file.stat().st_size for file in (folder / "page").rglob("*") if file.is_file())
        local = ((folder / "page").as_uri(), "blob:", "data:")
        foreign = [address for address in page.requests if not address.startswith(local)]
        print(
            f"{backbone}: {alike} of {len(query)} labels alike, largest difference "
            f"{np.abs(found - expected).max():.1g}, {size / 1e6:.0f} MB, {1000 * seconds / len(query):.0f} ms per "
            f"image, {len(foreign)} foreign requests",
            flush=True,
        )


def main() -> None:
    """Check each backbone."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("backbones", nargs="*", default=BACKBONES)
    parser.add_argument("--domain", default="flowers", help="collection in ../shared/data")
    options = parser.parse_args()
    for backbone in options.backbones:
        check(backbone, options.domain)


if __name__ == "__main__":
    main()
