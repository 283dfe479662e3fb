"""What takes part in a comparison: each against what it should be, and none changes what the others see."""

import copy
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from smat.adaptation import FineTuneConfig, FullTuning, Kind
from smat.episodes import Episode, EpisodeSource, FixedSampler
from smat.evaluation import (
    Entrant,
    EpisodeFeatures,
    EvaluationSettings,
    Experts,
    FineTuned,
    FixedFeatures,
    Frozen,
    Rule,
    evaluate_domain,
    fine_tuned,
    rule_for,
    validated_rate,
    validation_sources,
)
from smat.experts import Strength
from smat.heads import (
    LDA,
    WHOLE,
    Auto,
    Average,
    Head,
    InViews,
    Logistic,
    Neighbours,
    Prototype,
    Ridge,
    specialise,
)
from smat.rng import derive_seed
from tasks import adapt
from tiny_pool import make_pool

Source = Callable[..., EpisodeSource]
STEPS = FineTuneConfig(steps=3, grid=(0.0, 1e-2))


def clusters(episode: Episode, lengths: tuple[float, float] = (1.0, 1.0)) -> EpisodeFeatures:
    """Features of which each class has its own direction, as if the frozen network had given them."""
    labels = torch.cat([episode.support_labels, episode.query_labels])
    noise = torch.randn(len(labels), 8, generator=torch.Generator().manual_seed(0))
    values = (torch.eye(8)[labels] * 3 + 0.3 * noise) * torch.linspace(*lengths, len(labels))[:, None]
    frozen, plan = FixedFeatures(make_pool(experts=0)), episode.plan
    for row, feature in zip(plan.support_rows + plan.query_rows, values, strict=True):
        frozen.kept[plan.domain, row, WHOLE] = feature
    return EpisodeFeatures(episode, frozen)


HEADS = (Prototype(), Ridge(), LDA(), Logistic(), Neighbours(), Average(), Auto(0))


@pytest.mark.parametrize("head", HEADS, ids=lambda head: type(head).__name__)
@pytest.mark.parametrize("shot", [1, 4])
def test_heads_on_frozen_features_give_probabilities_and_find_clusters(source: Source, head: Head, shot: int) -> None:
    episode, contender = source(sampler=FixedSampler(3, shot, 4)).episode(0), Frozen(head)
    probabilities = contender(episode, clusters(episode))
    torch.testing.assert_close(probabilities.sum(1), torch.ones_like(probabilities[:, 0]))
    assert torch.equal(probabilities.argmax(1), episode.query_labels)
    # the length of a feature says nothing
    assert torch.equal(contender(episode, clusters(episode, (0.5, 20.0))).argmax(1), episode.query_labels)


def test_all_take_part_in_the_same_episodes(source: Source) -> None:
    pool = make_pool()
    full = FineTuned(pool, FullTuning(), STEPS, rate=1e-2)
    both = (Strength(0.0, 0.0), Strength())
    contenders = {"smat": Experts(pool), "pretrained": Frozen(), "full": full}
    contenders |= {"knn": Frozen(Neighbours()), "views": Frozen(InViews(LDA()))}
    contenders |= {"auto": Experts(pool, head=Auto(), strengths=both)}
    together = evaluate_domain(contenders, FixedFeatures(pool), source(), 2)
    for name, contender in contenders.items():
        alone = evaluate_domain({name: contender}, FixedFeatures(pool), source(), 2)
        for a, b in zip(alone, together, strict=True):
            assert a.id == b.id
            torch.testing.assert_close(a.outcomes[name].confidence, b.outcomes[name].confidence)
    assert full.rates == [1e-2] * 4


def test_fine_tuning_is_that_of_the_specialised_network_and_leaves_the_pool(source: Source) -> None:
    pool = make_pool()
    before = {name: value.clone() for name, value in pool.state_dict().items()}
    episode = source().episode(0)
    seed = derive_seed(0, f"fine-tuning/{episode.plan.id}")
    found = FineTuned(pool, FullTuning(), STEPS, rate=1e-2)(episode, clusters(episode))
    model = specialise(pool.eval(), episode.support, episode.support_labels)
    tuned = adapt(model, episode.support, episode.support_labels, kind=FullTuning(), lr=1e-2, config=STEPS, seed=seed)
    torch.testing.assert_close(found, tuned(episode.query).softmax(1).detach())
    assert not torch.allclose(found, model(episode.query).softmax(1), atol=1e-4)
    assert all(torch.equal(value, before[name]) for name, value in pool.state_dict().items())


def test_a_network_that_its_learning_rate_broke_finds_all_classes_alike(source: Source) -> None:
    pool, episode = make_pool(), source().episode(0)
    found = FineTuned(pool, FullTuning(), STEPS, rate=1e30)(episode, clusters(episode))
    assert found.shape == (len(episode.query), episode.way)
    assert (found == 1 / episode.way).all()


def test_without_a_rate_each_support_set_chooses_and_queries_do_not_matter(source: Source) -> None:
    contender = FineTuned(make_pool(), FullTuning(), STEPS)
    episode = source(sampler=FixedSampler(3, 3, 4)).episode(0)
    contender(episode, clusters(episode))
    episode.query_labels = episode.query_labels.flip(0)
    contender(episode, clusters(episode))
    first, second = contender.rates
    assert first == second
    assert first in STEPS.grid


def test_the_median_of_support_sets_is_one_rate_for_all(source: Source) -> None:
    episodes = source("mosaics", FixedSampler(3, 3, 2))
    each = FineTuned(make_pool(), FullTuning(), replace(STEPS, flip=False))
    for n in range(5):
        each(episode := episodes.episode(n), clusters(episode))
    together = fine_tuned(make_pool(), FullTuning(), STEPS, "support-median", episodes)
    assert together.rate == sorted(each.rates)[2]


def test_rules_fall_back_where_there_are_no_validation_classes(source: Source) -> None:
    assert rule_for("validation", source("polygons")) == "validation"
    assert rule_for("validation", source("mosaics")) == "support"
    assert rule_for("validation", source("polygons", FixedSampler(11, 2, 4))) == "support"  # too few for 11-way
    assert rule_for("published", source("mosaics")) == "published"
    assert fine_tuned(make_pool(), FullTuning(), STEPS, "validation", source("mosaics")).rate is None


@pytest.mark.parametrize(("rule", "split"), [("validation", "val"), ("published", "test")])
def test_the_rate_of_a_domain_is_the_best_on_the_rules_episodes(source: Source, rule: Rule, split: str) -> None:
    pool, config = make_pool(experts=0), FineTuneConfig(steps=10, grid=(0.0, 1e-3, 1e-2, 1e9))
    chosen = fine_tuned(pool, FullTuning(), config, rule, source())
    episodes = source(split=split)
    means = dict.fromkeys(config.grid, 0.0)
    for n in range(5):
        episode = episodes.episode(n)
        for rate in config.grid[:3]:
            tuned = FineTuned(pool, FullTuning(), chosen.config, rate)(episode, clusters(episode))
            means[rate] += float((tuned.argmax(1) == episode.query_labels).double().mean())
    assert len(set(means.values())) > 2
    assert chosen.rate == max(means, key=lambda rate: means[rate])


@pytest.mark.parametrize("kind", ["full", "weights", "gates"])
def test_an_average_is_the_mean_over_rates_and_seeds(source: Source, kind: Kind) -> None:
    pool, episode = make_pool(), source().episode(0)
    config = replace(STEPS, grid=(1e-4, 1e-3), seeds=1)
    contender = fine_tuned(pool, kind, config, "average", source())
    found = contender(episode, clusters(episode))
    rates = contender.tuner.learning_rates(config)
    each = [FineTuned(pool, contender.tuner, contender.config, rate)(episode, clusters(episode)) for rate in rates]
    torch.testing.assert_close(found, torch.stack(each).mean(0))
    assert contender.rates == []
    one = fine_tuned(pool, kind, replace(config, grid=(1e-3,), seeds=2), "average", source())
    assert not torch.equal(one(episode, clusters(episode)), each[1]), "another seed is in it too"
    broken = fine_tuned(pool, "full", replace(config, grid=(1e30,)), "average", source())
    assert (broken(episode, clusters(episode)) == 1 / episode.way).all()


def test_a_grid_of_one_rate_is_not_searched(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FineTuned, "probabilities", None)
    assert fine_tuned(make_pool(), "lora", FineTuneConfig(grid=(1e-3,)), "validation", source()).rate == 1e-2


def test_equal_rates_mean_the_smallest_and_characters_are_not_mirrored(source: Source) -> None:
    pool = make_pool(experts=0)
    still = fine_tuned(pool, FullTuning(), FineTuneConfig(steps=1, grid=(1e-9, 0.0)), "validation", source("glyphs"))
    assert still.rate == 0.0
    assert not still.config.flip
    assert fine_tuned(pool, FullTuning(), STEPS, "support", source("plants")).config.flip


def for_validation(source: Source, *names: str) -> tuple[EpisodeSource, ...]:
    domains = [copy.copy(source(name).domains[0]) for name in names]
    for domain in domains:
        domain.role = "validation"
    return validation_sources([*domains, source("plants").domains[0]], source("plants"))


def test_domains_for_validation_choose_one_rate_for_all(source: Source) -> None:
    pool, config = make_pool(experts=0), FineTuneConfig(steps=10, grid=(0.0, 1e-3, 1e-2))
    validation = for_validation(source, "polygons", "mosaics")
    assert [s.domains[0].name for s in validation] == ["polygons", "mosaics"]
    assert validation[1].domains[0].splits.keys() == {"val"}, "it has no validation classes: all are"
    means = dict.fromkeys(config.grid, 0.0)
    for each in validation:
        own = replace(config, flip=each.domains[0].flip)
        for n in range(5):
            episode = each.episode(n)
            for rate in config.grid:
                tuned = FineTuned(pool, FullTuning(), own, rate)(episode, clusters(episode))
                means[rate] += float((tuned.argmax(1) == episode.query_labels).double().mean())
    assert len(set(means.values())) > 1
    best = validated_rate(pool, FullTuning(), config, validation)
    assert means[best] == pytest.approx(max(means.values()))

    entrant = Entrant("plain", pool, "full")
    settings = EvaluationSettings(config, "validation", validation=validation)
    tested = source("glyphs")
    contender = entrant.contender(tested, settings)
    assert isinstance(contender, FineTuned)
    assert contender.rate == best
    assert contender.config.flip == tested.domains[0].flip
    key = entrant.key(tested, settings)
    assert key.learning_rate == "validation-domains"
    assert set(key.protocol["validation"]) == {"polygons", "mosaics"}
    plain = entrant.key(tested, replace(settings, validation=()))
    assert plain.learning_rate == "validation"
    assert "validation" not in plain.protocol
    assert entrant.key(tested, replace(settings, rule="support")).learning_rate == "support"
