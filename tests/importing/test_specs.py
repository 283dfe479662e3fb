import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smat.domains.hierarchy import Hierarchy
from smat.errors import DataError
from smat.importing.specs import read_specification


def plain() -> dict[str, Any]:
    """As the converter writes DTD's, with fewer classes."""
    return {
        "name": "dtd",
        "classes_per_split": {"TRAIN": 2, "VALID": 1, "TEST": 2},
        "images_per_class": {"0": 120, "1": 3, "2": 120, "3": 4, "4": 5},
        "class_names": {"0": "chequered", "1": "polka-dotted", "2": "ふわふわ", "3": "a b", "4": "woven"},
        "path": "/path/to/records/dtd",
        "file_pattern": "{}.tfrecords",
        "__class__": "DatasetSpecification",
    }


def two_levels() -> dict[str, Any]:
    """As it writes Omniglot's."""
    return {
        "name": "omniglot",
        "superclasses_per_split": {"TRAIN": 2, "VALID": 0, "TEST": 1},
        "classes_per_superclass": {"0": 2, "1": 1, "2": 2},
        "images_per_class": {str(number): 20 for number in range(5)},
        "superclass_names": {"0": "Greek", "1": "Early_Aramaic", "2": "Japanese_(hiragana)"},
        "class_names": {
            "0": "Greek-character01",
            "1": "Greek-character02",
            "2": "Early_Aramaic-character01",
            "3": "Japanese_(hiragana)-character01",
            "4": "Japanese_(hiragana)-character02",
        },
        "path": "/path/to/records/omniglot",
        "file_pattern": "{}.tfrecords",
        "__class__": "BiLevelDatasetSpecification",
    }


def node(name: str, words: str, children: str = "", parents: str = "") -> dict[str, Any]:
    return {"wn_id": name, "words": words, "children_ids": children.split(), "parents_ids": parents.split()}


def graph() -> dict[str, Any]:
    """As it writes ImageNet's: n3 has two parents, and the words of n1 and n2 are the same."""
    return {
        "name": "ilsvrc_2012",
        "split_subgraphs": {
            "TRAIN": [
                node("n0", "entity", "n1 n2"),
                node("n1", "substance", "n3 n4", "n0"),
                node("n2", "substance", "n3 n5", "n0"),
                node("n3", "milk", parents="n1 n2"),
                node("n4", "salt", parents="n1"),
                node("n5", "oil, fat", parents="n2"),
            ],
            "VALID": [node("n6", "dog", "n7 n8"), node("n7", "pug", parents="n6"), node("n8", "", parents="n6")],
            "TEST": [node("n9", "device")],
        },
        "images_per_class": {
            "TRAIN": {"n0": 60, "n1": 30, "n3": 10, "n4": 20, "n5": 30},
            "VALID": {"n7": 1, "n8": 2, "n6": 3},
            "TEST": {"n9": 7},
        },
        "class_names": {"0": "n3", "1": "n4", "2": "n5", "3": "n7", "4": "n8", "5": "n9"},
        "path": "/path/to/records/ilsvrc_2012",
        "file_pattern": "{}.tfrecords",
        "__class__": "HierarchicalDatasetSpecification",
    }


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "dataset_spec.json"


def test_plain(path: Path) -> None:
    path.write_text(json.dumps(plain(), indent=2))
    found = read_specification(path)
    assert found.name == "dtd"
    assert list(found.classes.items()) == [
        (0, "chequered"),
        (1, "polka-dotted"),
        (2, "ふわふわ"),
        (3, "a b"),
        (4, "woven"),
    ]
    assert found.images == {0: 120, 1: 3, 2: 120, 3: 4, 4: 5}
    assert found.splits == {"train": ("chequered", "polka-dotted"), "val": ("ふわふわ",), "test": ("a b", "woven")}
    assert found.hierarchy is None
    assert not found.sharded


def test_order_of_entries_and_forms_of_numbers_and_names_do_not_matter(path: Path) -> None:
    spec = plain()
    spec["classes_per_split"] = {"2": 2, "0": "2", "1": 1}  # splits by number, in another order
    spec["class_names"] = dict(reversed(spec["class_names"].items())) | {"4": 4}  # traffic signs have numbers as names
    spec["images_per_class"] = {"4": {"train": 3, "test": 2}, "1": 3}  # pools; some are not said
    spec["file_pattern"] = "{}_{}.tfrecords"
    path.write_text(json.dumps(spec))
    found = read_specification(path)
    assert found.splits == {"train": ("chequered", "polka-dotted"), "val": ("ふわふわ",), "test": ("a b", "4")}
    assert list(found.classes) == [0, 1, 2, 3, 4]
    assert found.images == {4: 5, 1: 3}
    assert found.sharded


def test_classes_that_share_a_name_are_told_apart(path: Path) -> None:
    spec = plain()
    spec["class_names"] |= {"1": "amanita", "3": "amanita"}
    path.write_text(json.dumps(spec))
    assert read_specification(path).splits["train"] == ("chequered", "amanita (1)")
    assert read_specification(path).splits["test"] == ("amanita (3)", "woven")


def test_two_levels(path: Path) -> None:
    path.write_text(json.dumps(two_levels()))
    found = read_specification(path)
    greek = ("Greek/character01", "Greek/character02")
    aramaic = ("Early_Aramaic/character01",)
    hiragana = ("Japanese_(hiragana)/character01", "Japanese_(hiragana)/character02")
    assert tuple(found.classes.values()) == (*greek, *aramaic, *hiragana)
    assert found.splits == {"train": (*greek, *aramaic), "val": (), "test": hiragana}
    assert found.hierarchy == Hierarchy(
        "groups",
        {"train": {"Greek": greek, "Early_Aramaic": aramaic}, "val": {}, "test": {"Japanese_(hiragana)": hiragana}},
    )


def test_graph(path: Path) -> None:
    path.write_text(json.dumps(graph()))
    found = read_specification(path)
    assert found.classes == {0: "n3", 1: "n4", 2: "n5", 3: "n7", 4: "n8", 5: "n9"}
    assert found.images == {0: 10, 1: 20, 2: 30, 3: 1, 4: 2, 5: 7}
    assert found.splits == {"train": ("n3", "n4", "n5"), "val": ("n7", "n8"), "test": ("n9",)}
    assert found.hierarchy is not None
    assert found.hierarchy.kind == "graph"
    assert {split: list(groups.items()) for split, groups in found.hierarchy.groups.items()} == {
        "train": [("n0 entity", ("n3", "n4", "n5")), ("n1 substance", ("n3", "n4")), ("n2 substance", ("n3", "n5"))],
        "val": [("n6 dog", ("n7", "n8"))],
        "test": [],
    }


def test_graph_gives_numbers_by_its_names_alone(path: Path) -> None:
    spec = graph()
    spec["class_names"] = {"0": "n9", "1": "n4", "2": "n8", "3": "n7", "4": "n5", "5": "n3"}
    path.write_text(json.dumps(spec))
    found = read_specification(path)
    assert found.images == {0: 7, 1: 20, 2: 2, 3: 1, 4: 30, 5: 10}
    assert found.splits == {"train": ("n4", "n5", "n3"), "val": ("n8", "n7"), "test": ("n9",)}
    assert found.hierarchy is not None
    assert found.hierarchy.groups["train"]["n2 substance"] == ("n5", "n3")


def change(*keys: str, to: Any) -> Callable[[dict[str, Any]], None]:
    def apply(spec: dict[str, Any]) -> None:
        for key in keys[:-1]:
            spec = spec[key]
        spec[keys[-1]] = to

    return apply


def drop(*keys: str) -> Callable[[dict[str, Any]], None]:
    def apply(spec: dict[str, Any]) -> None:
        for key in keys[:-1]:
            spec = spec[key]
        del spec[keys[-1]]

    return apply


def circle(spec: dict[str, Any]) -> None:
    nodes = spec["split_subgraphs"]["TRAIN"]
    nodes[0]["parents_ids"] = ["n4"]
    nodes[4]["children_ids"] = ["n0"]


@pytest.mark.parametrize(
    ("made", "spoil", "reason"),
    [
        (plain, change("__class__", to="Spec"), "'__class__' is 'Spec'"),
        (plain, change("__class__", to=["DatasetSpecification"]), "'__class__'"),
        (plain, drop("__class__"), "'__class__' is None"),
        (plain, change("name", to="../dtd"), "'name'"),
        (plain, change("name", to=".."), "'name'"),
        (plain, drop("name"), "'name'"),
        (plain, change("file_pattern", to="../{}.tfrecords"), "'file_pattern'"),
        (plain, change("classes_per_split", "TRAIN", to=3), "5 entries; by its other numbers there should be 6"),
        (plain, change("classes_per_split", "TRAIN", to=10**30), "'class_names' has 5 entries"),
        (plain, change("classes_per_split", "TRAIN", to=-2), "-2"),
        (plain, change("classes_per_split", "TRAIN", to=2.0), "2.0"),
        (plain, change("classes_per_split", "TRAIN", to=True), "True"),
        (plain, drop("classes_per_split", "VALID"), "TRAIN, TEST; it should have TRAIN, VALID, TEST"),
        (plain, change("classes_per_split", "0", to=1), "TRAIN, VALID, TEST, 0; it should"),
        (plain, change("classes_per_split", to=5), "'classes_per_split' should be a JSON object"),
        (plain, drop("class_names", "2"), "'class_names' has 4 entries"),
        (plain, change("class_names", to={"0": "a", "1": "b", "2": "c", "3": "d", "5": "e"}), "no entry '4'"),
        (plain, change("class_names", "2", to=["x"]), "strings"),
        (plain, change("class_names", "2", to="half \ud800"), "surrogates"),
        (plain, change("images_per_class", "9", to=1), "class '9'; there are 0 to 4"),
        (plain, change("images_per_class", "1", to="many"), "many"),
        (plain, change("images_per_class", "1", to=float("nan")), "nan"),
        (two_levels, change("superclasses_per_split", "TRAIN", to=4), "'superclass_names' has 3 entries"),
        (two_levels, change("classes_per_superclass", "1", to=2), "'class_names' has 5 entries"),
        (two_levels, drop("classes_per_superclass", "1"), "'classes_per_superclass' has 2 entries"),
        (graph, circle, "circle: .*n0"),
        (graph, change("split_subgraphs", "VALID", to=[node("n6", "", "n7")]), "child 'n7', which the val graph"),
        (graph, change("split_subgraphs", "TEST", to=[node("n9", "", "", "n2")]), "parent 'n2'"),
        (
            graph,
            change("split_subgraphs", "TEST", to=[node("n9", "", "n5"), node("n5", "")]),
            "not have it as a parent",
        ),
        (graph, change("split_subgraphs", "TEST", to=[node("n9", "")] * 2), "'n9' twice"),
        (graph, change("split_subgraphs", "TEST", to=[node("n3", "")]), "both have the leaf 'n3'"),
        (graph, change("split_subgraphs", "TEST", to=[node("n99", "")]), "'n99', which is not in 'class_names'"),
        (graph, change("split_subgraphs", "TEST", to=[]), "'n9' is no leaf"),
        (graph, change("split_subgraphs", "TEST", to="n9"), "list of nodes"),
        (graph, change("split_subgraphs", "TEST", to=[{"wn_id": "n9"}]), "'children_ids'"),
        (graph, change("class_names", "4", to="n7"), "twice"),
        (graph, change("class_names", to={}), "no classes"),
        (graph, drop("split_subgraphs", "TEST"), "'split_subgraphs' has TRAIN, VALID"),
        (graph, change("images_per_class", "TEST", to=7), "no numbers for test"),
    ],
)
def test_contradiction_is_said(
    made: Callable[[], dict[str, Any]], spoil: Callable[[dict[str, Any]], None], reason: str, path: Path
) -> None:
    spec = made()
    spoil(spec)
    path.write_text(json.dumps(spec))
    with pytest.raises(DataError, match=reason) as error:
        read_specification(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\xff\xfe\x00", b"[1]", b"[" * 100_000, b'{"a": 1' + b"0" * 9999 + b"}"]
)
def test_what_is_no_json_is_said(content: bytes, path: Path) -> None:
    path.write_bytes(content)
    with pytest.raises(DataError, match="no specification"):
        read_specification(path)


def test_missing_file_is_said(path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read: No such file"):
        read_specification(path)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("specs") / "dataset_spec.json"


@given(
    made=st.sampled_from([plain, two_levels, graph]),
    flips=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=4),
    end=st.none() | st.integers(0, 10**6),
)
def test_damaged_specification_is_refused_or_whole(
    made: Callable[[], dict[str, Any]], flips: list[tuple[int, int]], end: int | None, place: Path
) -> None:
    content = bytearray(json.dumps(made()).encode())
    for at, value in flips:
        content[at % len(content)] = value
    place.write_bytes(content[: end % len(content) if end is not None else None])
    try:
        found = read_specification(place)
    except DataError:
        return
    names = [name for split in ("train", "val", "test") for name in found.splits[split]]
    assert sorted(names) == sorted(set(found.classes.values()))
    assert list(found.classes) == list(range(len(found.classes)))
    assert set(found.images) <= set(found.classes)
    if found.hierarchy:
        for split, groups in found.hierarchy.groups.items():
            assert {name for group in groups.values() for name in group} <= set(found.splits[split])
