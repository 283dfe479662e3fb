"""onnxruntime-web: what runs a network in the browser, fetched once by npm and known by its checksum."""

import base64
import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path

from smat.errors import ConfigError, one_line
from smat.files import write_whole, writing

PACKAGE, VERSION = "onnxruntime-web", "1.30.0"
INTEGRITY = "sha512-q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
"""Of the package as npm has it."""

FILES: Mapping[str, tuple[str, str, str]] = {
    "wasm": ("ort.wasm.min.js", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm"),
    "webgpu": (
        "ort.webgpu.min.js",
        "ort-wasm-simd-threaded.asyncify.mjs",
        "ort-wasm-simd-threaded.asyncify.wasm",
    ),
}
"""The code, the glue and the WebAssembly, by where they compute: on the processor or on the GPU."""

_MINUTES = 10


def runtime_files(runtime: str | Path | None = None) -> dict[str, bytes]:
    """The files of `FILES` by name.

    Args:
        runtime: the package: a folder that it was unpacked to (such as `node_modules/onnxruntime-web`), or the file
            that `npm pack` makes. None: npm fetches it, once, into the cache.

    Raises:
        ConfigError: it is not there, of another version or damaged, or npm is not there or cannot fetch it.
    """
    if runtime is None:
        return _of_tarball(_cached())
    path = Path(runtime)
    return _of_tarball(path) if path.is_file() else _of_folder(path)


def _names() -> list[str]:
    return [name for names in FILES.values() for name in names]


def _of_folder(folder: Path) -> dict[str, bytes]:
    try:
        described = json.loads((folder / "package.json").read_text(encoding="utf-8"))
        found = f"{described.get('name')} {described.get('version')}"
    except (OSError, ValueError, AttributeError) as error:
        raise ConfigError(
            f"runtime '{folder}' (--runtime) has no package.json: give the folder of the unpacked package {PACKAGE} "
            f"{VERSION}, such as node_modules/{PACKAGE}, or the file that `npm pack {PACKAGE}@{VERSION}` makes"
        ) from error
    if found != f"{PACKAGE} {VERSION}":
        raise ConfigError(f"runtime '{folder}' (--runtime) is {found}; {PACKAGE} {VERSION} is needed")
    try:
        return {name: (folder / "dist" / name).read_bytes() for name in _names()}
    except OSError as error:
        raise ConfigError(f"runtime '{folder}' (--runtime) is not whole: {one_line(error)}; unpack it again") from error


def _of_tarball(path: Path) -> dict[str, bytes]:
    content = path.read_bytes()
    _check(path, content)
    found: dict[str, bytes] = {}
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        for name in _names():
            member = archive.extractfile(f"package/dist/{name}")
            assert member is not None  # of the checksum above it is a file
            found[name] = member.read()
    return found


def _check(path: Path, content: bytes) -> None:
    if not _intact(content):
        raise ConfigError(
            f"'{path}' is not {PACKAGE} {VERSION} as npm has it: its checksum is another. Fetch it again: npm pack "
            f"{PACKAGE}@{VERSION}"
        )


def _intact(content: bytes) -> bool:
    return "sha512-" + base64.b64encode(hashlib.sha512(content).digest()).decode() == INTEGRITY


def _cached() -> Path:
    """The package in the user's cache, put there by npm if it is not, or is damaged."""
    path = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "smat" / f"{PACKAGE}-{VERSION}.tgz"
    if path.is_file() and _intact(path.read_bytes()):
        return path
    with tempfile.TemporaryDirectory() as folder, writing(path):
        fetched = _fetch(Path(folder))
        _check(fetched, fetched.read_bytes())
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, lambda beside: shutil.copyfile(fetched, beside))
    return path


def _fetch(folder: Path) -> Path:
    package = f"{PACKAGE}@{VERSION}"
    instead = f"or give the package by --runtime: what `npm pack {package}` makes on another machine"
    npm = shutil.which("npm")
    if npm is None:
        raise ConfigError(f"{package} is needed, and there is no npm to fetch it: install Node.js, {instead}")
    command = [npm, "pack", package, "--ignore-scripts", "--loglevel", "error", "--pack-destination", str(folder)]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=60 * _MINUTES)
        return next(folder.glob("*.tgz"))
    except subprocess.TimeoutExpired as error:
        raise ConfigError(f"npm has not fetched {package} within {_MINUTES} minutes: try again, {instead}") from error
    except (subprocess.CalledProcessError, StopIteration) as error:
        said = one_line(getattr(error, "stderr", "") or error)
        raise ConfigError(f"npm cannot fetch {package}: {said}. Try again, {instead}") from error
