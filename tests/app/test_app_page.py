"""The page in a browser."""

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from drawings import PlainWriters, draw, only_pocket

CHROMIUM = Path("/usr/bin/chromium")
pytestmark = [
    pytest.mark.skipif(not CHROMIUM.exists(), reason=f"needs a browser at {CHROMIUM}"),
    *(
        pytest.mark.skipif(importlib.util.find_spec(name) is None, reason=f"needs {name}")
        for name in ("gradio", "playwright")
    ),
]


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    from smat.app import Server

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    found = Server(only_pocket(), PlainWriters())
    yield found
    found.end()
    assert not found.sessions.root.exists()


@pytest.fixture
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        found = play.chromium.launch(executable_path=str(CHROMIUM), args=arguments)
        yield found
        found.close()


def test_from_photos_to_a_classifier(server: Any, browser: Any, tmp_path: Path) -> None:
    draw(tmp_path / "plants", {"fern": 0, "moss": 1, "palm": 2}, 4)
    draw(tmp_path / "new", {"fern": 0}, 1, start=20)
    page, elsewhere = browser.new_page(), []
    here = (server.url.rstrip("/"), "data:", "blob:")
    page.on("request", lambda request: None if request.url.startswith(here) else elsewhere.append(request.url))
    page.goto(server.url)
    page.locator("input.folder").first.set_input_files(tmp_path / "plants")
    page.get_by_text("4 photos").nth(2).wait_for()

    page.locator(".photo").first.click()
    page.get_by_role("button", name="Remove", exact=True).first.click()
    page.get_by_text("3 photos").wait_for()
    name = page.get_by_label("Name of class moss")
    name.fill("lichen")
    name.press("Enter")
    page.get_by_label("Name of class lichen").wait_for()
    (tmp_path / "notes.txt").write_text("notes")
    page.locator("input.files").first.set_input_files(tmp_path / "notes.txt")
    page.get_by_text("1 file was left out").wait_for()

    page.get_by_role("tab", name="2 Train").click()
    page.get_by_role("button", name="Train", exact=True).click()
    page.get_by_text("Expect it to be right for").wait_for()
    page.get_by_role("tab", name="3 Try").click()
    page.locator("input.folder").nth(1).set_input_files(tmp_path / "new")
    page.locator(".answer .label", has_text="fern").wait_for()
    page.get_by_role("tab", name="4 Keep").click()
    page.get_by_role("button", name="Classifier (zip)").click()
    with page.expect_download() as download:
        page.locator(".file-preview a").click()
    assert download.value.suggested_filename == "classifier.zip"

    other = browser.new_page()
    other.goto(server.url)
    other.get_by_text("No photos yet").first.wait_for()
    assert len([*server.sessions.root.glob("session-*")]) == 2
    archive = tmp_path / "classifier.zip"
    download.value.save_as(archive)
    page.close()
    other.get_by_role("tab", name="4 Keep").click()
    other.locator("input.files").last.set_input_files(archive)
    other.get_by_text("Opened.").wait_for()
    other.get_by_role("tab", name="1 Photos").click()
    other.get_by_label("Name of class lichen").wait_for()
    assert len([*server.sessions.root.glob("session-*")]) == 1
    assert elsewhere == []
