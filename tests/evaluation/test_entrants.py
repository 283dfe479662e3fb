"""What takes part in an evaluation, and what its results depend on."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from smat.adaptation import FineTuneConfig, FineTuner, FullTuning
from smat.backbones import Backbone
from smat.domains import Domain, open_domain
from smat.episodes import EpisodeSource, FixedSampler
from smat.evaluation import (
    CellKey,
    Entrant,
    EvaluationSettings,
    Experts,
    FineTuned,
    Frozen,
    JointEvaluation,
    same_backbone,
    validation_sources,
)
from smat.experts import MERGED, FeatureCache, Strength
from smat.heads import LDA, Auto, Each, InViews, Logistic, Neighbours, Prototype, Ridge
from smat.plugins import describe
from tiny_pool import images_seen, make_pool
from tracked import write_signs

Source = Callable[..., EpisodeSource]


def test_a_head_is_in_the_key_only_where_there_is_one(source: Source) -> None:
    entrant, settings = Entrant("smat", make_pool()), EvaluationSettings(precision="bf16-mixed")
    key = entrant.key(source(), settings)
    assert key.protocol == {
        "seed": 0,
        "sampler": {"name": "FixedSampler", "way": 3, "shot": 2, "query": 4},
        "margin": 8 / 7,
        "image_size": 16,
        "precision": "bf16-mixed",
    }
    assert (key.method, key.seed, key.adapt, key.learning_rate) == ("smat", 0, "none", "")
    assert (key.domain, key.split, key.data) == ("polygons", "test", source().domains[0].fingerprint)
    with_head = Entrant("smat", make_pool(), head=InViews(Logistic())).key(source(), settings)
    assert with_head.protocol == key.protocol | {"head": describe(InViews(Logistic()))}


def test_strengths_are_in_the_key_only_where_they_are_not_the_merged_network_alone(source: Source) -> None:
    pool, settings = make_pool(), EvaluationSettings()
    key = Entrant("smat", pool).key(source(), settings)
    assert Entrant("smat", pool, strengths=MERGED).key(source(), settings) == key
    both = Entrant("smat", pool, strengths=(Strength(0.0, 0.0), Strength(0.5, 1.0))).key(source(), settings)
    assert both.protocol == key.protocol | {"strengths": ["0", "0.5..1"]}
    heads = {
        name: Entrant("smat", each, adapt, head=head).key(source(), settings).protocol.get("strengths")
        for name, each, adapt, head in [
            ("auto", pool, "none", Auto()),
            ("lda", pool, "none", LDA()),
            ("tuned", pool, "full", Auto()),
            ("frozen", make_pool(0), "none", Auto()),
        ]
    }
    assert heads == {"auto": ["0", "1"], "lda": None, "tuned": None, "frozen": None}


@pytest.mark.parametrize(
    ("experts", "strengths", "head", "passes"),
    [
        (2, None, None, 1),
        (2, None, Auto(2), 4),
        (2, None, InViews(Each(Auto(0)), 2), 4),
        (0, None, Auto(2), 2),
        (2, (1.0,), None, 1),
        (2, (0.0, 1.0), None, 2),
        (0, (1.0,), Ridge(), 1),
        (2, (1.0,), InViews(Ridge(), 4), 4),
        (2, (0.0, 1.0), Auto(2), 4),
        (0, (1.0,), Auto(0), 1),
    ],
)
def test_passes_are_networks_times_views(
    experts: int, strengths: tuple[float, ...] | None, head: Any, passes: int
) -> None:
    chosen = None if strengths is None else tuple(Strength(c, c) for c in strengths)
    assert Entrant("a", make_pool(experts), head=head, strengths=chosen).passes(EvaluationSettings()) == passes


def test_an_average_takes_the_passes_of_all_its_networks() -> None:
    tuned = Entrant("a", make_pool(), "full", InViews())
    for rule, passes in (("support", 2), ("average", 2 * 3 * 2)):
        settings = EvaluationSettings(FineTuneConfig(grid=(1e-4, 1e-3, 1e-2), seeds=2), rule)
        assert tuned.passes(settings) == passes
        assert Entrant("a", make_pool()).passes(settings) == 1


def test_tracks_are_in_the_key_only_where_they_are_kept_apart(source: Source, tmp_path: Path) -> None:
    signs = open_domain(write_signs(tmp_path / "signs.parquet", [[4, 4, 4]] * 3))
    entrant, settings, like = Entrant("smat", make_pool()), EvaluationSettings(), source()

    def key(entrant: Entrant, settings: EvaluationSettings = settings, domain: Domain = signs, **tracks) -> CellKey:
        sampler = FixedSampler(3, 2, 4)
        drawn = EpisodeSource([domain], "test", sampler, image_format=like.image_format, **tracks)
        return entrant.key(drawn, settings)

    before = entrant.key(like, settings)
    apart, ignoring = key(entrant), key(entrant, tracks="ignore")
    assert ignoring.protocol == before.protocol
    assert apart.protocol == before.protocol | {"tracks_apart": ["signs"]}
    assert key(entrant, domain=like.domains[0], tracks="keep-apart") == before

    signs.role = "validation"
    tuned = Entrant("smat", entrant.pool, "full")
    for rule, names in (("keep-apart", {"tracks_apart": ["signs"]}), ("ignore", {})):
        drawn = EpisodeSource(like.domains, "test", FixedSampler(3, 2, 4), image_format=like.image_format, tracks=rule)
        chosen = replace(settings, validation=validation_sources([signs], drawn))
        protocol = tuned.key(drawn, chosen).protocol
        assert {name: value for name, value in protocol.items() if name == "tracks_apart"} == names
        assert "tracks_apart" not in entrant.key(drawn, chosen).protocol  # nothing is chosen without fine-tuning


def test_the_key_of_a_fine_tuned_result_has_the_fine_tuning_and_the_rule_that_was_followed(source: Source) -> None:
    entrant = Entrant("smat", make_pool(), "full", seed=2)
    settings = EvaluationSettings(FineTuneConfig(steps=3))
    tuned = {name: entrant.key(source(name), settings) for name in ("plants", "glyphs", "mosaics")}
    assert {name: key.learning_rate for name, key in tuned.items()} == {
        "plants": "validation",
        "glyphs": "validation",
        "mosaics": "support",  # it has no validation classes
    }
    assert {key.protocol["fine_tuning"]["steps"] for key in tuned.values()} == {3}
    assert [tuned[name].protocol["fine_tuning"]["flip"] for name in ("plants", "glyphs")] == [True, False]
    assert tuned["plants"].seed == 2
    assert Entrant("smat", entrant.pool, FullTuning(), seed=2).key(source("plants"), settings) == tuned["plants"]
    own = Entrant("smat", entrant.pool, LastLayer(bias=False)).key(source(), settings)
    assert own.adapt == "LastLayer"
    assert own.protocol["fine_tuner"] == describe(LastLayer(bias=False))
    assert "fine_tuner" not in tuned["plants"].protocol
    by_weights = Entrant("smat", entrant.pool, "weights").key(source(), settings)
    assert by_weights.adapt == "weights"
    assert "fine_tuner" not in by_weights.protocol


def test_the_number_of_seeds_is_in_the_key_only_where_networks_are_averaged(source: Source) -> None:
    entrant = Entrant("smat", make_pool(), "full")
    before = {"steps", "augment", "flip", "batch_size", "rank", "alpha", "dropout", "grid", "folds"}
    for rule in ("validation", "support", "support-median", "published"):
        assert entrant.key(source(), EvaluationSettings(rule=rule)).protocol["fine_tuning"].keys() == before
    keys = [entrant.key(source(), EvaluationSettings(FineTuneConfig(seeds=n), "average")) for n in (1, 2)]
    assert [key.learning_rate for key in keys] == ["average"] * 2
    assert [key.protocol["fine_tuning"]["seeds"] for key in keys] == [1, 2]


@dataclass(frozen=True)
class LastLayer(FineTuner):
    """A fine-tuner of one's own."""

    bias: bool = True

    def prepare(self, backbone: Backbone, config: FineTuneConfig, seed: int) -> Callable[[], None]:
        return lambda: None


def test_the_fingerprint_follows_the_numbers_and_the_settings() -> None:
    prints = [Entrant("a", make_pool(**more)).fingerprint for more in ({}, {"delta": 0.4}, {"init_mean": 1e-9})]
    assert len(set(prints)) == 3
    assert Entrant("b", make_pool()).fingerprint == prints[0]


def test_labels_tell_those_apart_that_see_episodes_together() -> None:
    pool = make_pool(experts=0)
    entrants = [Entrant("a", pool), Entrant("a", pool, seed=1), Entrant("a", pool, "lora"), Entrant("a", pool, "full")]
    assert [entrant.label for entrant in entrants] == ["a", "a (1)", "a + lora", "a + full"]


def test_contenders(source: Source) -> None:
    settings = EvaluationSettings(FineTuneConfig(grid=(1e-3,)))
    tuned = Entrant("a", make_pool(), "full").contender(source(), settings)
    assert isinstance(tuned, FineTuned)
    assert tuned.rate == 1e-3
    assert isinstance(Entrant("a", make_pool()).contender(source(), settings), Experts)
    plain = make_pool(experts=0)
    assert Entrant("a", plain).contender(source(), settings) == Frozen(Prototype())
    assert Entrant("a", plain, head=Neighbours()).contender(source(), settings) == Frozen(Neighbours())
    for pool, kind in ((plain, "full"), (make_pool(), "none"), (make_pool(), "lora")):
        contender = Entrant("a", pool, kind, Logistic()).contender(source(), settings)
        assert isinstance(contender, FineTuned | Experts)
        assert contender.head == Logistic()
    strengths = (Strength(0.0, 0.0), Strength())
    both = Entrant("a", make_pool(), strengths=strengths).contender(source(), settings)
    assert isinstance(both, Experts)
    assert both.strengths == strengths


def test_backbones_are_the_same_by_their_numbers_images_and_features() -> None:
    one, other, changed, features = make_pool(), make_pool(experts=0), make_pool(), make_pool()
    assert same_backbone(one, other)
    changed.pretrained.data[0] += 1e-3
    assert not same_backbone(one, changed)
    features.backbone.spec = replace(features.backbone.spec, mean=(0.1, 0.1, 0.1))
    assert not same_backbone(one, features)


def test_backbones_share_their_features_and_others_have_their_own(source: Source) -> None:
    same, other = make_pool(experts=0), make_pool(experts=0)
    other.pretrained.data.mul_(-1.5)
    alone = JointEvaluation([Entrant("other", other)], EvaluationSettings())
    alone.run(source(), 4, lambda _: None)
    entrants = [
        Entrant("smat", make_pool()),
        Entrant("pretrained", same),
        Entrant("knn", make_pool(experts=0), head=Neighbours()),
        Entrant("other", other),
    ]
    joint, heard = JointEvaluation(entrants, EvaluationSettings()), []
    joint.run(source(), 4, lambda row: heard.append(row.n))
    assert heard == [0, 1, 2, 3]
    assert images_seen(same) == 0  # their features are those of the first
    for together, single in zip(joint.rows, alone.rows, strict=True):
        assert torch.equal(together.outcomes["other"].confidence, single.outcomes["other"].confidence)
        assert not torch.equal(together.outcomes["pretrained"].confidence, together.outcomes["other"].confidence)
    joint.run(source("mosaics"), 2, lambda _: None)
    cells = joint.cells()
    assert [(c.key.method, c.key.domain, c.role, len(c.accuracies)) for c in cells] == [
        (entrant.name, *domain) for domain in (("polygons", "id", 4), ("mosaics", "ood", 2)) for entrant in entrants
    ]
    assert cells[-1].accuracies == [row.outcomes["other"].accuracy for row in joint.rows[4:]]


def test_an_interruption_leaves_whole_episodes_and_their_rates(source: Source) -> None:
    def stop(row: object) -> None:
        raise KeyboardInterrupt

    settings = EvaluationSettings(FineTuneConfig(steps=1, grid=(1e-3,)))
    entrants = [Entrant("a", make_pool(), "full"), Entrant("b", make_pool(experts=0), "full")]
    joint = JointEvaluation(entrants, settings)
    with pytest.raises(KeyboardInterrupt):
        joint.run(source(sampler=FixedSampler(3, 1, 1)), 3, stop)
    assert [(len(cell.accuracies), cell.rates) for cell in joint.cells()] == [(1, [1e-3])] * 2


def test_a_cache_is_no_part_of_what_results_depend_on(tmp_path: Path) -> None:
    with_cache = EvaluationSettings(cache=FeatureCache(tmp_path))
    assert with_cache == EvaluationSettings()
    assert hash(with_cache) == hash(EvaluationSettings())
