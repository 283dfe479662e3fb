"""The folder of the page: what is in it, and what is said where it cannot be made."""

import base64
import gzip
import json
import re
import stat
from pathlib import Path

import onnxruntime
import pytest

from smat.adaptation import FewShotClassifier
from smat.errors import ConfigError
from smat.export.web import export_web, runtime, write_web
from stand_in_runtime import stand_in_runtime
from tiny_images import labelled, make_pool


@pytest.fixture(scope="module")
def classifier() -> FewShotClassifier:
    return FewShotClassifier(make_pool(0), device="cpu", precision="32-true", head="ridge").fit(*labelled(3))


@pytest.fixture(scope="module")
def page(classifier: FewShotClassifier, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    export_web(classifier, folder / "colours", runtime=stand_in_runtime(folder / "runtime"))
    return folder / "colours"


def facts(page: Path) -> dict:
    return json.loads((page / "smat-page.js").read_text().removeprefix("const about = ").removesuffix(";\n"))


def test_the_page_has_what_it_needs_to_know(page: Path, classifier: FewShotClassifier) -> None:
    found = facts(page)
    assert (found["name"], found["classes"]) == ("colours", classifier.classes_.tolist())
    assert found["recipe"]["side"] == 9
    assert sum(found["check"]) == pytest.approx(1)
    for name, count in found["parts"].items():
        assert all((page / "parts" / f"{name}-{number}.js").is_file() for number in range(count))


def packed(page: Path, name: str) -> bytes:
    (text,) = re.findall(rf'part\("{name}", "(.*)"\);\n', (page / "parts" / f"{name}-0.js").read_text())
    return gzip.decompress(base64.b64decode(text))


def test_the_network_lies_in_scripts(page: Path) -> None:
    session = onnxruntime.InferenceSession(packed(page, "model"))
    assert [given.name for given in session.get_inputs()] == ["pictures"]


def test_the_code_of_the_worker_begins_with_the_runtime(page: Path) -> None:
    code = packed(page, "wasm-code").decode()
    assert code.startswith("// ort.wasm.min.js\n")
    assert "class Square" in code


def test_the_licence_of_the_runtime_lies_beside_it(page: Path) -> None:
    assert "Microsoft" in (page / "LICENSE-onnxruntime-web.txt").read_text()


def test_no_file_names_another_host(page: Path) -> None:
    for file in page.glob("*.*"):
        assert not re.search(r"https?://|//cdn|\bfetch\(|XMLHttpRequest|sendBeacon|WebSocket", file.read_text()), file
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', (page / "index.html").read_text())
    assert policy
    assert {"default-src 'none'", "connect-src 'none'"} <= {*policy[1].split("; ")}


def test_files_can_be_read_by_a_web_server(page: Path) -> None:
    assert len({stat.S_IMODE(file.stat().st_mode) for file in page.rglob("*.*")}) == 1


def test_an_earlier_page_is_replaced_and_no_other_folder(page: Path, tmp_path: Path) -> None:
    given, model = stand_in_runtime(tmp_path / "runtime"), packed(page, "model")
    with pytest.raises(ConfigError, match="has other files in it"):
        write_web(tmp_path, model, facts(page), runtime=given)
    write_web(tmp_path / "page", model, facts(page), name="A name", runtime=given)
    (tmp_path / "page" / "old").write_text("")
    write_web(tmp_path / "page", model, facts(page), name="A name", runtime=given)
    assert not (tmp_path / "page" / "old").exists()
    assert facts(tmp_path / "page")["name"] == "A name"


def test_a_runtime_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--runtime\) has no package.json.*npm pack onnxruntime-web@"):
        runtime.runtime_files(tmp_path)
    with pytest.raises(ConfigError, match=r"is onnxruntime-web 1.2.3; onnxruntime-web .* is needed"):
        runtime.runtime_files(stand_in_runtime(tmp_path / "other", "1.2.3"))
    (stand_in_runtime(tmp_path / "less") / "dist" / "ort.wasm.min.js").unlink()
    with pytest.raises(ConfigError, match="is not whole"):
        runtime.runtime_files(tmp_path / "less")
    (tmp_path / "package.tgz").write_bytes(b"damaged")
    with pytest.raises(ConfigError, match="its checksum is another"):
        runtime.runtime_files(tmp_path / "package.tgz")


def npm(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """A program of that name, and an empty cache."""
    (folder / "npm").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "npm").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))


def test_what_npm_cannot_fetch_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    npm(tmp_path, monkeypatch, "echo no network >&2; exit 1")
    with pytest.raises(ConfigError, match=r"npm cannot fetch onnxruntime-web@.*: no network.*--runtime"):
        runtime.runtime_files()
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    with pytest.raises(ConfigError, match=r"there is no npm to fetch it: install Node.js, or .*--runtime"):
        runtime.runtime_files()


def test_what_npm_fetches_must_have_the_checksum(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    npm(tmp_path, monkeypatch, 'for last; do :; done; echo other > "$last/package.tgz"')
    with pytest.raises(ConfigError, match="its checksum is another"):
        runtime.runtime_files()
    assert not [*tmp_path.glob("cache/smat/*.tgz")]
