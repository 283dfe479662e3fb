"""From the files of the data sets to the paper's table 1, by the shipped configuration, on a few images of noise."""

import csv
import shlex
from pathlib import Path

import pytest
import yaml

from small_meta_dataset import CLASSES, FOLDERS, PLAIN, SHIPPED, small_base, write_meta_dataset, write_others
from smat.cli import main
from smat.domains import open_domains
from smat.metatuning.methods import method_config
from smat.metatuning.run_config import load_config

TRAINED = ["ilsvrc_2012", "omniglot", *PLAIN]
TESTED = ["traffic_sign", "mscoco", *FOLDERS]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the imported data, the base configuration and the finished comparison `out`."""
    root = tmp_path_factory.mktemp("meta_dataset")
    records, data = write_meta_dataset(root), root / "data"
    main(shlex.split(f"data import metadataset {records} {data} --processes 1"))
    write_others(data)
    small = "--steps 1 --grid [1e-3] --episodes 2 --workers 0 --device cpu --precision 32-true"
    compared = f"--methods [pretrained,smat] --adapt [none,full] --paper --out {root / 'out'}"
    main(shlex.split(f"reproduce table1 {small_base(root, data)} {compared} {small}"))
    return root


def test_the_import_names_the_domains_as_the_configuration_does(finished: Path) -> None:
    config = load_config([finished / "meta_dataset.yaml"])
    domains = open_domains([*config.domains, *config.test_domains])
    assert {domain.name: domain.role for domain in domains} == dict.fromkeys(TRAINED, "id") | dict.fromkeys(
        TESTED, "ood"
    )
    for domain in domains[: len(TRAINED)]:
        assert {split: len(classes) for split, classes in domain.splits.items()} == dict.fromkeys(
            ("train", "val", "test"), CLASSES
        )
    assert domains[0].hierarchy("train"), "ImageNet has its graph"


def test_table_1_has_every_data_set_with_the_papers_numbers(finished: Path) -> None:
    page = (finished / "out" / "table1.md").read_text()
    assert "variable way and shot, 128 px, 2 episodes per domain" in page
    assert "| domain | role | pretrained | smat | pretrained + full | smat + full |" in page
    for row in (
        "cu_birds (paper) |  | 85.37 | 92.48 | 85.40 | 92.48",
        "pets (paper) |  | 62.64 | 65.59 | 65.08 | 67.43",
        "ID average (paper) |  | 71.29 | 85.14 | 77.81 | 85.81",
        "OOD average (paper) |  | 64.07 | 67.27 | 74.16 | 75.31",
        "ID+OOD average (paper) |  | 67.28 | 75.21 | 75.78 | 79.98",
    ):
        assert f"| {row} |" in page
    rows = list(csv.DictReader((finished / "out" / "table1.csv").open()))
    assert len(rows) == (18 + 3) * 4
    assert {row["role"] for row in rows if row["row"] in TESTED} == {"ood"}


def test_only_the_eight_are_trained_on(finished: Path) -> None:
    record = yaml.safe_load((finished / "out" / "training" / "smat-seed0" / "versions.yaml").read_text())
    assert set(record["data"]) == set(TRAINED)


def test_methods_without_a_published_rate_have_one_found() -> None:
    rates = {name: method_config(name, SHIPPED).tuning.optimizers.delta.lr for name in ("smat", "pmf", "softmerge")}
    assert rates == {"smat": 1e-4, "pmf": 5e-5, "softmerge": None}
