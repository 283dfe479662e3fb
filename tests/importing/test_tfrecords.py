import struct
from pathlib import Path

import pytest
from tensorboard.summary.writer.record_writer import RecordWriter

from records import (
    bytes_list,
    checksum,
    cut,
    damaged,
    example,
    field,
    float_list,
    framed,
    int64_list,
    loose_int64_list,
    message,
    varint,
)
from smat.importing.tfrecords import Run, image_and_label, read_run, survey

DATA = [bytes([i]) * (10 * i) for i in range(1, 8)]
STARTS = [sum(16 + len(data) for data in DATA[:i]) for i in range(len(DATA) + 1)]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "0.tfrecords"
    path.write_bytes(b"".join(framed(data) for data in DATA))
    return path


def everything(path: Path, most: int = 500) -> list[tuple[int, bytes | str]]:
    return [record for run in survey(path, most).runs for record in read_run(run)]


def test_checksum_is_the_published_one() -> None:
    # RFC 3720, B.4: the CRC-32C of 32 zero bytes is aa 36 91 8a in the order of the wire, 0x8A9136AA
    turned = ((0x8A9136AA >> 15) | (0x8A9136AA << 17)) & 0xFFFFFFFF
    assert struct.unpack("<I", checksum(bytes(32)))[0] == (turned + 0xA282EAD8) & 0xFFFFFFFF


def test_reads_what_tensorboard_writes(tmp_path: Path) -> None:
    path = tmp_path / "events"
    with path.open("wb") as file:
        writer = RecordWriter(file)
        for data in [b"", *DATA]:
            writer.write(data)
        writer.flush()
    assert everything(path) == list(enumerate([b"", *DATA]))


def test_records_come_in_order_whatever_the_runs(file: Path) -> None:
    for most in (1, 2, 3, 7, 500):
        found = survey(file, most)
        assert (found.records, found.lost) == (7, None)
        assert [run.count for run in found.runs] == [min(most, 7 - i) for i in range(0, 7, most)]
        assert everything(file, most) == list(enumerate(DATA))


def test_run_is_read_from_where_it_starts(file: Path) -> None:
    run = survey(file, 3).runs[1]
    assert run == Run(str(file), STARTS[3], 3, 3)
    assert list(read_run(run)) == [(3, DATA[3]), (4, DATA[4]), (5, DATA[5])]


def test_empty_file_has_no_records(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    assert (survey(tmp_path / "a").runs, survey(tmp_path / "a").lost) == ((), None)


def test_wrong_checksum_of_data_loses_that_record(file: Path) -> None:
    damaged(file, STARTS[2] + 12 + 5)  # in the data
    damaged(file, STARTS[5] - 1)  # in the checksum of record 4
    found = everything(file)
    assert [number for number, data in found if isinstance(data, str)] == [2, 4]
    assert "checksum" in str(found[2][1])
    assert [found[i] for i in (0, 1, 3, 5, 6)] == [(i, DATA[i]) for i in (0, 1, 3, 5, 6)]


@pytest.mark.parametrize("place", [0, 7, 8, 11])
def test_wrong_length_ends_the_file(file: Path, place: int) -> None:
    damaged(file, STARTS[3] + place)
    found = survey(file)
    assert found.records == 3
    assert found.lost is not None
    assert "length" in found.lost
    assert everything(file) == list(enumerate(DATA[:3]))


@pytest.mark.parametrize("size", [STARTS[6] + 1, STARTS[6] + 11, STARTS[6] + 12, STARTS[6] + 40, STARTS[7] - 1])
def test_cut_record_ends_the_file(file: Path, size: int) -> None:
    cut(file, size)
    found = survey(file)
    assert found.records == 6
    assert found.lost is not None
    assert "cut" in found.lost
    assert everything(file) == list(enumerate(DATA[:6]))


@pytest.mark.parametrize("length", [2**63, 2**64 - 1, 10**15])
def test_length_beyond_the_file_is_not_believed(tmp_path: Path, length: int) -> None:
    head = struct.pack("<Q", length)
    path = tmp_path / "0.tfrecords"
    path.write_bytes(framed(b"good") + head + checksum(head) + b"few bytes")
    found = survey(path)
    assert (found.records, found.lost is None) == (1, False)
    run = Run(str(path), 0, 0, 2)  # as if it had been well when it was listed
    assert [number for number, _ in read_run(run)] == [0, 1]
    assert str(list(read_run(run))[1][1]).endswith("1 records are lost from here on")


def test_file_that_changes_after_it_was_listed_says_what_is_lost(file: Path) -> None:
    run = survey(file).runs[0]
    cut(file, STARTS[2])
    assert list(read_run(run))[:2] == [(0, DATA[0]), (1, DATA[1])]
    (last,) = list(read_run(run))[2:]
    assert last == (2, "the file is cut in the middle of the record; 5 records are lost from here on")


@pytest.mark.parametrize("label", [0, 1, 127, 128, 5000, 2**62, -1])
def test_message(label: int) -> None:
    image = bytes(range(256)) * 3
    assert image_and_label(example(image, label)) == (image, label)
    assert image_and_label(message(label=loose_int64_list(label), image=bytes_list(image))) == (image, label)
    more = message(id=bytes_list(b"x"), image=bytes_list(image), area=float_list(0.5), label=int64_list(label))
    assert image_and_label(more) == (image, label)


GOOD = example(b"image", 3)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "no 'image'"),
        (b"\xff\xd8\xff\xe0 a JPEG file", "no tf.train.Example"),
        (GOOD[:-1], "no tf.train.Example"),
        (field(1, b"\x0a\xff\xff\xff\xff\x0f"), "no tf.train.Example"),
        (field(1, field(1, field(1, b"\xff\xfe") + field(2, bytes_list(b"i")))), "no tf.train.Example"),
        (varint(7), "no tf.train.Example"),
        (message(label=int64_list(3)), "no 'image'"),
        (message(image=bytes_list(b"i")), "no 'label'"),
        (message(image=bytes_list(b"i"), label=b""), "whole number, once"),
        (message(image=bytes_list(b"i"), label=int64_list()), "whole number, once"),
        (message(image=bytes_list(b"i"), label=int64_list(3, 3)), "whole number, once"),
        (message(image=bytes_list(b"i"), label=float_list(3)), "whole number, once"),
        (message(image=bytes_list(b"i"), label=bytes_list(b"3")), "whole number, once"),
        (message(image=bytes_list(), label=int64_list(3)), "bytes, once"),
        (message(image=bytes_list(b"i", b"j"), label=int64_list(3)), "bytes, once"),
        (message(image=int64_list(1), label=int64_list(3)), "bytes, once"),
    ],
)
def test_bad_message_is_said_to_be(data: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        image_and_label(data)
