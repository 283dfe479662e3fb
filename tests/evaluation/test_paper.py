"""The paper's numbers, against each other."""

import pytest

from smat.errors import ConfigError
from smat.evaluation import paper_numbers
from smat.metatuning.methods import METHODS

ID = ["ilsvrc_2012", "aircraft", "omniglot", "cu_birds", "dtd", "quickdraw", "fungi", "vgg_flower"]
OOD = ["traffic_sign", "mscoco", "cifar10", "cifar100", "mnist", "sketch", "food", "clipart", "pets", "cars"]
PLAIN = ["pretrained", "pmf", "softmerge", "smat"]
COLUMNS = [f"{m}{kind}" for kind in ("", " + full", " + lora") for m in PLAIN if m + kind != "softmerge + lora"]


def test_averages_are_those_of_the_domains() -> None:
    rows = paper_numbers("table1", COLUMNS, ID + OOD)
    assert rows.keys() == {*ID, *OOD, "ID average", "OOD average", "ID+OOD average"}
    for column in COLUMNS:
        for name, domains in (("ID average", ID), ("OOD average", OOD), ("ID+OOD average", ID + OOD)):
            mean = sum(rows[domain][column] for domain in domains) / len(domains)
            printed_otherwise = (name, column) == ("ID average", "softmerge + full")  # as the paper has it
            assert rows[name][column] == pytest.approx(mean, abs=2e-3 if printed_otherwise else 1e-4)
    assert round(rows["ID+OOD average"]["smat"], 4) == 0.7521


def test_table_2_is_of_methods_that_there_are() -> None:
    rows = paper_numbers("table2", list(METHODS), ID)
    assert rows.keys() == {"ID average", "OOD average", "ID+OOD average"}
    methods = [
        "smat",
        "smat-no-teacher",
        "smat-one-expert",
        "smat-no-episodes",
        "dense-teacher",
        "pmf",
        "pmf-no-episodes",
    ]
    for row in rows.values():
        assert sorted(row) == sorted(methods)
        assert row["pmf"] == row["pmf-no-episodes"]
    ours = paper_numbers("table1", ["smat", "pmf"], [])
    for name in ("ID average", "OOD average"):
        assert rows[name]["smat"] == ours[name]["smat"]
        assert rows[name]["pmf"] == pytest.approx(ours[name]["pmf"], abs=1.1e-4)


def test_domains_are_known_by_the_names_of_their_imports_and_others_have_no_row() -> None:
    rows = paper_numbers("table1", ["smat", "mine"], ["cub", "cu_birds", "gtsrb", "butterflies"])
    assert rows["cub"] == rows["cu_birds"] == {"smat": pytest.approx(0.9248)}
    assert rows["gtsrb"] == {"smat": pytest.approx(0.5851)}
    assert "butterflies" not in rows


@pytest.mark.parametrize(
    ("table", "columns", "message"),
    [
        ("sparsity", ["smat"], "no numbers for sparsity, only for table1 and table2"),
        ("table1", ["mine", "knn"], "no numbers for mine, knn in table1, only for pretrained, pmf"),
        ("table2", ["smat + full"], "no numbers for smat . full in table2, only for smat, smat-no-teacher"),
    ],
)
def test_what_the_paper_does_not_have_is_refused(table: str, columns: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        paper_numbers(table, columns, ID)
