import subprocess
import sys
from itertools import pairwise

import pytest

from smat.cli import COMMANDS, main


def test_help_lists_every_command(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["--help"])
    assert stopped.value.code == 0
    text = capsys.readouterr().out
    assert all(name in text for name in COMMANDS)


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_help_of_a_command_teaches_by_example(name: str, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([*name.split(), "--help"])
    assert stopped.value.code == 0
    text = capsys.readouterr().out
    assert COMMANDS[name].example.splitlines()[0] in text
    lines = text.splitlines()
    alone = [
        option
        for option, below in pairwise([*lines, ""])
        if option.startswith("  --") and "  " not in option.strip() and not below.startswith(20 * " ")
    ]
    assert alone == []


def test_help_says_what_happens_without_an_option(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        main(["predict", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "--steps STEPS of the fine-tuning. (default: 50)" in text
    assert "(default: None)" not in text
    assert "(default: False)" not in text


def test_an_unknown_command_ends_in_a_message(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["tune"])
    assert stopped.value.code == 2
    assert "tune" in capsys.readouterr().err


def test_general_help_does_not_wait_for_torch() -> None:
    code = "import sys; from smat.cli import build_parser; build_parser().format_help(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_dashes_in_an_options_name_are_underscores(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["evaluate", "pocket", "pocket-ood", "--skip-bad", "--learning-rate-from", "nowhere"])
    assert "nowhere" in (message := capsys.readouterr().err)
    assert "published" in message


@pytest.mark.parametrize(("arguments", "status"), [(["data", "--help"], 0), (["data"], 2), (["data", "imprt"], 2)])
def test_a_group_of_commands_lists_its_own(
    arguments: list[str], status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == status
    said = capsys.readouterr()
    assert "import" in said.out + said.err
    assert "quickstart" not in said.out + said.err


def test_a_command_of_two_words_has_its_options(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["data", "import", "folder", "nowhere", "out", "--max-side", "many"])
    assert "max_side" in capsys.readouterr().err
    with pytest.raises(SystemExit) as stopped:
        main(["data", "import", "folder", "nowhere", "out", "--max-side", "64"])
    assert stopped.value.code == 2
    assert "there is no folder 'nowhere'" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["bench"], ["bench", "--repeats", "7"]])
def test_a_command_that_another_begins_with_stays_itself(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[int] = []

    def bench(*, repeats: int = 3) -> None:
        """Stands in for the benchmark.

        Args:
            repeats: of each.
        """
        found.append(repeats)

    monkeypatch.setattr("smat.recipes.bench.run.bench", bench)
    main(arguments)
    assert found == [7 if len(arguments) > 1 else 3]
