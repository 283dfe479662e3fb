from pathlib import Path

import pytest

from smat.domains.sources import hub_name


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("hub:owner/birds", "owner/birds"),
        ("hub:birds", "birds"),
        ("owner/birds", "owner/birds"),
        ("photos/birds", None),  # a folder that is there
        ("owner/birds.parquet", None),
        ("birds", None),
        ("../owner/birds", None),
    ],
)
def test_names_on_the_hub(source: str, name: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "photos" / "birds").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert hub_name(source) == name
