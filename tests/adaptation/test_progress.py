"""What takes more than a minute says so when it begins."""

import io
from collections.abc import Iterator

import pytest
from rich.console import Console
from rich.progress import Progress

from smat.adaptation.progress import followed


@pytest.mark.parametrize(("seconds", "said"), [(2.0, "tuning: about 2 minutes"), (0.5, "")])
def test_long_work_says_how_long_once(monkeypatch: pytest.MonkeyPatch, seconds: float, said: str) -> None:
    clock: Iterator[float] = (seconds * step for step in range(1000))
    monkeypatch.setattr("smat.adaptation.progress.time.monotonic", lambda: next(clock))
    file = io.StringIO()
    with Progress(console=Console(file=file, width=200), transient=True) as progress:
        follow = followed(progress, "tuning")
        for step in range(10):
            follow(step + 1, 53)
    assert said in file.getvalue()
    assert file.getvalue().count("about") == bool(said)
