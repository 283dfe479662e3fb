"""The page on a port of this machine, and the end of it."""

import os
import threading
from importlib.util import find_spec
from pathlib import Path

from smat.app.keeping import Writers
from smat.app.networks import Networks
from smat.app.session import Session
from smat.app.sessions import Sessions
from smat.app.uploads import Limits
from smat.errors import ConfigError

_SETTINGS = {
    "GRADIO_ANALYTICS_ENABLED": "False",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "GRADIO_SERVER_NAME": "",
    "GRADIO_ALLOWED_PATHS": "",
}


def check_gradio() -> None:
    """Raise a `ConfigError` where the package that the page is made with is missing."""
    if find_spec("gradio") is None:
        raise ConfigError("the page needs another package: pip install 'smat-fewshot[app]'")


class Server:
    """The page while it can be reached.

    Args:
        networks: what classifiers can be made with.
        writers: what writes files.
        limits: what one person may bring.
        opened: folder of a classifier that each begins with; None: with nothing.
        port: port on this machine; 0: one that is free.
        share: whether the page can be reached from anywhere, through Gradio's servers.

    Attributes:
        url: address of the page.
        sessions: who is on it.

    Raises:
        ConfigError: the package is missing, or the port is taken.
    """

    def __init__(
        self,
        networks: Networks,
        writers: Writers,
        *,
        limits: Limits = Limits(),
        opened: Path | None = None,
        port: int = 0,
        share: bool = False,
    ) -> None:
        check_gradio()

        def begin(folder: Path, out: Path) -> Session:
            session = Session(folder, out, networks, writers, limits)
            if opened:
                session.open(opened)
            return session

        self.sessions = Sessions(begin)
        try:
            os.environ |= {**_SETTINGS, "GRADIO_TEMP_DIR": str(self.sessions.served)}
            self.url = self._launch(networks, limits, port, share)
        except BaseException:
            self.sessions.end()
            raise

    def _launch(self, networks: Networks, limits: Limits, port: int, share: bool) -> str:
        from gradio.themes import Default

        from smat.app.page import Page, asset

        font = ("system-ui", "Segoe UI", "DejaVu Sans", "sans-serif")
        self._blocks = Page(self.sessions, networks).blocks
        try:
            _, local, shared = self._blocks.launch(
                server_name="127.0.0.1",
                server_port=port or None,
                share=share,
                inbrowser=False,
                quiet=True,
                prevent_thread_lock=True,
                show_error=True,
                max_file_size=limits.file_mb * 10**6,
                ssr_mode=False,
                enable_monitoring=False,
                mcp_server=False,
                footer_links=[],
                theme=Default(font=font, font_mono=("ui-monospace", "monospace"), primary_hue="blue"),
                css=asset("page.css"),
            )
        except OSError as error:
            raise ConfigError(f"port {port} of this machine is taken; give another one (--port)") from error
        return shared or local

    def wait(self) -> None:
        """Wait for an interruption."""
        threading.Event().wait()

    def end(self) -> None:
        """Close the page, and forget everything on it."""
        self.sessions.end()
        self._blocks.close(verbose=False)
        self.sessions.end()  # also what arrived meanwhile
