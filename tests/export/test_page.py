"""The page in a browser: the same answers as in Python, and nothing leaves it."""

import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from browser import Page, browsing, need_browser
from smat.adaptation import FewShotClassifier
from smat.export import deployed_from, onnx_bytes
from smat.export.web import write_web
from tiny_images import labelled, make_pool


@pytest.fixture(scope="module")
def classifier() -> FewShotClassifier:
    return FewShotClassifier(make_pool(0), device="cpu", precision="32-true", head="ridge").fit(*labelled(3))


@pytest.fixture(scope="module")
def folder(classifier: FewShotClassifier, tmp_path_factory: pytest.TempPathFactory) -> Path:
    need_browser()
    out = tmp_path_factory.mktemp("page") / "colours"
    deployed, about = deployed_from(classifier)
    write_web(out, onnx_bytes(deployed, about), {**about, "thresholds": {"0.05": -1e9, "0.2": 1e9}, "reject": 0.05})
    return out


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    need_browser()
    with browsing() as found:
        yield found


@pytest.fixture(scope="module")
def page(folder: Path, browser: Any) -> Page:
    """As by a double click."""
    return Page(browser, (folder / "index.html").as_uri())


def saved(folder: Path) -> list[Path]:
    """One picture, as many kinds of files that browsers read store it."""
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (5, 7, 3)).astype(np.uint8)).resize((61, 43))
    clear = picture.copy()
    clear.putalpha(Image.linear_gradient("L").resize(clear.size))
    turned = Image.Exif()
    turned[0x0112] = 6
    deep = (np.asarray(picture.convert("L")).astype(np.uint16) * 257).clip(0, 65535)
    kinds: dict[str, tuple[Image.Image, dict[str, Any]]] = {
        "a.png": (picture, {}),
        "b.jpg": (picture, {"quality": 90}),
        "c.webp": (picture, {}),
        "d.gif": (picture, {}),
        "e-grey.jpg": (picture.convert("L"), {}),
        "f-clear.png": (clear, {}),
        "g-palette.png": (picture.convert("P"), {"transparency": 3}),
        "h-turned.jpg": (picture, {"exif": turned}),
        "i-turned.webp": (picture, {"exif": turned, "lossless": True}),
        "j-deep.png": (Image.fromarray(deep), {}),
        "k-cmyk.jpg": (picture.convert("CMYK"), {}),
        "l,ü.bmp": (picture, {}),
    }
    for name, (image, options) in kinds.items():
        image.save(folder / name, **options)
    return sorted(folder.iterdir())


def test_all_kinds_of_pictures_have_the_probabilities_of_python(
    page: Page, classifier: FewShotClassifier, tmp_path: Path
) -> None:
    files = saved(tmp_path)
    header, *rows = page.classify(files)
    assert header == ["file", "label", "probability", "p:brick", "p:grass", "p:sky"]
    assert [row[0] for row in rows] == [file.name for file in files]
    found = np.array([row[3:] for row in rows], dtype=float)
    np.testing.assert_allclose(found, classifier.predict_proba(files), atol=0.01)
    assert page.page.locator("#list img").first.get_attribute("alt") == "Thumbnail of a.png"


def test_what_is_no_picture_is_said(page: Page, tmp_path: Path) -> None:
    names = ["dark.png", "broken.jpg", "notes.txt"]
    Image.fromarray(np.full((9, 9), 1000, dtype=np.uint16)).save(tmp_path / "dark.png")
    for name in names[1:]:
        (tmp_path / name).write_bytes(b"nothing")
    page.page.click("#clear")
    page.page.set_input_files("#files", [str(tmp_path / name) for name in names])
    page.page.locator("#list > li").nth(1).wait_for()
    assert page.page.text_content("#note") == "1 of 3 files are no pictures, and were left out"
    texts = page.page.locator("#list .label").all_text_contents()
    assert "cannot read it as a picture" in texts[0]
    assert "not known which value is white" in texts[1]
    assert page.page.text_content("#summary") == "not classified: 2"


def test_the_slider_goes_from_never_over_the_false_alarm_rates(page: Page, tmp_path: Path) -> None:
    Image.fromarray(labelled(1)[0][0]).save(tmp_path / "sky.png")
    page.page.click("#clear")
    rate, label = page.page.locator("#rate"), page.page.locator("#list .label")
    assert rate.input_value() == "1"
    assert page.classify([tmp_path / "sky.png"])[1][1] == "sky"
    rate.focus()
    rate.press("ArrowRight")
    assert label.text_content() == "unknown"
    assert "20 %" in str(rate.get_attribute("aria-valuetext"))
    rate.press("Home")
    assert (label.text_content(), page.page.text_content("#rate-text")) == ("sky", "never")


def test_it_runs_from_a_web_server_and_asks_for_nothing_else(folder: Path, browser: Any, tmp_path: Path) -> None:
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    handler.log_message = lambda *_: None  # type: ignore[attr-defined]
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        address = f"http://127.0.0.1:{server.server_port}/"
        served = Page(browser, f"{address}index.html")
        Image.fromarray(labelled(1)[0][0]).save(tmp_path / "sky.png")
        served.classify([tmp_path / "sky.png"])
        assert not [other for other in served.requests if not other.startswith((address, "blob:", "data:"))]
        blocked = served.page.evaluate("fetch('http://127.0.0.1:9/', {method: 'POST'}).catch((error) => error.name)")
        assert blocked == "TypeError"
    finally:
        server.shutdown()
