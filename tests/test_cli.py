import subprocess
import sys

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
        main([name, "--help"])
    assert stopped.value.code == 0
    text = capsys.readouterr().out
    assert COMMANDS[name].example.splitlines()[0] in text
    undocumented = [line for line in text.splitlines() if line.strip().startswith("--") and line.rstrip().endswith(":")]
    assert undocumented == []


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
