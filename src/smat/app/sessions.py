"""The people on the page: each has a folder of their own, of which nothing remains when they have gone."""

import logging
import re
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from threading import Event, Lock, Thread

from smat.app.session import Session
from smat.app.uploads import Upload, shown_name
from smat.errors import DataError

_log = logging.getLogger(__name__)

_LONGEST = 10.0  # seconds that work may take to end
_SWEEP, _KEPT = 10.0, 45.0  # seconds between sweeps, and that files which were sent stay
_HASH = re.compile(r"[0-9a-f]{64}")  # the folders that Gradio puts files into which were sent, or are shown


class Sessions:
    """Those who have the page open, by what their browsers are known by.

    Args:
        make: makes the session of a folder for its photos, and one for what is made of them; neither is there yet.

    Attributes:
        root: folder of everything; made in the temporary folder.
        served: the folder in it whose files browsers can fetch, by names that cannot be guessed, and send files to.
    """

    def __init__(self, make: Callable[[Path, Path], Session]) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="smat-app-")).resolve()
        self.served = self.root / "served"
        self.served.mkdir()
        self._make = make
        self._open: dict[str, Session] = {}
        self._closed: set[str] = set()
        self._lock, self._over = Lock(), Event()
        Thread(target=self._sweep_now_and_then, daemon=True).start()

    def of(self, key: str | None) -> Session:
        """The session of a browser's page.

        Raises:
            DataError: it was closed.
        """
        with self._lock:
            if key is None or key in self._closed or self._over.is_set():
                raise DataError("this page was closed, and its photos are forgotten; load it again")
            if key not in self._open:
                name = f"session-{secrets.token_hex(16)}"
                self._open[key] = self._make(self.root / name, self.served / name)
            return self._open[key]

    def close(self, key: str | None) -> None:
        """Forget a session, also on disk."""
        with self._lock:
            session = self._open.pop(key or "", None)
            self._closed.add(key or "")
        if session:
            session.close()

    def end(self) -> None:
        """Forget everything, also on disk."""
        self._over.set()
        begun = [*self._open.values()]
        for key in [*self._open]:
            self.close(key)
        for session in begun:  # Python cannot end well while threads compute
            session.wait(_LONGEST / len(begun))
        shutil.rmtree(self.root, ignore_errors=True)

    def upload(self, path: str, name: str) -> Upload:
        """A file that was sent, by what the browser says of it.

        Raises:
            DataError: it is no such file; a browser may say anything.
        """
        place = Path(path)
        sent = place.parent.parent == self.served and _HASH.fullmatch(place.parent.name)
        if not sent or place.is_symlink() or not place.is_file():
            raise DataError(f"'{shown_name(name)}' did not arrive; give it again")
        return Upload(place, shown_name(name))

    def sweep(self, older: float = _KEPT) -> None:
        """Delete files that were sent and not taken so many seconds ago, and what closed sessions left behind."""
        now = time.time()
        with self._lock:
            kept = {self.served, *(place for session in self._open.values() for place in (session.folder, session.out))}
        for folder in [*self.root.iterdir(), *self.served.iterdir()]:
            try:
                if folder in kept or now - folder.stat().st_mtime <= older:
                    continue
                if not folder.is_dir():
                    folder.unlink()
                elif all(now - file.stat().st_mtime > older for file in folder.iterdir()):
                    shutil.rmtree(folder)
            except OSError:  # it has gone, or is being written to: the next time
                continue

    def _sweep_now_and_then(self) -> None:
        while not self._over.wait(_SWEEP):
            self.sweep()
