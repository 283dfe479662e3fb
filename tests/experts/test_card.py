"""Cards of pools: what they keep, what they refuse, and what they say."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard

from cards import RESULT, full_card
from smat import backbones
from smat.cards import table
from smat.errors import CheckpointError, ConfigError
from smat.experts import Analysis, Card, Figure, PoolConfig, SparseInterpolatedExperts, Validation, add_to_card
from smat.experts.card_text import card_text
from smat.left_out import collecting
from tiny import tiny_pool
from tiny_checkpoint import save_checkpoint

load = SparseInterpolatedExperts.from_pretrained


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A pool with a card that says everything."""
    place = Path(save_checkpoint(tmp_path / "pool"))
    pool = load(place)
    pool.card = full_card(pool)
    pool.save_pretrained(place)
    return place


def readme(folder: Path) -> str:
    return (folder / "README.md").read_text(encoding="utf-8")


def head_of(text: str) -> Any:
    """What the hub reads of a README."""
    return ModelCard(text).data


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    said = json.loads((folder / "card.json").read_text())
    change(said)
    (folder / "card.json").write_text(json.dumps(said))


# -- saving and loading ------------------------------------------------------------------------------------------------


def test_loading_and_saving_again_loses_nothing(folder: Path, tmp_path: Path) -> None:
    pool = load(folder)
    assert pool.card == full_card(pool)
    pool.save_pretrained(tmp_path / "again")
    for name in ("card.json", "README.md", "figures/open.svg"):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()


def test_a_folder_without_a_card_works_as_before(folder: Path, tmp_path: Path) -> None:
    for name in ("card.json", "README.md"):
        (folder / name).unlink()
    pool = load(folder)
    assert pool.card == Card()
    pool.save_pretrained(tmp_path / "again")
    assert "How good it is" not in readme(tmp_path / "again")


def test_results_of_other_numbers_are_left_out_with_a_word(folder: Path, tmp_path: Path) -> None:
    pool = load(folder)
    next(pool.update.parameters()).data.add_(1)
    pool.tasks_seen += 1
    with collecting() as left:
        pool.save_pretrained(tmp_path / "changed")
    assert list(left[0].names) == ["results on birds", "analysis"]
    again = load(tmp_path / "changed").card
    assert (again.results, again.analysis, again.validation, again.files) == ([], None, None, {})
    assert again.training == full_card(pool).training


def test_what_was_found_of_the_same_pool_meanwhile_is_kept(folder: Path) -> None:
    pool = load(folder)
    add_to_card(folder, "results", [replace(RESULT, checkpoint=pool.fingerprint(), domain="fish")])
    pool.save_pretrained(folder)
    assert [result.domain for result in pool.card.results] == ["fish", "birds"]
    assert load(folder).card == pool.card


def test_a_pool_in_the_place_of_another_has_nothing_of_its_card(folder: Path) -> None:
    pool = load(folder)
    next(pool.update.parameters()).data.add_(1)
    pool.card = Card()
    with collecting() as left:
        pool.save_pretrained(folder)
    assert not left
    assert load(folder).card.results == []
    assert "birds" not in readme(folder)


def test_fields_of_the_head_are_given_as_to_the_hub_and_kept(folder: Path, tmp_path: Path) -> None:
    load(folder).save_pretrained(tmp_path / "a", model_card_kwargs={"license": "mit", "tags": ["birds"]})
    load(tmp_path / "a").save_pretrained(tmp_path / "b")
    head = head_of(readme(tmp_path / "b"))
    assert head.license == "mit"
    assert {"few-shot", "birds"} <= set(head.tags or [])
    with pytest.raises(ConfigError, match="model_card_kwargs license is 3"):
        load(folder).save_pretrained(tmp_path / "c", model_card_kwargs={"license": 3})
    with pytest.raises(ConfigError, match="eval_results, which is made from the results"):
        load(folder).save_pretrained(tmp_path / "c", model_card_kwargs={"eval_results": "x"})


# -- READMEs -----------------------------------------------------------------------------------------------------------


def test_a_readme_of_ones_own_stays_and_goes_along(folder: Path, tmp_path: Path) -> None:
    (folder / "README.md").write_text("# My birds\n")
    pool = load(folder)
    pool.save_pretrained(tmp_path / "again")
    assert readme(tmp_path / "again") == "# My birds\n"
    with collecting() as left:
        add_to_card(folder, "results", [replace(RESULT, checkpoint="x", domain="fish")])
    assert "text of your own" in str(left[0])
    assert readme(folder) == "# My birds\n"
    assert load(folder).card.results[-1].domain == "fish"


def test_the_readme_of_an_earlier_version_is_replaced(folder: Path) -> None:
    link = "https://huggingface.co/docs/huggingface_hub/package_reference/mixins#huggingface_hub.PyTorchModelHubMixin"
    (folder / "README.md").write_text(f"---\ntags: [few-shot]\n---\nPushed using [PytorchModelHubMixin]({link})\n")
    load(folder).save_pretrained(folder)
    assert "| birds |" in readme(folder)


# -- damage ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda said: said.update(format=9), "upgrade smat"),
        (lambda said: said.pop("format"), "format is missing"),
        (lambda said: said.update(author="me"), "author is not known to this version"),
        (lambda said: said["results"][0].update(accuracy=71.2), r"results\.0\.accuracy is 71\.2; expected 0 to 1"),
        (lambda said: said["training"]["domains"][0].pop("name"), r"training\.domains\.0\.name is missing"),
        (lambda said: said["validation"].update(accuracies={}), r"validation\.accuracies"),
        (lambda said: said["analysis"]["figures"][0].update(file="../a.svg"), r"'\.\./a\.svg'; give the name of a PNG"),
        (lambda said: said.update(metadata={"model-index": "x"}), "model-index, which is made from the results"),
    ],
)
def test_a_damaged_card_is_refused_by_name(folder: Path, change: Callable[[dict[str, Any]], object], says: str) -> None:
    edit(folder, change)
    for use in (lambda: load(folder), lambda: add_to_card(folder, "metadata", {"license": "mit"})):
        with pytest.raises(CheckpointError, match=says) as raised:
            use()
        assert "card.json" in str(raised.value)


def test_a_damaged_card_is_replaced_by_that_of_a_pool_that_is_saved(folder: Path) -> None:
    pool = load(folder)
    (folder / "card.json").write_text("{")
    with collecting() as left:
        pool.save_pretrained(folder)
    assert "it was damaged" in str(left[0])
    assert load(folder).card == full_card(pool)


def test_a_figure_that_is_missing_is_left_out_with_a_word(folder: Path) -> None:
    (folder / "figures" / "open.svg").unlink()
    with collecting() as left:
        analysis = load(folder).card.analysis
    assert "1 figure was left out" in str(left[0])
    assert analysis
    assert (analysis.figures, len(analysis.findings)) == ([], 1)


# -- additions ---------------------------------------------------------------------------------------------------------


def test_a_newer_result_of_the_same_takes_the_place_of_the_earlier(folder: Path) -> None:
    current = load(folder).fingerprint()
    newer = replace(RESULT, checkpoint=current, accuracy=0.8, episodes=1000)
    other = replace(RESULT, checkpoint=current, shot=5)
    add_to_card(folder, "results", [newer, other])
    assert load(folder).card.results == [newer, other]
    assert "80.0 ± 0.8" in readme(folder)


def test_an_analysis_takes_the_place_of_the_earlier_with_its_figures(folder: Path) -> None:
    new = Analysis(load(folder).fingerprint(), ["Nothing else."], [Figure("weights.png", "Merge weights")])
    add_to_card(folder, "analysis", new, {"weights.png": b"png"})
    assert [file.name for file in (folder / "figures").iterdir()] == ["weights.png"]
    assert load(folder).card.analysis == new
    assert "![Merge weights](figures/weights.png)" in readme(folder)
    add_to_card(folder, "analysis", {"checkpoint": new.checkpoint})  # plain data, and no figure
    assert not list((folder / "figures").iterdir())


@pytest.mark.parametrize(
    ("section", "data", "files", "says"),
    [
        ("training", {"tasks": 3}, {}, r"training\.domains is missing"),
        ("training", 3, {}, "training is of type int; give a Training"),
        ("results", [vars(RESULT) | {"domain": 3}], {}, r"results\.0\.domain is 3"),
        ("results", 3, {}, "results is of type int; give a list of Result"),
        ("metadata", 3, {}, "metadata is of type int; give fields by name"),
        ("analysis", Analysis("x", [], [Figure("a.svg", "")]), {}, "files are none, and the analysis names a.svg"),
        ("analysis", Analysis("x"), {"a.svg": b""}, "files are a.svg, and the analysis names none"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_is_changed(
    folder: Path, section: Any, data: Any, files: dict[str, bytes], says: str
) -> None:
    before = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    with pytest.raises(ConfigError, match=says):
        add_to_card(folder, section, data, files)
    assert {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()} == before


def test_there_must_be_a_pool(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is no smat checkpoint"):
        add_to_card(tmp_path, "results", [RESULT])


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write everywhere")
def test_the_folder_must_be_writable(folder: Path) -> None:
    folder.chmod(0o500)
    try:
        with pytest.raises(ConfigError, match="cannot be written to"):
            add_to_card(folder, "results", [RESULT])
    finally:
        folder.chmod(0o700)


# -- what it says ------------------------------------------------------------------------------------------------------


def test_the_hub_is_told_what_was_measured(folder: Path) -> None:
    head = head_of(readme(folder))
    assert (head.library_name, head.pipeline_tag, head.license) == ("smat", "image-classification", "apache-2.0")
    assert (head.base_model, head.datasets, head.metrics) == ("owner/vit", ["owner/photos"], ["accuracy"])
    assert head.eval_results
    (result,) = head.eval_results
    assert (result.dataset_name, result.dataset_split, result.metric_value) == ("birds", "test", 0.7123)
    assert result.metric_args == {"half_width": 0.0081, "episodes": 600, "seed": 0, "head": "auto"}


def test_the_text_says_what_is_known(folder: Path) -> None:
    text = readme(folder)
    assert "# 2 experts around tiny" in text
    assert "| photos | training | 40 | owner/photos | a1b2c3d4e5f6 |" in text
    assert "tuning.seed: 3" in text
    assert "| mean | 50.0 |" in text
    assert "5-way 1-shot, test classes | smat, head auto | 600 | 71.2 ± 0.8 | +2.0 ± 0.4 |" in text
    assert "- Experts 0 and 1 open **the same** blocks." in text
    assert "![Open gates](figures/open.svg)" in text
    assert "licence (Apache-2.0)" in text


def test_it_says_nothing_of_what_is_not_known(tmp_path: Path) -> None:
    pool = SparseInterpolatedExperts(backbones.load("pocket"), PoolConfig(experts=2))
    pool.save_pretrained(tmp_path)
    text = readme(tmp_path)
    head = head_of(text)
    assert (head.base_model, head.datasets, head.metrics, head.eval_results, head.license) == (None,) * 5
    assert [line for line in text.splitlines() if line.startswith("## ")] == ["## Use", "## Limits"]


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"experts": 0}, "| experts | none: the pre-trained network alone |"),
        ({"experts": 1, "gating": "open", "method": "pmf"}, "# 1 expert around"),
        ({"gating": "open", "separate_deltas": True}, "| their update | one of its own each |"),
        ({"gating": "magnitude", "separate_deltas": True}, "| gates | magnitude |"),
        ({"null_expert": True}, "| experts | 2 and a null expert, which changes nothing |"),
    ],
)
def test_it_says_what_the_experts_are(settings: dict[str, Any], says: str) -> None:
    assert says in str(tiny_pool(**settings).generate_model_card())


def test_it_says_how_a_pool_around_code_of_ones_own_is_loaded(folder: Path) -> None:
    assert 'from_pretrained("FOLDER", backbone=backbone)' in str(tiny_pool().generate_model_card())
    config = json.loads((folder / "config.json").read_text())
    config["pool"]["update"] = {"class_path": "my_lab.updates.Mine", "init_args": {}}
    text = card_text(config, Card())
    assert "FewShotClassifier(\"FOLDER\", allow_imports=['my_lab'])" in text
    assert "--query photos --allow-import my_lab" in text


def test_folders_of_one_machine_are_not_told() -> None:
    config = {"method": "smat", "image_size": 32, "pool": {"experts": 1}, "backbone": {"name": "../shared/of/vit"}}
    assert "# 1 expert around vit\n" in card_text(config, Card())
    assert "shared" not in card_text(config, Card())


def test_tables_keep_to_their_columns() -> None:
    text = table(["name", "empty", "number"], [["a|b\nc", "", "1.0 ± 0.2"], ["<b>", "", "-3"]])
    assert text == "| name | number |\n| --- | ---: |\n| a\\|b c | 1.0 ± 0.2 |\n| &lt;b> | -3 |\n"


def test_a_validation_is_of_the_pool_as_it_was_then(tmp_path: Path) -> None:
    pool = tiny_pool()
    pool.card = replace(pool.card, validation=Validation(0, 2, {"shapes": 0.5}))
    assert "Accuracy on validation classes" in str(pool.generate_model_card())
    pool.tasks_seen += 2
    assert "Accuracy on validation classes" not in str(pool.generate_model_card())
