"""A hub on this machine, for what huggingface_hub asks when a folder is pushed and downloaded again."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlparse

Repositories = dict[str, dict[str, bytes]]  # the files of each repository, by path
REVISION = "0" * 40
DAY = "2026-01-02T03:04:05.000Z"


@contextmanager
def stand_in_hub() -> Iterator[tuple[str, Repositories]]:
    """A hub's address, for `HF_ENDPOINT`, and what is pushed to it."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.repositories = {}  # pyright: ignore[reportAttributeAccessIssue]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", server.repositories  # pyright: ignore[reportAttributeAccessIssue]
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    """`/api/...` is the hub's interface, `NAME/resolve/REVISION/PATH` a file."""

    protocol_version = "HTTP/1.1"

    @property
    def repositories(self) -> Repositories:
        return self.server.repositories  # pyright: ignore[reportAttributeAccessIssue]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        match self.path.split("?")[0].strip("/").split("/"):
            case ["api", "repos", "create"]:
                given = json.loads(body)
                name = f"{given.get('organization') or 'me'}/{given['name']}"
                self.repositories.setdefault(name, {})
                self.answer({"url": f"{self.address}/{name}", "id": name})
            case ["api", "validate-yaml"]:
                self.answer({"errors": [], "warnings": []})
            case ["api", "models", owner, name, "branch", _] if f"{owner}/{name}" in self.repositories:
                self.answer({})
            case ["api", "models", owner, name, "preupload", _] if f"{owner}/{name}" in self.repositories:
                files = json.loads(body)["files"]
                self.answer(
                    {"files": [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in files]}
                )
            case ["api", "models", owner, name, "commit", _] if f"{owner}/{name}" in self.repositories:
                for entry in map(json.loads, body.splitlines()):
                    if entry["key"] == "file":
                        content = base64.b64decode(entry["value"]["content"])
                        self.repositories[f"{owner}/{name}"][entry["value"]["path"]] = content
                self.answer({"commitUrl": f"{self.address}/{owner}/{name}/commit/{REVISION}", "commitOid": REVISION})
            case _:
                self.missing()

    def do_GET(self) -> None:
        match self.path.split("?")[0].strip("/").split("/"):
            case ["api", "models"]:
                found = [{"id": name, "sha": REVISION, "downloads": 7, "lastModified": DAY} for name in self.tagged()]
                self.answer(found)
            case ["api", "models", owner, name, "revision", _] if f"{owner}/{name}" in self.repositories:
                files = [{"rfilename": path} for path in self.repositories[f"{owner}/{name}"]]
                self.answer({"id": f"{owner}/{name}", "sha": REVISION, "siblings": files, "private": False, "tags": []})
            case ["api", "models", owner, name, "tree", *_] if f"{owner}/{name}" in self.repositories:
                self.answer(
                    [
                        {"type": "file", "path": path, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
                        for path, content in self.repositories[f"{owner}/{name}"].items()
                    ]
                )
            case [owner, name, "resolve", _, *path] if "/".join(path) in self.repositories.get(f"{owner}/{name}", {}):
                self.send(self.repositories[f"{owner}/{name}"]["/".join(path)], "application/octet-stream")
            case _:
                self.missing()

    do_HEAD = do_GET

    def tagged(self) -> list[str]:
        """The repositories whose card names the library that is asked for, which is a tag on the hub."""
        wanted = f"library_name: {parse_qs(urlparse(self.path).query)['filter'][0]}"
        return [name for name, files in self.repositories.items() if wanted in files.get("README.md", b"").decode()]

    @property
    def address(self) -> str:
        return "http://" + self.headers["Host"]

    def answer(self, content: Any) -> None:
        self.send(json.dumps(content).encode(), "application/json")

    def missing(self) -> None:
        self.send(b'{"error": "not found"}', "application/json", 404, {"X-Error-Code": "RepoNotFound"})

    def send(self, content: bytes, kind: str, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        sent = {
            "Content-Type": kind,
            "Content-Length": str(len(content)),
            "ETag": f'"{hashlib.sha1(content).hexdigest()}"',
            "X-Repo-Commit": REVISION,
        }
        for name, value in (sent | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""
