"""A page of an exported classifier in a headless Chromium."""

import csv
import io
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from smat.errors import ConfigError
from smat.export.web.runtime import runtime_files

CHROMIUM = shutil.which("chromium")
ARGUMENTS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking")


def need_browser() -> None:
    """Skip a test where there is no browser to test with, or onnxruntime-web cannot be fetched."""
    pytest.importorskip("playwright")
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed")
    try:
        runtime_files()
    except ConfigError as error:
        pytest.skip(str(error))


@contextmanager
def browsing(*arguments: str) -> Iterator[Any]:
    """A browser; arguments are added to Chromium's."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*ARGUMENTS, *arguments])
        yield browser
        browser.close()


class Page:
    """A page that is open and ready; `requests` are the addresses that it asked for."""

    def __init__(self, browser: Any, address: str) -> None:
        self.requests: list[str] = []
        self.page = browser.new_page(viewport={"width": 1200, "height": 900})
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(address)
        self.page.locator("#status").filter(has_text=re.compile("^Ready|cannot")).wait_for(timeout=60_000)
        assert "Ready" in self.page.text_content("#status")

    def classify(self, files: Sequence[Path]) -> list[list[str]]:
        """Choose files, and the table that is then downloaded; rows of others are on the page already."""
        rows = self.page.locator("#list > li")
        before = rows.count()
        self.page.set_input_files("#files", [str(file) for file in files])
        rows.nth(before + len(files) - 1).wait_for(timeout=600_000, state="attached")
        with self.page.expect_download() as download:
            self.page.click("#download")
        text = Path(download.value.path()).read_text(encoding="utf-8-sig")
        return list(csv.reader(io.StringIO(text)))
