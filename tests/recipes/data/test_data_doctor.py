"""`smat data doctor`: each thing that can be wrong is found, and only that."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import datasets
import numpy as np
import pytest
from PIL import Image

from smat.cli import main
from smat.errors import DataError
from smat.importing import KINDS, Known, expected_counts, import_domain, list_sources
from smat.recipes.data.doctor import DomainsWrong, Findings, data_doctor
from tracked import write_signs


def picture(seed: int, size: tuple[int, int] = (12, 12)) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Four classes of three images, two for training and two for testing."""
    for place, name in enumerate(["train/a", "train/b", "test/c", "test/d"]):
        (tmp_path / "birds" / name).mkdir(parents=True)
        for i in range(3):
            picture(10 * place + i).save(tmp_path / "birds" / name / f"{i}.png")
    return tmp_path / "birds"


def imported(source: Path, out: Path, kind: str = "folder", **options: int) -> Path:
    [listing] = list_sources("folder", source)
    import_domain(replace(listing, origin={"kind": kind}), out, **options)
    return out / listing.name


def wrong_with(path: Path) -> Findings:
    """What the doctor finds where something is wrong."""
    with pytest.raises(DomainsWrong, match=r"(is|are) wrong") as caught:
        data_doctor(str(path), processes=0)
    return caught.value.findings


def status_of(findings: Findings, name: str = "birds") -> dict[str, str]:
    return {finding.check: finding.status for finding in findings[name]}


def text_of(findings: Findings, check: str, name: str = "birds") -> str:
    [finding] = [finding for finding in findings[name] if finding.check == check]
    return f"{finding.found} | {finding.advice}"


@pytest.mark.parametrize("processes", [0, 1])
def test_a_sound_domain(source: Path, tmp_path: Path, processes: int) -> None:
    findings = data_doctor(str(imported(source, tmp_path / "out")), processes=processes)
    assert set(status_of(findings).values()) == {"good"}
    assert text_of(findings, "sizes").startswith("longer side 12 to 12, median 12")
    assert "RGB 12" in text_of(findings, "channels")
    assert "4 classes, 12 images, 3 per class" in text_of(findings, "counts")


@pytest.mark.parametrize(
    ("other", "check"),
    [
        ("train/a/0.bmp", "duplicates within a class"),
        ("train/b/0.bmp", "duplicates between classes"),
        ("test/c/x.bmp", "duplicates between splits"),
    ],
)
def test_the_same_pixels_twice(source: Path, tmp_path: Path, other: str, check: str) -> None:
    picture(1).save(source / other)  # the pixels of train/a/1.png, in other bytes
    findings = wrong_with(imported(source, tmp_path / "out"))
    assert [name for name, status in status_of(findings).items() if status == "wrong"] == [check]
    assert "1 images more than once" in text_of(findings, check)
    assert "train/a/1.png ('a')" in text_of(findings, check)
    assert other in text_of(findings, check)


def change_a_byte(folder: Path) -> None:
    content = bytearray((folder / "images.arrow").read_bytes())
    content[content.index(b"IDAT") + 20] ^= 1
    (folder / "images.arrow").write_bytes(content)


def test_a_changed_byte_is_found_twice(source: Path, tmp_path: Path) -> None:
    folder = imported(source, tmp_path / "out")
    change_a_byte(folder)
    findings = wrong_with(folder)
    assert status_of(findings)["content hash"] == "wrong"
    assert status_of(findings)["unreadable images"] == "wrong"
    assert "train/a/0.png (row 0)" in text_of(findings, "unreadable images")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "domain.json").rename(folder / "progress.jsonl"), "not finished"),
        (lambda folder: (folder / "domain.json").write_text("{"), "import it again"),
        (lambda folder: (folder / "images.arrow").unlink(), "is missing"),
    ],
)
def test_a_domain_that_does_not_open(
    source: Path, tmp_path: Path, damage: Callable[[Path], object], message: str
) -> None:
    folder = imported(source, tmp_path / "out")
    damage(folder)
    findings = wrong_with(folder)
    assert message in text_of(findings, "opening")


def test_counts_are_compared_with_those_of_the_source(source: Path, tmp_path: Path) -> None:
    source = source.rename(tmp_path / "cub")
    by_name = data_doctor(str(imported(source, tmp_path / "1")), processes=0)
    assert status_of(by_name, "cub")["counts"] == "note"
    as_kind = wrong_with(imported(source, tmp_path / "2", kind="cub"))
    assert status_of(as_kind, "cub")["counts"] == "wrong"
    text = text_of(as_kind, "counts", "cub")
    assert "CU Birds 200-2011 has 200 classes" in text
    assert "has 11,788 images" in text
    assert "(2, 0, 2) training, validation and test classes; Meta-Dataset has (140, 30, 30)" in text


def test_too_few_images_of_what_the_source_says_are_wrong_and_notes_are_shown(source: Path, tmp_path: Path) -> None:
    [listing] = list_sources("folder", source)
    expected = {"a": 3, "b": 400, "c": 2, "gone": 1300}
    import_domain(replace(listing, expected=expected, notes=("read me", "and me")), tmp_path / "out")
    findings = wrong_with(tmp_path / "out" / "birds")
    text = text_of(findings, "images of the source")
    assert "12 of 1,705 images" in text
    assert "2 classes have fewer, such as 'b' with 3 of 400" in text
    assert [one.found for one in findings["birds"] if one.check == "note of the import"] == ["read me", "and me"]


def test_a_renamed_domain_is_still_compared_with_its_source(source: Path, tmp_path: Path) -> None:
    folder = imported(source.rename(tmp_path / "cub"), tmp_path / "out", kind="cub")
    assert status_of(wrong_with(folder.rename(tmp_path / "out" / "mine")), "mine")["counts"] == "wrong"


def test_known_numbers_agree_with_each_other() -> None:
    for known in (known for kind in KINDS.values() for known in kind.known):
        assert known.splits is None or sum(known.splits) == known.classes
        assert known.each is None or known.images == known.each * known.classes


def test_known_numbers_are_found_by_kind_and_name() -> None:
    assert expected_counts("Traffic_Sign", {}) == expected_counts("gtsrb", {"kind": "gtsrb"})
    assert expected_counts("quickdraw", {"kind": "domainnet"}) == Known(
        ("infograph", "painting", "quickdraw", "real"), "DomainNet", 345
    )
    assert expected_counts("quickdraw", {"kind": "metadataset"}) == KINDS["quickdraw"].known[0]
    assert expected_counts("emnist-balanced", {"kind": "mnist"}) is None
    assert expected_counts("holiday photos", {}) is None
    numbers = {"names": ["x"], "title": "X", "classes": 2, "splits": [1, 0, 1]}
    assert expected_counts("x", {"kind": "a.B", "known": numbers}) == Known(("x",), "X", 2, splits=(1, 0, 1))
    with pytest.raises(DataError, match=r"known numbers in domain\.json of 'x'"):
        expected_counts("x", {"kind": "a.B", "known": {"names": ["x"]}})


def test_odd_sizes_single_images_and_refusals_are_notes(source: Path, tmp_path: Path) -> None:
    (source / "train" / "one").mkdir()
    picture(50, (30, 5)).convert("L").save(source / "train" / "one" / "1.png")
    (source / "train" / "one" / "2.png").write_bytes(b"")
    findings = data_doctor(str(imported(source, tmp_path / "out")), processes=0)
    assert "'one'" in text_of(findings, "class sizes")
    assert "1 images are narrower than 8" in text_of(findings, "sizes")
    assert "RGB 12, L 1" in text_of(findings, "channels")
    assert "1 left out: it has no bytes, such as train/one/2.png" in text_of(findings, "refused at import")


def test_a_folder_of_domains_and_a_parquet_file(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["x", "y"])})
    rows = {"image": [picture(i) for i in (1, 2, 3, 1)], "label": [0, 1, 0, 1]}
    imported(source, tmp_path / "out")
    datasets.Dataset.from_dict(rows, features).to_parquet(tmp_path / "out" / "four.parquet")
    with pytest.raises(SystemExit) as stopped:
        main(["data", "doctor", str(tmp_path / "out"), "--processes", "0"])
    assert stopped.value.code == 1
    printed = capsys.readouterr()
    assert "four.parquet" in "".join(printed.out.split())  # the title wraps where it is long
    assert f"1 thing is wrong with '{tmp_path / 'out'}'" in printed.err
    findings = wrong_with(tmp_path / "out")
    assert set(findings) == {"birds", "four.parquet"}
    assert status_of(findings, "four.parquet")["duplicates between classes"] == "wrong"
    assert "not sorted by class" in text_of(findings, "order", "four.parquet")
    main(["data", "doctor", str(tmp_path / "out" / "birds"), "--processes", "0"])


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there is no '.*nowhere'"):
        data_doctor(str(tmp_path / "nowhere"))


def test_classes_in_no_split_are_a_note(source: Path, tmp_path: Path) -> None:
    folder = imported(source, tmp_path / "out")
    description = json.loads((folder / "domain.json").read_text())
    description["splits"] = {"test": ["c"]}
    (folder / "domain.json").write_text(json.dumps(description))
    findings = data_doctor(str(folder), processes=0)
    assert "3 classes are in no split" in text_of(findings, "splits")


def test_tracks_are_counted(tmp_path: Path) -> None:
    path = write_signs(tmp_path / "traffic_signs.parquet", [[2, 2, 1], [3, 2]])
    finding = text_of(data_doctor(str(path), processes=0), "tracks", "traffic_signs.parquet")
    assert finding.startswith("5 tracks (several images of one object); 'c1' has the fewest, 2 |")
    (tmp_path / "splits.json").write_text(json.dumps({"traffic_signs": {"tracks": "film"}}))
    findings = wrong_with(path)
    assert "10 of 10 image names have no track by the pattern 'film'" in text_of(findings, "tracks", path.name)


def test_lost_tracks_are_a_note(source: Path, tmp_path: Path) -> None:
    assert "tracks" not in status_of(data_doctor(str(imported(source, tmp_path / "1")), processes=0))
    findings = data_doctor(str(imported(source.rename(tmp_path / "traffic_sign"), tmp_path / "2")), processes=0)
    assert status_of(findings, "traffic_sign")["tracks"] == "note"
    assert "names such as 'train/a/0.png' do not say them" in text_of(findings, "tracks", "traffic_sign")
