"""Images that CSV files list."""

from pathlib import Path

import pytest

from smat.cli import main
from smat.domains import open_domain
from smat.errors import DataError
from smat.importing import Listing, import_domain, list_sources
from smat.importing.csv_lists import Csv
from tiny_sources import Truth, photo, read_all, said, write


def make_images(root: Path, names: list[str]) -> dict[str, bytes]:
    images = {name: photo(number) for number, name in enumerate(names)}
    write(root, images)
    return images


def truth_of(images: dict[str, bytes], classes: list[str]) -> Truth:
    return {name: (label, images[name]) for name, label in zip(images, classes, strict=True)}


def only(source: Path, **options: str) -> Listing:
    [listing] = list_sources(Csv(**options), source)
    return listing


@pytest.mark.parametrize("start", ["", "\ufeff"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_rows_of_any_usual_dialect_are_read(separator: str, start: str, end: str, tmp_path: Path) -> None:
    images = make_images(tmp_path, ["a.jpg", "more/b, c; d.jpg", "海.jpg"])
    lines = ["label,file,note", 'owl,a.jpg,"x, y"', 'barn owl,"more/b, c; d.jpg",', "海鷗, 海.jpg ,z"]
    if separator != ",":
        lines = ["label|file|note", "owl|a.jpg|x, y", '"barn owl"|"more/b, c; d.jpg"|', "海鷗|海.jpg|z"]
    text = end.join(line.replace("|", separator) for line in lines)
    name = "birds.tsv" if separator == "\t" else "birds.csv"
    write(tmp_path, {name: f"{start}{text}{end}"})
    listing = only(tmp_path / name)
    found, refused = read_all(listing)
    assert found == truth_of(images, ["owl", "barn owl", "海鷗"])
    assert refused == []
    assert listing.name == "birds"
    assert listing.splits == {"test": ("barn owl", "owl", "海鷗")}


def test_columns_folder_and_ending_can_be_named_on_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_images(tmp_path / "birds", ["pictures/1.jpg", "pictures/2.jpg"])
    write(tmp_path / "birds", {"all.csv": "id,species,set\n1,owl,train\n2,gull,validation\n"})
    command = ["data", "import", "csv", str(tmp_path / "birds"), str(tmp_path / "out"), "--processes", "0"]
    options = "--image-column id --label-column species --split-column set --image-folder pictures --suffix .jpg"
    main([*command, *options.split()])
    assert open_domain(tmp_path / "out" / "birds").splits == {"train": ("owl",), "val": ("gull",)}
    with pytest.raises(SystemExit) as stopped:
        main(["data", "import", "folder", str(tmp_path / "birds"), str(tmp_path / "out"), "--suffix", ".jpg"])
    assert stopped.value.code == 2
    assert "--suffix is an option of kind csv, not of folder" in capsys.readouterr().err


def test_what_is_wrong_with_a_row_is_said_by_its_line(tmp_path: Path) -> None:
    images = make_images(tmp_path, ["a.jpg", "b.jpg", "c.jpg", "d.jpg"])
    rows = (
        "a.jpg,owl\n"  # line 2
        "gone.jpg,owl\n"
        "b,owl\n"
        "c.jpg,\n"
        ",owl\n"
        "a.jpg,owl\n"
        "../a.jpg,owl\n"
        "a.jpg,owl,more\n"
        "\n"
        "d.jpg,owl\n"
        "d.jpg,gull\n"
        "b.jpg,gull\n"
        "a\x01.jpg,gull\n"
    )
    (tmp_path / "birds.csv").write_bytes(b"file,label\n" + rows.encode() + b"caf\xe9.jpg,gull\n")
    found, refused = read_all(only(tmp_path))
    assert found == {"a.jpg": ("owl", images["a.jpg"]), "b.jpg": ("gull", images["b.jpg"])}
    assert said(refused).splitlines() == [
        "birds.csv, line 9: it has 3 columns; the first line has 2",
        "birds.csv, line 14: it has characters that are no text in UTF-8",
        "birds.csv, line 15: it has characters that are no text in UTF-8",
        "birds.csv, line 3: there is no file 'gone.jpg'",
        "birds.csv, line 4: there is no file 'b', but one with .jpg: give --suffix .jpg",
        "birds.csv, line 5: its 'label' is empty",
        "birds.csv, line 6: its 'file' is empty",
        "birds.csv, line 7: 'a.jpg' is of this class already by 'birds.csv, line 2'",
        "birds.csv, line 8: '../a.jpg' leaves the source folder",
        "d.jpg: it is of several classes: 'owl' in birds.csv, line 11 and 'gull' in birds.csv, line 12",
    ]


def test_images_without_an_ending_are_read_as_what_they_are(tmp_path: Path) -> None:
    images = make_images(tmp_path, ["1", "2"])
    write(tmp_path, {"birds.csv": "file,label\n1,owl\n2,owl\n"})
    assert read_all(only(tmp_path))[0] == truth_of(images, ["owl", "owl"])


def test_splits_that_divide_images_are_joined_and_a_file_beside_divides_the_classes(tmp_path: Path) -> None:
    source = tmp_path / "birds"
    make_images(source, ["a.jpg", "b.jpg", "c.jpg"])
    write(source, {"birds.csv": "file,label,split\na.jpg,owl,train\nb.jpg,owl,test\nc.jpg,gull,Test\n"})
    listing = only(source)
    assert listing.splits == {"test": ("gull", "owl")}
    assert "its splits train, test divide the images of a class, not the classes: they are joined" in listing.notes[0]
    write(source.parent, {"splits.json": '{"birds": {"train": ["owl"], "test": ["gull"]}}'})
    assert only(source).splits == {"test": ("gull", "owl")}  # what lies beside the table is what counts
    write(source, {"splits.json": '{"birds": {"train": ["owl"], "test": ["gull"]}}'})
    assert only(source).splits == {"train": ("owl",), "test": ("gull",)}


def test_a_split_that_is_none_is_refused(tmp_path: Path) -> None:
    make_images(tmp_path, ["a.jpg", "b.jpg", "c.jpg"])
    write(tmp_path, {"birds.csv": "file,label,split\na.jpg,owl,train\nb.jpg,gull,holdout\nc.jpg,gull,\n"})
    listing = only(tmp_path)
    assert listing.splits == {"train": ("owl",)}
    assert "line 3: its split is 'holdout'; expected train, val, test" in said(listing.refused)
    assert "line 4: its split is ''" in said(listing.refused)


def test_a_table_for_each_split(tmp_path: Path) -> None:
    images = make_images(tmp_path / "birds", ["a.jpg", "b.jpg"])
    tables = {"train.csv": "file,label\na.jpg,owl\n", "test.csv": "file,label\nb.jpg,gull\n"}
    write(tmp_path / "birds", tables)
    listing = only(tmp_path / "birds")
    assert listing.splits == {"train": ("owl",), "test": ("gull",)}
    assert read_all(listing)[0] == truth_of(images, ["owl", "gull"])
    assert import_domain(listing, tmp_path / "out").name == "birds"
    write(tmp_path / "birds", {"notes.csv": "x\n"})
    with pytest.raises(DataError, match=r"has 3 tables \(notes\.csv, test\.csv, train\.csv\): give one of them"):
        only(tmp_path / "birds")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,class\na.jpg,owl\n", r"has no column 'file' and 'label'; .*'image, class'; --image-column and"),
        ("file\na.jpg\n", r"has no column 'label'"),
        ("file,label,label\na.jpg,owl,owl\n", r"has 'label' twice"),
        ("", r"has no column 'file' and 'label'"),
        ("file,label\n", r"lists no image"),
        ('file,label\n"' + "x" * 200_000, r"line 2: from here on nothing is read: .*quotation mark"),
    ],
)
def test_tables_that_cannot_be_used(text: str, message: str, tmp_path: Path) -> None:
    make_images(tmp_path, ["a.jpg"])
    write(tmp_path, {"birds.csv": text})
    with pytest.raises(DataError, match=message):
        only(tmp_path)
