from collections.abc import Callable
from pathlib import Path

import pytest

from smat.domains import open_domain
from smat.errors import DataError
from smat.importing import KINDS, Listing, import_domain, list_sources
from smat.importing.class_splits import META_DATASET, numbered_names
from tiny_sources import (
    Truth,
    make_cub,
    make_domainnet,
    make_dtd,
    make_food,
    make_gtsrb,
    make_pets,
    photo,
    read_all,
    said,
    write,
)

SIGNS = {0: "00.Speed limit (20km/h)", 14: "14.Stop", 42: "42.End of no passing by vehicles over 3.5 metric tons"}
BIRDS = ("001.Black_footed_Albatross", "008.Rhinoceros_Auklet", "044.Frigatebird", "001.Vogel_mit_Weiß")


def one(listings: list[Listing]) -> Listing:
    (listing,) = listings
    return listing


@pytest.mark.parametrize(
    ("make", "kind", "classes"),
    [
        (lambda root: make_gtsrb(root, SIGNS), "gtsrb", tuple(SIGNS.values())),
        (
            lambda root: make_domainnet(root, "sketch", ("zebra", "alarm clock", "海鷗")),
            "domainnet",
            ("zebra", "alarm clock", "海鷗"),
        ),
        (
            lambda root: make_pets(root, ("Abyssinian", "english_setter", "Шпиц")),
            "pets",
            ("Abyssinian", "english_setter", "Шпиц"),
        ),
        (
            lambda root: make_food(root, ("waffles", "apple_pie", "crème brûlée")),
            "food",
            ("waffles", "apple_pie", "crème brûlée"),
        ),
        (
            lambda root: make_dtd(root, ("woven", "banded", "polka-dotted")),
            "dtd",
            ("banded", "polka-dotted", "woven"),
        ),
        (lambda root: make_cub(root, BIRDS), "cub", BIRDS),
    ],
)
def test_images_come_with_their_bytes_and_classes(
    make: Callable[[Path], Truth], kind: str, classes: tuple[str, ...], tmp_path: Path
) -> None:
    truth = make(tmp_path)
    listing = one(list_sources(kind, tmp_path))
    found, refused = read_all(listing)
    assert found == truth
    assert refused == []
    assert listing.classes == classes
    assert sum(part.images for part in listing.parts) == len(truth)
    assert [part.label for part in listing.parts] == sorted(part.label for part in listing.parts)


def test_a_listing_can_be_imported_and_opened(tmp_path: Path) -> None:
    truth = make_pets(tmp_path / "pets", ("Abyssinian", "english_setter"))
    imported = import_domain(one(list_sources("pets", tmp_path / "pets")), tmp_path / "out")
    assert imported.images == len(truth)
    domain = open_domain(tmp_path / "out" / "pets")
    assert domain.classes("test") == ("Abyssinian", "english_setter")
    assert domain.image_name(0) == "images/Abyssinian_1.jpg"
    import_domain(one(list_sources("pets", tmp_path / "pets")), tmp_path / "out")  # nothing to do


def test_the_source_may_be_the_folder_above_or_the_folder_itself(tmp_path: Path) -> None:
    truth = make_food(tmp_path, ("apple_pie",))
    assert read_all(one(list_sources("food", tmp_path / "food-101")))[0] == truth
    assert read_all(one(list_sources("food", tmp_path)))[0] == truth


def test_what_is_not_of_a_kind_says_which_it_might_be(tmp_path: Path) -> None:
    make_food(tmp_path, ("apple_pie",))
    with pytest.raises(DataError, match=r"not of kind cub.*image_class_labels.txt.*might be of kind food"):
        list_sources("cub", tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"not of kind dtd.*labels_joint_anno\.txt'\. Give the folder"):
        list_sources("dtd", tmp_path / "empty")
    with pytest.raises(DataError, match=r"there is no folder .*nowhere'; for dtd, give one with images and labels"):
        list_sources("dtd", tmp_path / "nowhere")


def test_lists_without_any_image_are_refused(tmp_path: Path) -> None:
    write(tmp_path, {"meta/classes.txt": "apple_pie\n", "meta/train.txt": "cake/1\n", "meta/test.txt": ""})
    with pytest.raises(DataError, match=r"lists no image .*food(.|\n)*train\.txt, line 1: its class 'cake'"):
        list_sources("food", tmp_path)
    (tmp_path / "meta/train.txt").unlink()
    (tmp_path / "meta/test.txt").unlink()
    with pytest.raises(DataError, match=r"neither meta/train\.txt nor meta/test\.txt"):
        list_sources("food", tmp_path)


def test_classes_are_divided_as_meta_dataset_does(tmp_path: Path) -> None:
    make_cub(tmp_path, BIRDS)
    listing = one(list_sources("cub", tmp_path))
    assert listing.splits == {
        "train": ("001.Black_footed_Albatross",),
        "val": ("044.Frigatebird",),
        "test": ("008.Rhinoceros_Auklet", "001.Vogel_mit_Weiß"),
    }
    assert any(
        "1 classes that Meta-Dataset does not have, such as '001.Vogel_mit_Weiß'" in note for note in listing.notes
    )
    assert any("197 classes that Meta-Dataset has" in note for note in listing.notes)


def test_sources_without_a_split_are_for_testing(tmp_path: Path) -> None:
    make_pets(tmp_path, ("Abyssinian", "beagle"))
    listing = one(list_sources("pets", tmp_path))
    assert listing.splits == {"test": ("Abyssinian", "beagle")}
    assert "Meta-Dataset has no split of these classes: all are for testing" in listing.notes


def test_the_splits_have_the_sizes_that_the_paper_says() -> None:
    with_splits = [kind for kind in KINDS.values() if kind.splits is not None]
    assert [kind.name for kind in with_splits] == [
        *("gtsrb", "coco", "flowers", "dtd", "aircraft", "cub", "quickdraw", "ilsvrc", "fungi")
    ]
    for kind in with_splits:
        assert kind.splits is not None
        names = [name for split in kind.splits.values() for name in split]
        assert len(set(names)) == len(names)
        assert list(kind.splits) == ["train", "val", "test"]
        assert tuple(map(len, kind.splits.values())) == kind.known[0].splits
    assert len(META_DATASET["omniglot"]["val"]) == 5
    assert sorted(numbered_names(KINDS["flowers"])) == list(range(1, 103))
    assert sorted(numbered_names(KINDS["cub"])) == list(range(1, 201))
    assert sorted(numbered_names(KINDS["gtsrb"])) == list(range(43))


def test_wrong_lines_are_named_and_the_others_kept(tmp_path: Path) -> None:
    truth = make_food(tmp_path, ("apple_pie", "waffles"))
    train = tmp_path / "food-101/meta/train.txt"
    extra = (
        "cake/1\n"  # no such class
        "apple_pie\n"  # no image
        "apple_pie/9999\n"  # no such file
        "apple_pie/../../secret\n"
        "/apple_pie/1\n"
        "apple_pie/1\x001\n"
        "apple_pie/..\\..\\x\n"
        "\n"
    )
    before = train.read_text().count("\n")
    train.write_bytes(train.read_bytes() + extra.encode() + b"apple_pie/\xff\xfe\n")
    found, refused = read_all(one(list_sources("food", tmp_path)))
    assert found == truth
    assert len(refused) == 8
    for place, reason in [
        (f"meta/train.txt, line {before + 1}", "its class 'cake' is not in meta/classes.txt"),
        (f"meta/train.txt, line {before + 2}", "it says 'apple_pie'; expected 'CLASS/IMAGE'"),
        ("images/apple_pie/9999.jpg", "there is no such file"),
        (f"meta/train.txt, line {before + 4}", "expected 'CLASS/IMAGE'"),
        (f"meta/train.txt, line {before + 5}", "expected 'CLASS/IMAGE'"),
        (f"meta/train.txt, line {before + 6}", "characters that are no text"),
        (f"meta/train.txt, line {before + 7}", "is no path of an image"),
        (f"meta/train.txt, line {before + 9}", "it is no text in UTF-8"),
    ]:
        assert any(entry.place == place and reason in entry.reason for entry in refused), (place, said(refused))


@pytest.mark.parametrize(
    "path", ["sketch/bird/../../../secret.jpg", "/sketch/bird/x.jpg", "sketch/../x.jpg", "sketch/bird/.."]
)
def test_paths_that_leave_the_source_are_refused(path: str, tmp_path: Path) -> None:
    truth = make_domainnet(tmp_path / "source", "sketch", ("bird",))
    write(tmp_path, {"secret.jpg": photo(0), "source/x.jpg": photo(0)})
    test = tmp_path / "source/sketch_test.txt"
    test.write_text(test.read_text() + f"{path} 0\n")
    found, refused = read_all(one(list_sources("domainnet", tmp_path / "source")))
    assert found == truth
    assert len(refused) == 1
    assert refused[0].place == "sketch_test.txt, line 2"


def test_links_that_leave_the_source_are_refused(tmp_path: Path) -> None:
    truth = make_dtd(tmp_path / "source", ("banded", "woven"))
    secret = tmp_path / "secret.jpg"
    secret.write_bytes(photo(0))
    linked = "images/banded/banded_0001.jpg"
    (tmp_path / "source/dtd" / linked).unlink()
    (tmp_path / "source/dtd" / linked).symlink_to(secret)
    found, refused = read_all(one(list_sources("dtd", tmp_path / "source")))
    assert found == {path: content for path, content in truth.items() if path != linked}
    assert said(refused) == f"{linked}: it is a symbolic link that leaves the source folder"
    labels = tmp_path / "source/dtd/labels/labels_joint_anno.txt"
    labels.rename(tmp_path / "labels.txt")
    labels.symlink_to(tmp_path / "labels.txt")
    with pytest.raises(DataError, match="symbolic link that leaves"):
        list_sources("dtd", tmp_path / "source")


def test_domainnet_has_a_domain_for_each_pair_of_lists(tmp_path: Path) -> None:
    truths = {name: make_domainnet(tmp_path, name, ("bird", "zebra")) for name in ("clipart", "sketch")}
    write(tmp_path, {"real_train.txt": "real/bird/real_1.jpg 0\n"})
    listings = list_sources("domainnet", tmp_path)
    assert [listing.name for listing in listings] == ["clipart", "sketch"]
    for listing in listings:
        assert read_all(listing) == (truths[listing.name], [])
        assert listing.splits == {"test": ("bird", "zebra")}
        assert "there are lists of 'real', but no folder of it: it is left out" in listing.notes
    (tmp_path / "sketch_test.txt").unlink()
    assert any(
        "only the list sketch_train.txt is there" in note for note in list_sources("domainnet", tmp_path)[1].notes
    )
    write(tmp_path / "other", {"real_train.txt": "real/bird/real_1.jpg 0\n"})
    with pytest.raises(DataError, match=r"has lists \(real\), but no folder of these names"):
        list_sources("domainnet", tmp_path / "other")


@pytest.mark.parametrize(
    "line", ["sketch/bird/sketch_000_000000.jpg 1", "sketch/zebra/a.jpg 0", "sketch/bee/a.jpg 1", "sketch/bird/a.jpg 7"]
)
def test_names_and_numbers_of_classes_must_go_together(line: str, tmp_path: Path) -> None:
    truth = make_domainnet(tmp_path, "sketch", ("bird", "zebra"))
    write(tmp_path, {line.split()[0]: photo(0)} if "/a.jpg" in line else {})
    train = tmp_path / "sketch_train.txt"
    train.write_text(f"{line}\n" + train.read_text())
    listing = one(list_sources("domainnet", tmp_path))
    found, refused = read_all(listing)
    assert found == truth
    assert listing.classes == ("bird", "zebra")
    assert len(refused) == 1
    assert refused[0].place == "sketch_train.txt, line 1"
    assert "in other lines they do not go together" in refused[0].reason


def test_pets_can_do_with_the_lists_of_their_parts(tmp_path: Path) -> None:
    truth = make_pets(tmp_path, ("Abyssinian", "beagle"))
    lines = [line for line in (tmp_path / "annotations/list.txt").read_text().splitlines() if not line.startswith("#")]
    (tmp_path / "annotations/list.txt").unlink()
    write(tmp_path, {"annotations/trainval.txt": "\n".join(lines[::2]), "annotations/test.txt": "\n".join(lines[1::2])})
    assert read_all(one(list_sources("pets", tmp_path))) == (truth, [])
    (tmp_path / "annotations/test.txt").unlink()
    listing = one(list_sources("pets", tmp_path))
    assert len(read_all(listing)[0]) == 3
    assert any("only the list trainval.txt" in note for note in listing.notes)
