"""The command line: which command runs with what, exit statuses, and messages."""

import io
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from my_lab import Draws
from smat.cli import main
from smat.cli.parser import build_parser
from smat.cli.report import as_data
from smat.errors import DataError, Interrupted, SomethingWrong
from smat.left_out import leave_out

BENCH = "smat.recipes.bench.run.bench"


def fails(arguments: list[str], status: int, capsys: pytest.CaptureFixture[str]) -> str:
    """What a command that ends with this status says."""
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == status
    said = capsys.readouterr()
    return said.out + said.err


def test_an_unknown_command_ends_in_a_message(capsys: pytest.CaptureFixture[str]) -> None:
    assert "tune" in fails(["tune"], 2, capsys)


@pytest.mark.parametrize(("arguments", "status"), [(["data", "--help"], 0), (["data"], 2), (["data", "imprt"], 2)])
def test_a_group_of_commands_lists_its_own(
    arguments: list[str], status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    said = fails(arguments, status, capsys)
    assert "import" in said
    assert "quickstart" not in said


@pytest.mark.parametrize(
    ("given", "option"),
    [
        (["--range", "0", "4095"], (0, 4095)),
        (["--range", "-1", "0.5"], (-1, 0.5)),
        (["--range", "auto"], "auto"),
        (["--range=[0,255]"], (0, 255)),
        ([], None),
    ],
)
def test_a_range_is_two_numbers_or_a_word(given: list[str], option: object) -> None:
    arguments = ["predict", "pocket", *given, "--support", "a", "--query", "b"]
    assert build_parser("predict").parse_args(arguments)["predict"]["range"] == option


@pytest.mark.parametrize("given", [["0"], ["full"], ["0", "white"], ["[0]"]])
def test_what_is_no_range_is_said(given: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert "range" in fails(["predict", "pocket", "--support", "a", "--query", "b", "--range", *given], 2, capsys)


def test_a_command_of_two_words_has_its_options(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["data", "import", "folder", "nowhere", "out", "--max-side"]
    assert "--max-side: expected int; given: many" in fails([*command, "many"], 2, capsys)
    assert "there is no folder 'nowhere'" in fails([*command, "64"], 2, capsys)


@pytest.mark.parametrize("arguments", [["bench"], ["bench", "--repeats", "7"]])
def test_a_command_that_another_begins_with_stays_itself(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[int] = []

    def bench(*, repeats: int = 3) -> None:
        found.append(repeats)

    monkeypatch.setattr(BENCH, bench)
    main(arguments)
    assert found == [7 if len(arguments) > 1 else 3]


@pytest.mark.parametrize("option", ["--learning-rate-from", "--learning_rate_from"])
def test_options_are_written_with_dashes_or_underscores(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    said = fails(["evaluate", "pocket", "pocket-ood", "--skip-bad", option, "nowhere"], 2, capsys)
    assert "--learning-rate-from: expected one of" in said
    assert "'published'; given: nowhere" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["evaluate", "pocket"], "the following arguments are required: domains"),
        (["train", "--resume", "--out"], "--out"),
        (["train", "--config", "nothing.yaml"], "--config: File does not exist"),
        (["train", "--domains", "[a]", "--out", "b", "--tuning.target_sparsty", "1"], "arguments: --tuning.target-sp"),
        (["train", "--config", "{pool: {expert: 2}}", "--out", "b"], "there is no setting 'pool.expert'"),
        (["predict", "pocket", "--support", "a", "--query", "b", "--adapt", "ful"], "--adapt: expected one of 'none'"),
    ],
)
def test_a_mistake_ends_in_a_message_and_where_to_look(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    said = fails(arguments, 2, capsys)
    assert message in said
    assert f"smat {arguments[0]} --help" in said


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (DataError("no images"), 2, "Error: no images"),
        (SomethingWrong("two things are wrong"), 1, "two things are wrong"),
        (Interrupted("the results so far are kept", [1]), 130, "Stopped. the results so far are kept"),
        (KeyboardInterrupt(), 130, "Stopped."),
    ],
)
def test_how_a_recipe_ends_is_the_exit_status(
    error: BaseException, status: int, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def bench() -> None:
        raise error

    monkeypatch.setattr(BENCH, bench)
    assert message in fails(["bench"], status, capsys)


def test_what_nobody_expected_is_a_line_and_a_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def bench() -> None:
        raise ValueError("a long\nstory")

    monkeypatch.setattr(BENCH, bench)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (line,) = fails(["bench"], 70, capsys).splitlines()
    (file,) = tmp_path.iterdir()
    assert (
        line == f"Unexpected error: ValueError: a long. The traceback is in {file}; please report it with the command"
    )
    assert 'raise ValueError("a long' in file.read_text()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "none"))
    assert "The traceback is above" in fails(["bench"], 70, capsys)


@pytest.mark.parametrize(
    ("signals", "status"), [("INT", 130), ("TERM", 143), ("INT INT", 130), ("TERM TERM TERM", 143), ("TERM INT", 143)]
)
def test_a_signal_ends_a_command_that_saves_whatever_comes_after(
    signals: str, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first, *others = (signal.Signals[f"SIG{name}"] for name in signals.split())
    saved: list[bool] = []

    def bench() -> None:
        try:
            signal.raise_signal(first)
        except KeyboardInterrupt as interruption:
            for number in others:
                signal.raise_signal(number)
            saved.append(True)
            raise Interrupted("all is kept", [1]) from interruption

    monkeypatch.setattr(BENCH, bench)
    before = signal.getsignal(signal.SIGINT)
    try:
        assert "Stopped. all is kept" in fails(["bench"], status, capsys)
    finally:
        signal.signal(signal.SIGINT, before)
    assert saved == [True]


def report_of(arguments: list[str], file: Path) -> dict[str, Any]:
    """What `--json` has after a command, however that ends."""
    with suppress(SystemExit):
        main([*arguments, "--json", str(file)])
    return json.loads(file.read_text())


@dataclass
class Found:
    """What a command finds."""

    mean: float
    numbers: np.ndarray
    by_name: dict[str, tuple[int, ...]]


def test_json_has_settings_result_and_what_was_left_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def bench(*, repeats: int = 3, options: Draws = Draws(way=7)) -> Found:  # noqa: B008
        leave_out("file", "no image", ["a.txt", "b.txt"])
        return Found(float("nan"), np.ones((2, 1), np.float32), {"a": (1, 2)})

    monkeypatch.setattr(BENCH, bench)
    report = report_of(["bench", "--way", "9"], tmp_path / "report.json")
    assert (report["command"], report["complete"], report["error"]) == ("bench", True, None)
    assert (report["settings"]["repeats"], report["settings"]["options"]["way"]) == (3, 9)
    assert report["result"] == {"mean": None, "numbers": [[1.0], [1.0]], "by_name": {"a": [1, 2]}}
    left = {"what": "file", "reason": "no image", "count": 2, "names": ["a.txt", "b.txt"]}
    assert report["left_out"] == [left]


@pytest.mark.parametrize(
    ("error", "complete", "result"),
    [
        (DataError("no images"), False, None),
        (SomethingWrong("two things are wrong"), True, None),
        (Interrupted("the results so far", [1]), False, [1]),
        (ZeroDivisionError("by zero"), False, None),
    ],
)
def test_json_says_how_a_command_ended(
    error: BaseException, complete: bool, result: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def bench() -> None:
        raise error

    monkeypatch.setattr(BENCH, bench)
    report = report_of(["bench"], tmp_path / "report.json")
    assert (report["complete"], report["error"], report["result"]) == (complete, str(error), result)


def test_json_that_cannot_be_written_is_refused_before_the_work(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(BENCH, lambda: pytest.fail("it ran"))
    assert "--json" in fails(["bench", "--json", str(tmp_path)], 2, capsys)


def test_of_large_arrays_there_is_the_shape() -> None:
    assert as_data(np.zeros((200, 1000), np.uint8)) == {"shape": [200, 1000], "type": "uint8"}
    assert as_data([np.float32(0.5), Path("a"), float("inf"), {1}]) == [0.5, "a", None, [1]]


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What a recipe that takes two kinds of settings is called with."""
    found: dict[str, Any] = {}

    def bench(names: list[str], *, options: Draws = Draws(way=7), allow_imports: Sequence[str] = ()) -> None:  # noqa: B008
        found.update(names=names, options=options, allow_imports=allow_imports)

    monkeypatch.setattr(BENCH, bench)
    return found


def test_settings_are_options_and_what_the_recipe_says_of_them_are_their_defaults(called: dict[str, Any]) -> None:
    main(["bench", "a", "b"])
    assert called == {"names": ["a", "b"], "options": Draws(way=7), "allow_imports": []}
    main(["bench", "a", "--skip-bad", "--seed=3", "--way", "2", "--allow-import", "lab", "--allow-import=other"])
    assert called["options"] == Draws(way=2, seed=3, skip_bad=True)
    assert called["allow_imports"] == ["lab", "other"]


def test_settings_may_come_from_a_file(called: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("seed: 4\nskip_bad: true\nway: 9\npool: {experts: 2}\n")
    main(["bench", "a", "--config", str(tmp_path / "mine.yaml"), "--way", "3"])
    options = called["options"]
    assert (options.seed, options.skip_bad, options.way, options.pool.experts) == (4, True, 3, 2)


def test_general_help_does_not_wait_for_torch() -> None:
    code = "import sys; from smat.cli.parser import build_parser; build_parser().format_help(); assert 'torch' not in "
    subprocess.run([sys.executable, "-c", f"{code} sys.modules"], check=True)


def test_the_current_folder_is_looked_in_last(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, called: Callable[..., Any]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    main(["bench", "a"])
    main(["bench", "a"])
    assert sys.path[-1] == str(tmp_path)
    assert sys.path.count(str(tmp_path)) == 1


def test_a_name_that_the_screen_cannot_show_is_shown_in_escapes(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.TextIOWrapper(io.BytesIO(), encoding="ascii", write_through=True)
    monkeypatch.setattr(sys, "stdout", screen)
    with pytest.raises(SystemExit):
        main(["--version"])
    print("海 caf\udce9", file=screen)
    assert screen.buffer.getvalue().endswith(b"\\u6d77 caf\\udce9\n")


@pytest.mark.parametrize("text", ["", "- a", "5"])
def test_a_file_of_settings_has_settings(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "base.yaml").write_text(text)
    with pytest.raises(SystemExit) as stopped:
        main(["train", "--config", str(tmp_path / "base.yaml"), "--out", str(tmp_path / "run")])
    assert stopped.value.code == 2
    assert "base.yaml' cannot be used: it holds no settings by name" in capsys.readouterr().err
