import logging

import pytest

from smat.left_out import collecting, leave_out


def test_things_with_one_reason_are_counted_together_and_once():
    with collecting() as entries:
        leave_out("file", "no image format", ["a.txt", "b.txt"])
        leave_out("file", "no image format", ["b.txt", "c.txt"])
        leave_out("class", "fewer than 2 images", ["cat"])
        leave_out("class", "nothing", [])

    assert [str(entry) for entry in entries] == [
        "3 files were left out: no image format (such as 'a.txt')",
        "1 class was left out: fewer than 2 images ('cat')",
    ]


def test_what_was_collected_is_there_after_an_error():
    entries = []

    def command():
        with collecting() as collected:
            entries.append(collected)
            leave_out("file", "no image format", ["a.txt"])
            raise KeyError

    with pytest.raises(KeyError):
        command()
    assert len(entries[0]) == 1


def test_without_a_command_it_is_a_warning(caplog):
    with caplog.at_level(logging.WARNING):
        leave_out("file", "no image format", ["a.txt"])

    assert caplog.messages == ["1 file was left out: no image format ('a.txt')"]
