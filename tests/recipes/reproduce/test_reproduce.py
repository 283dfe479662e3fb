"""Comparisons from training to tables: the same episodes for all, and nothing computed twice."""

import csv
import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from PIL import Image

from passes import count_passes
from small_comparison import DOMAINS, SMALL
from smat.domains.pocket import PocketDomain
from smat.episodes import EpisodeOptions
from smat.errors import ConfigError, Interrupted
from smat.evaluation import CellKey, Store
from smat.experts import SparseInterpolatedExperts
from smat.heads import Logistic
from smat.plugins import describe
from smat.recipes.evaluate import evaluate
from smat.recipes.reproduce.episodes import EpisodeOverrides
from smat.recipes.reproduce.run import reproduce
from smat.recipes.reproduce.setting import Setting
from smat.recipes.reproduce.sweeps import Sweep


@pytest.fixture(scope="module")
def finished(base: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished comparison of pmf and smat with two seeds."""
    out = tmp_path_factory.mktemp("finished")
    reproduce("table1", base, out=str(out), methods=["pretrained", "knn", "pmf", "smat"], seeds=[0, 1], **SMALL)
    return out


@pytest.fixture
def out(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished comparison's folder."""
    return Path(shutil.copytree(finished, tmp_path / "out"))


def cells(folder: Path) -> dict[str, Any]:
    """What is stored, by key, without times."""
    found = [json.loads(line) for line in (folder / "cells.jsonl").read_text().splitlines()]
    return {json.dumps(cell.pop("key")): cell | {"seconds": 0} for cell in found}


def test_every_cell_is_that_of_evaluate_on_the_same_episodes(finished: Path) -> None:
    keys = {key: json.loads(key) for key in cells(finished)}
    stored = {(k["method"], k["seed"], k["domain"]): cells(finished)[key] | {"key": k} for key, k in keys.items()}
    assert len(stored) == (2 + 2 * 2) * 2
    settings = SMALL | {"options": EpisodeOptions(way=3, shot=2, query=3), "head": "prototype"}
    settings.pop("domains")
    for method, seed in (("pmf", 0), ("smat", 1)):
        path = str(finished / "training" / f"{method}-seed{seed}" / "best")
        for cell in evaluate(path, DOMAINS, **settings).cells:
            theirs = stored[cell.key.method, 0 if cell.key.method == "pretrained" else seed, cell.key.domain]
            key = asdict(cell.key) | {"seed": theirs["key"]["seed"]}
            assert asdict(cell) | {"seconds": 0, "key": key} == theirs
    seeds = [yaml.safe_load((finished / "training" / f"smat-seed{s}" / "config.yaml").read_text()) for s in (0, 1)]
    assert [config["tuning"]["seed"] for config in seeds] == [0, 1]
    assert stored["smat", 0, "molecules"] != stored["smat", 1, "molecules"]


def test_tables_of_all_forms(finished: Path) -> None:
    page = (finished / "table1.md").read_text()
    assert "3-way 2-shot, 16 px, 4 episodes per domain, 2 training seeds" in page
    assert "| domain | role | pretrained | knn | pmf | smat |" in page
    assert r"\toprule" in (finished / "table1.tex").read_text()
    rows = list(csv.DictReader((finished / "table1.csv").open()))
    assert [row["seeds"] for row in rows] == ["1", "1", "2", "2"] * 3  # two domains and the average


def test_a_finished_comparison_computes_nothing_again(
    base: str, out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    drawn = stop_at(monkeypatch, None, images=0)
    before = cells(out), (out / "table1.csv").read_text()
    reproduce("table1", base, out=str(out), methods=["pretrained", "knn", "pmf", "smat"], seeds=[0, 1], **SMALL)
    assert not drawn
    assert (cells(out), (out / "table1.csv").read_text()) == before
    assert "training" not in capsys.readouterr().out.replace("training seeds", "")
    # another comparison shares pools and results: only a new method is evaluated
    reproduce("table2", base, out=str(out), name="mine", methods=["pretrained", "logistic", "smat"], **SMALL)
    assert "| domain | role | pretrained | logistic | smat |" in (out / "mine.md").read_text()
    assert len(drawn) == 4 * 2 * 3 * (2 + 3)
    assert set(cells(out)) > set(before[0])


def test_trainings_with_compiled_kernels_are_finished_like_others(
    base: str, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for file in out.glob("training/*/versions.yaml"):
        text = file.read_text()
        assert "compiled: false" in text
        file.write_text(text.replace("compiled: false", "compiled: true"))
    drawn = stop_at(monkeypatch, None, images=0)
    reproduce("table1", base, out=str(out), methods=["pretrained", "pmf", "smat"], seeds=[0, 1], **SMALL)
    assert not drawn


def test_an_interrupted_comparison_goes_on(base: str, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = cells(out)
    (out / "cells.jsonl").unlink()
    arguments: dict[str, Any] = {"out": str(out), "methods": ["pretrained", "knn", "pmf", "smat"], "seeds": [0, 1]}
    with monkeypatch.context() as patch:
        stop_at(patch, KeyboardInterrupt(), images=4 * 3 * (2 + 3) + 7)  # in the second domain
        with pytest.raises(Interrupted, match=r"6 results are kept .* same command"):
            reproduce("table1", base, **arguments, **SMALL)
    first = cells(out)
    assert len(first) == 6
    with (out / "cells.jsonl").open("a") as file:
        file.write('{"key": {"meth')  # torn
    reproduce("table1", base, **arguments, **SMALL)
    assert cells(out) == whole
    assert list(cells(out))[:6] == list(first)


def test_an_interruption_keeps_what_is_done_on_a_domain_and_more_episodes_only_add(
    base: str, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("smat.recipes.reproduce.evaluator._BLOCK", 3)
    whole = {key: cell["accuracies"] for key, cell in cells(out).items()}
    (out / "cells.jsonl").unlink()
    arguments: dict[str, Any] = {"out": str(out), "methods": ["pretrained", "knn", "smat"]}
    images = 3 * (2 + 3)  # of an episode
    with monkeypatch.context() as patch:
        stop_at(patch, KeyboardInterrupt(), images=3 * images + 7)  # in the first domain's last episode
        with pytest.raises(Interrupted):
            reproduce("table1", base, **arguments, **SMALL)
    drawn = stop_at(monkeypatch, None, images=0)
    reproduce("table1", base, **arguments, **SMALL)
    assert len(drawn) == (1 + 4) * images
    store = Store(out / "cells.jsonl")
    found = {key: store.find(CellKey(**json.loads(key)), 4) for key in cells(out)}
    assert len(found) == 3 * 2
    assert all(cell and cell.accuracies == whole[key] for key, cell in found.items())
    reproduce("table1", base, **arguments, **SMALL | {"episodes": 5})
    assert len(drawn) == (1 + 4 + 1 + 1) * images


def test_an_interrupted_training_goes_on_or_begins_anew(base: str, out: Path) -> None:
    arguments: dict[str, Any] = {"out": str(out), "methods": ["smat"], "against": "smat"}
    smat = out / "training" / "smat-seed0"
    whole = SparseInterpolatedExperts.from_pretrained(smat / "best").update.delta
    assert whole.abs().max() > 0
    for folder in ("last", "state"):  # without an end, then also without a saved state
        shutil.rmtree(smat / folder)
        reproduce("table2", base, **arguments, **SMALL)
        assert torch.equal(SparseInterpolatedExperts.from_pretrained(smat / "best").update.delta, whole)
        assert (smat / "last").exists()
        shutil.rmtree(smat / "last")
    (smat / "last").mkdir()
    other = Path(base).with_name("other.yaml")
    other.write_text(yaml.safe_dump(yaml.safe_load(Path(base).read_text()) | {"pool": {"experts": 3}}))
    with pytest.raises(ConfigError, match=r"pool.experts was 2, is 3.*another --out"):
        reproduce("table2", str(other), **arguments, **SMALL)


def test_a_precision_left_open_is_that_with_which_the_comparison_began(
    base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_base = Path(base).with_name("open.yaml")
    values = yaml.safe_load(Path(base).read_text())
    values["tuning"]["precision"] = "auto"
    open_base.write_text(yaml.safe_dump(values))

    def precisions(episodes: int, **settings: Any) -> tuple[str, set[str]]:
        arguments = SMALL | {"episodes": episodes, "precision": "auto"} | settings
        reproduce("table1", str(open_base), out=str(tmp_path), methods=["pretrained", "smat"], **arguments)
        config = yaml.safe_load((tmp_path / "training" / "smat-seed0" / "config.yaml").read_text())
        return config["tuning"]["precision"], {json.loads(key)["protocol"]["precision"] for key in cells(tmp_path)}

    monkeypatch.setattr("smat.precision._fastest", lambda _: "bf16-mixed")
    assert precisions(2) == ("bf16-mixed", {"bf16-mixed"})
    monkeypatch.setattr("smat.precision._fastest", lambda _: "32-true")  # another machine
    before = cells(tmp_path)
    assert precisions(2) == ("bf16-mixed", {"bf16-mixed"})
    assert cells(tmp_path) == before
    shutil.rmtree(tmp_path / "training" / "smat-seed0" / "last")  # as if it had been stopped at its last checkpoint
    assert precisions(3) == ("bf16-mixed", {"bf16-mixed"})
    assert precisions(3, precision="32-true") == ("bf16-mixed", {"bf16-mixed", "32-true"})


def test_a_yaml_file_of_ones_own_is_a_column(base: str, out: Path, tmp_path: Path) -> None:
    own = tmp_path / "My_Way.yaml"
    own.write_text("pool: {experts: 1}\ntuning: {target_sparsity: 0.5}\n")
    arguments: dict[str, Any] = {"out": str(out), "methods": ["pretrained", "smat", str(own)], **SMALL}
    (found,) = reproduce("table1", base, **arguments)
    assert found.methods == ["pretrained", "smat", "My_Way"]
    run = out / "training" / "My_Way-seed0"
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert (config["pool"]["experts"], config["tuning"]["target_sparsity"]) == (1, 0.5)
    assert SparseInterpolatedExperts.from_pretrained(run / "best").config.method == "My_Way"
    before = cells(out)
    reproduce("table1", base, **arguments, checkpoint=[f"My_Way={run / 'best'}"])
    assert cells(out) == before
    assert found.against == "pretrained"
    (alone,) = reproduce("table1", base, **arguments | {"methods": ["smat", str(own)]})
    assert (alone.methods, alone.against) == (["smat", "My_Way"], "smat"), "without the frozen network, to the first"

    own.write_text("pool: {experts: 2}\ntuning: {target_sparsity: 0.5}\n")
    with pytest.raises(ConfigError, match=r"pool.experts was 1, is 2.*another --out"):
        reproduce("table1", base, **arguments)
    arguments["methods"] = [str(own)]
    given = [f"My_Way={run / 'best'}"]
    (found,) = reproduce("wise-ft", base, **arguments, sweep=Sweep(scales=[1.0]), checkpoint=given)
    assert found.methods == ["pretrained", "My_Way scale 1", "My_Way keep 1"]


def test_a_head_is_part_of_what_a_result_depends_on(base: str, tmp_path: Path) -> None:
    (found,) = reproduce(
        "table1", base, out=str(tmp_path), methods=["pretrained", "logistic"], head=Logistic(), **SMALL
    )
    for line in found.lines:
        assert line.entries["pretrained"].accuracy == line.entries["logistic"].accuracy
    heads = {json.loads(key)["method"]: json.loads(key)["protocol"].get("head") for key in cells(tmp_path)}
    assert heads == dict.fromkeys(("pretrained", "logistic"), describe(Logistic()))
    assert "table1, head Logistic, no fine-tuning" in (tmp_path / "table1.md").read_text()


def test_columns_with_heads_of_their_own_share_the_training(base: str, out: Path) -> None:
    trained = sorted(path.name for path in (out / "training").iterdir())
    methods = ["pretrained", "pretrained+logistic", "smat+lda:2", "smat@0+logistic", "smat"]
    (found,) = reproduce("table1", base, out=str(out), name="heads", methods=methods, **SMALL)
    assert found.methods == methods
    assert sorted(path.name for path in (out / "training").iterdir()) == trained
    assert found.passes == dict.fromkeys(methods, 1) | {"smat+lda:2": 2}
    assert "| passes per image |  | 1 | 1 | 2 | 1 | 1 |" in (out / "heads.md").read_text()
    stored = {(k["method"], k["domain"]): c for key, c in cells(out).items() if not (k := json.loads(key))["seed"]}
    for domain in ("polygons", "molecules"):
        logistic = stored["pretrained+logistic", domain]["accuracies"]
        assert stored["smat@0+logistic", domain]["accuracies"] == logistic
        assert stored["smat+lda:2", domain]["passes"] == 2


def test_given_checkpoints_are_not_trained(base: str, finished: Path, tmp_path: Path) -> None:
    path = finished / "training" / "smat-seed1" / "best"
    reproduce("table1", base, out=str(tmp_path), methods=["smat"], checkpoint=[f"smat={path}"], against="smat", **SMALL)
    assert not (tmp_path / "training").exists()
    ours = {json.loads(key)["domain"]: cell for key, cell in cells(tmp_path).items()}
    theirs = {json.loads(k)["domain"]: c for k, c in cells(finished).items() if '"smat", "seed": 1' in k}
    assert ours == theirs


def test_wise_ft_goes_from_the_untouched_network_to_the_tuned_one(base: str, out: Path) -> None:
    (found,) = reproduce("wise-ft", base, out=str(out), sweep=Sweep(scales=[0.0, 0.5, 1.0]), **SMALL)
    (tuned,) = reproduce("table1", base, out=str(out), methods=["pretrained", "pmf"], **SMALL)
    for line, whole in zip(found.lines, tuned.lines, strict=True):
        for change in ("scale", "keep"):
            assert line.entries[f"pmf {change} 0"].accuracy == whole.entries["pretrained"].accuracy
            assert line.entries[f"pmf {change} 1"].accuracy == whole.entries["pmf"].accuracy
    with Image.open(out / "wise-ft.png") as figure:
        assert figure.size == (660, 620)


def test_changes_of_the_update(finished: Path) -> None:
    def changed(change: Any, amount: float) -> torch.Tensor:
        pool = SparseInterpolatedExperts.from_pretrained(finished / "training" / "pmf-seed0" / "best")
        return Setting("", "pmf", change=change, amount=amount).carry_out(pool).update.delta.detach()

    whole = changed("", 1.0)
    torch.testing.assert_close(changed("scale", 0.25), whole / 4)
    kept = changed("keep", 0.1)
    share = (kept != 0).double().mean()
    assert share == pytest.approx(0.1, abs=1e-3)
    assert torch.equal(kept[kept != 0], whole[kept != 0])
    assert whole[kept == 0].abs().max() <= kept[kept != 0].abs().min()


def test_the_sparsity_sweep_trains_and_measures_each_setting(
    base: str, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (found,) = reproduce("sparsity", base, out=str(out), sweep=Sweep(tau=[0.0, 0.5], experts=[1, 2]), **SMALL)
    assert found.methods == ["pretrained", *(f"smat-tau{t}-m{m}" for m in (1, 2) for t in ("0", "0.5"))]
    config = yaml.safe_load((out / "training" / "smat-tau0.5-m1-seed0" / "config.yaml").read_text())
    assert (config["tuning"]["target_sparsity"], config["pool"]["experts"]) == (0.5, 1)
    for name in ("sparsity", "sparsity-specialisation"):
        assert all((out / f"{name}.{kind}").stat().st_size > 5000 for kind in ("png", "svg", "pdf"))
    with (out / "sparsity-specialisation.csv").open() as file:
        rows = {(float(row["tau"]), int(row["experts"])): row for row in csv.DictReader(file)}
    assert set(rows) == {(tau, m) for m in (1, 2) for tau in (0.0, 0.5)}
    assert rows[0.5, 1]["overlap"] == rows[0.5, 1]["entropy"] == "", "there is no other expert"
    assert 0 <= float(rows[0.5, 2]["entropy"]) <= 1
    assert -1 <= float(rows[0.5, 2]["alignment"]) <= 1
    monkeypatch.setattr("smat.recipes.reproduce.specialisation._measured", None)  # what is there is not measured again
    sweep = Sweep(tau=[0.0, 0.5], experts=[1, 2])
    reproduce("sparsity", base, out=str(out), sweep=sweep, **SMALL)


def test_the_sparsity_sweep_takes_the_method_as_it_is_from_its_own_training(base: str, out: Path) -> None:
    trained = sorted(path.name for path in (out / "training").iterdir())
    (found,) = reproduce("sparsity", base, out=str(out), sweep=Sweep(tau=[0.9], experts=[2]), **SMALL)
    assert sorted(path.name for path in (out / "training").iterdir()) == trained  # smat-seed0 among them
    accuracy = {
        (k["method"], k["domain"]): c["accuracies"]
        for key, c in cells(out).items()
        if not (k := json.loads(key))["seed"]
    }
    for domain in ("polygons", "molecules"):
        assert accuracy["smat-tau0.9-m2", domain] == accuracy["smat", domain]
    assert found.methods == ["pretrained", "smat-tau0.9-m2"]


@pytest.mark.parametrize("rule", ["validation", "published"])
def test_fine_tuning_has_columns_of_its_own(
    base: str, out: Path, rule: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    small: dict[str, Any] = SMALL | {"episodes": 2}
    adapt: dict[str, Any] = {"adapt": ["none", "lora"], "learning_rate_from": rule, "steps": 1}
    (found,) = reproduce("table1", base, out=str(out), methods=["smat", "knn", "pretrained"], **adapt, **small)
    assert found.methods == ["smat", "knn", "pretrained", "smat + lora", "pretrained + lora"]
    assert found.baselines == {"smat": "pretrained", "knn": "pretrained", "smat + lora": "pretrained + lora"}
    new = [json.loads(k) | c for k, c in cells(out).items() if json.loads(k)["adapt"] == "lora"]
    assert {cell["method"] for cell in new} == {"smat", "pretrained"}  # nothing to tune in knn
    rules = {cell["domain"]: (cell["learning_rate"], len(cell["rates"]), len(set(cell["rates"]))) for cell in new}
    assert rules["polygons"] == (rule, 2, 1)
    assert rules["molecules"][0] == ("support" if rule == "validation" else "published")
    screen = " ".join(capsys.readouterr().out.split())
    assert ("Warning: the learning rates were chosen by the query labels" in screen) == (rule == "published")
    page = (out / "table1.md").read_text()
    assert page.count("### ") == 1
    assert "table1, no fine-tuning, LoRA (learning rate by " in page
    assert ("learning rate by query labels of test episodes" in page) == (rule == "published")


def test_the_papers_numbers_stand_below_ours(base: str, out: Path) -> None:
    reproduce("table1", base, out=str(out), methods=["pretrained", "knn", "smat"], paper=True, **SMALL)
    page = (out / "table1.md").read_text()
    assert "the numbers of the paper are of its own network" in page
    for average in (
        "ID average (paper) |  | 71.29",
        "OOD average (paper) |  | 64.07",
        "ID+OOD average (paper) |  | 67.28",
    ):
        assert f"| {average} |  | " in page


def stop_at(monkeypatch: pytest.MonkeyPatch, error: BaseException | None, images: int) -> list[int]:
    """Raise `error`, if any, when so many images have been drawn; the list of those that were."""
    drawn: list[int] = []
    draw = PocketDomain.image

    def image(self: PocketDomain, row: int) -> Image.Image:
        if error and len(drawn) == images:
            raise error
        drawn.append(row)
        return draw(self, row)

    monkeypatch.setattr(PocketDomain, "image", image)
    return drawn


def test_another_comparison_takes_features_from_the_cache(
    base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, found = count_passes(monkeypatch), []
    for out in ("first", "second"):
        seen.clear()
        settings = {"methods": ["pretrained", "knn"], "feature_cache": str(tmp_path / "features")}
        reproduce("table1", base, out=str(tmp_path / out), **settings, **SMALL)
        found.append(cells(tmp_path / out))
    assert found[0] == found[1]
    assert seen == [2]  # images of noise, which tell what the network is


def test_scale_trains_on_subsets_and_shares_the_training_on_all(
    base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    several = Path(base).with_name("three.yaml")
    domains = {"domains": ["pocket:polygons", "pocket:glyphs"]}
    several.write_text(yaml.safe_dump(yaml.safe_load(Path(base).read_text()) | domains))
    arguments: dict[str, Any] = {"out": str(tmp_path), "methods": ["smat"], **SMALL}
    (found,) = reproduce("scale", str(several), **arguments)
    assert {*found.methods} == {"pretrained", "smat-on-polygons", "smat-on-glyphs", "smat"}
    config = yaml.safe_load((tmp_path / "training" / "smat-on-glyphs-seed0" / "config.yaml").read_text())
    assert (config["domains"], config["tuning"]["tasks"]) == (["pocket:glyphs"], 4)
    with (tmp_path / "scale-points.csv").open() as file:
        groups = {(row["setting"], row["averaged_over"]): row["group"] for row in csv.DictReader(file)}
    assert groups["smat-on-polygons", "polygons"] == groups["smat", "polygons"] == "trained on"
    assert groups["smat-on-glyphs", "polygons"] == "left out"
    assert groups["smat-on-glyphs", "molecules"] == "OOD"
    assert all((tmp_path / f"scale.{kind}").stat().st_size > 5000 for kind in ("png", "svg", "pdf"))
    assert "| smat | 2 |" in (tmp_path / "scale-gains.md").read_text()

    stop_at(monkeypatch, KeyboardInterrupt(), images=0)
    before = cells(tmp_path)
    reproduce("scale", str(several), **arguments)
    reproduce("table1", str(several), **arguments | {"methods": ["pretrained", "smat"]})
    assert cells(tmp_path) == before, "a domain's result is the same whatever it is called"


def test_overfitting_follows_one_training(base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments: dict[str, Any] = {"out": str(tmp_path), "methods": ["pmf"], "sweep": Sweep(keep_every=2), **SMALL}
    (found,) = reproduce("overfitting", base, **arguments)
    assert found.methods == ["pretrained", "pmf after 0", "pmf after 2", "pmf after 4"]
    assert [path.name for path in (tmp_path / "training").iterdir()] == ["pmf-kept2-seed0"]
    for line in found.lines:
        assert line.entries["pmf after 0"].accuracy == line.entries["pretrained"].accuracy
    stored = {json.loads(key)["method"]: json.loads(key)["checkpoint"] for key in cells(tmp_path)}
    assert len(set(stored.values())) == 4
    stop_at(monkeypatch, KeyboardInterrupt(), images=0)
    reproduce("overfitting", base, **arguments)


def test_backbones_take_a_finished_comparison_and_make_the_other(base: str, out: Path, tmp_path: Path) -> None:
    other = Path(base).with_name("larger.yaml")
    other.write_text(yaml.safe_dump(yaml.safe_load(Path(base).read_text()) | {"image_size": 32}))
    before, new = cells(out), tmp_path / "new"
    methods: dict[str, Any] = {"methods": ["pretrained", "pmf"], **SMALL}
    found = reproduce("backbones", str(other), out=str(new), sweep=Sweep(bases=[f"{base}={out}"]), **methods)
    assert len(found) == 2
    assert cells(out) == before
    assert (new / "larger" / "cells.jsonl").exists()
    with (new / "backbones-points.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {(row["name"], row["method"], row["group"]) for row in rows} == {
        (name, method, group)
        for name in ("larger", "base")
        for method in ("pretrained", "pmf")
        for group in ("ID", "OOD")
    }
    assert len({row["parameters"] for row in rows}) == 2
    domains = methods | {"domains": None, "options": EpisodeOverrides(way=2, query=3)}
    with pytest.raises(ConfigError, match="backbones shows ID and OOD accuracy, and there are no OOD domains"):
        reproduce("backbones", str(other), out=str(new), sweep=Sweep(bases=[f"{base}={out}"]), **domains)
