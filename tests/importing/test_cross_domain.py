"""The four data sets of the cross-domain benchmark."""

from pathlib import Path

import pytest

from smat.errors import DataError
from smat.importing import Listing, list_sources
from tiny_sources import Truth, photo, read_all, said, write


def only(kind: str, source: Path) -> Listing:
    [listing] = list_sources(kind, source)
    return listing


def make_folders(root: Path, top: str, classes: dict[str, int]) -> Truth:
    truth: Truth = {}
    for name, count in classes.items():
        for i in range(count):
            truth[f"{top}/{name}/{name}_{i}.jpg"] = name, photo(len(truth))
    write(root, {path: content for path, (_, content) in truth.items()})
    return truth


@pytest.mark.parametrize(
    ("kind", "top", "others"),
    [("eurosat", "2750", ()), ("cropdisease", "dataset/train", ("dataset/test",)), ("cropdisease", "train", ("test",))],
)
def test_class_folders_of_the_part_that_the_benchmark_uses(
    kind: str, top: str, others: tuple[str, ...], tmp_path: Path
) -> None:
    truth = make_folders(tmp_path / "x", top, {"AnnualCrop": 2, "Apple___Apple_scab": 3})
    for other in others:
        make_folders(tmp_path / "x", other, {"AnnualCrop": 1})
    (tmp_path / "x" / top / "empty").mkdir()
    listing = only(kind, tmp_path)
    found, refused = read_all(listing)
    assert found == truth
    assert said(refused) == f"{top}/empty: no images in this class folder"
    assert listing.splits == {"test": ("AnnualCrop", "Apple___Apple_scab")}
    assert listing.name == kind


def make_isic(root: Path, rows: str) -> None:
    table = f"image,MEL,NV,BCC,AKIEC,BKL,DF,VASC\n{rows}"
    write(root, {"ISIC2018_Task3_Training_GroundTruth/ISIC2018_Task3_Training_GroundTruth.csv": table})


def test_isic_has_the_class_whose_column_is_not_0(tmp_path: Path) -> None:
    rows = {"ISIC_1": "1.0,0.0,0.0,0.0,0.0,0.0,0.0", "ISIC_2": "0,0,0,0,0,0,1"}
    wrong = {"ISIC_3": "0,0,0,0,0,0,0", "ISIC_4": "1,1,0,0,0,0,0", "ISIC_5": "1,0,0,0,0,0,0", "ISIC_6": "1,0"}
    make_isic(tmp_path, "".join(f"{image},{cells}\n" for image, cells in (rows | wrong).items()))
    truth = {
        f"ISIC2018_Task3_Training_Input/{image}.jpg": (label, photo(number))
        for number, (image, label) in enumerate({"ISIC_1": "MEL", "ISIC_2": "VASC"}.items())
    }
    write(tmp_path, {path: content for path, (_, content) in truth.items()})
    listing = only("isic", tmp_path)
    found, refused = read_all(listing)
    assert found == truth
    assert "line 4: it is of no class; expected one column that is not 0" in said(refused)
    assert "line 5: it is of MEL and NV" in said(refused)
    assert "ISIC_5.jpg: there is no such file" in said(refused)
    assert "line 7: it has 3 columns; the first line has 8" in said(refused)


def test_isic_without_its_columns_is_refused(tmp_path: Path) -> None:
    write(tmp_path, {"ISIC2018_Task3_Training_GroundTruth.csv": "image,MEL,NV\nx,1,0\n"})
    with pytest.raises(DataError, match=r"has no column 'BCC' and 'AKIEC'"):
        only("isic", tmp_path)


@pytest.mark.parametrize("folder", ["images", "images_007/images"])
def test_chestx_has_the_images_with_one_finding_of_seven(folder: str, tmp_path: Path) -> None:
    findings = ["Mass", "No Finding", "Mass|Nodule", "Pneumonia", "Nodule", "Hernia", "Effusion"]
    lines = [f"{number:08d}_000.png,{finding},0,5,058Y,M" for number, finding in enumerate(findings)]
    write(tmp_path, {"Data_Entry_2017.csv": "\n".join(["Image Index,Finding Labels,Follow-up #,a,b,c", *lines])})
    images = {f"{folder}/{number:08d}_000.png": photo(number, "PNG", mode="L") for number in range(6)}
    write(tmp_path, images)
    listing = only("chestx", tmp_path)
    found, refused = read_all(listing)
    assert {name: label for name, (label, _) in found.items()} == {
        f"{folder}/00000000_000.png": "Mass",
        f"{folder}/00000004_000.png": "Nodule",
    }
    assert "there is no image '00000006_000.png' in images or images_*/images" in said(refused)
    assert any(note.startswith("4 images with no finding, several, or another one") for note in listing.notes)
    assert listing.flip is False
