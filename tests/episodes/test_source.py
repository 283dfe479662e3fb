import json
import pickle
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from shared import SHARED
from small_images import encode, write_parquet
from smat.backbones import ImageFormat
from smat.domains import open_domain
from smat.episodes import EpisodeSource, FixedSampler, TransformConfig, VariableSampler, episode_loader, prepare
from smat.errors import ConfigError, DataError

SHARED_DATA = SHARED / "data"
FORMAT = ImageFormat(14, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4))
SMALL = FixedSampler(way=3, shot=2, query=3)


def make_source(domains, split="test", sampler=SMALL, **options) -> EpisodeSource:
    return EpisodeSource(domains, split, sampler, image_format=FORMAT, **options)


def same(first, second) -> bool:
    tensors = ("support", "support_labels", "query", "query_labels")
    return first.plan == second.plan and all(torch.equal(getattr(first, t), getattr(second, t)) for t in tensors)


@pytest.fixture
def pair(tmp_path: Path):
    names = [f"c{i}" for i in range(6)]
    first = write_parquet(tmp_path / "first.parquet", [i % 6 for i in range(60)], names)
    second = write_parquet(tmp_path / "second.parquet", [i % 6 for i in range(60)], names, mode="L")
    splits = {"train": names[:3], "test": names[3:]}
    return [open_domain(first, splits=splits), open_domain(second, splits=splits)]


def test_a_plan_is_of_its_classes_and_shares_no_image(pair) -> None:
    domain = pair[0]
    source = make_source([domain], seed=5)
    for n in range(30):
        plan = source.plan(n)
        assert plan.id == f"first/test/5/{n}"
        assert plan.way == 3
        assert set(plan.classes) <= set(domain.classes("test"))
        assert not set(plan.support_rows) & set(plan.query_rows)
        assert len(set(plan.support_rows + plan.query_rows)) == 3 * 5
        assert Counter(plan.support_labels) == dict.fromkeys(range(3), 2)
        assert Counter(plan.query_labels) == dict.fromkeys(range(3), 3)
        rows = plan.support_rows + plan.query_rows
        for row, label in zip(rows, plan.support_labels + plan.query_labels, strict=True):
            assert row in domain.rows(plan.classes[label])


def test_variable_plans_have_the_shots_that_were_drawn(parquet: Path) -> None:
    sampler = VariableSampler(min_way=3, max_way=8)
    source = make_source([open_domain(parquet)], sampler=sampler)
    for n in range(40):
        plan = source.plan(n)
        assert 3 <= plan.way <= 8
        assert set(Counter(plan.query_labels).values()) == {5}  # half of 10 images
        shots = Counter(plan.support_labels)
        assert all(1 <= shots[label] <= 5 for label in range(plan.way))


def test_images_are_drawn_evenly(parquet: Path) -> None:
    source = make_source([open_domain(parquet)])
    counts = np.zeros(80)
    for n in range(800):
        counts[list(source.plan(n).support_rows)] += 1
    expected = 800 * 6 / 80
    # Images and classes exclude each other within an episode, which only makes the sum smaller.
    assert ((counts - expected) ** 2 / expected).sum() < 123.6  # χ² with 79 degrees of freedom: 1 in 1000


def test_plans_depend_on_seed_split_domain_and_number_alone(pair) -> None:
    names = {"train": [f"c{i}" for i in range(3)], "test": [f"c{i}" for i in range(3, 6)]}
    source = make_source(pair[:1], seed=1)
    late = [source.plan(n) for n in (7, 3, 7)]
    assert late[0] == late[2] == make_source(pair[:1], seed=1).plan(7)
    assert late[0] != late[1]
    assert make_source(pair[:1], seed=2).plan(7).support_rows != late[0].support_rows
    assert make_source(pair[1:], seed=1).plan(7).support_rows != late[0].support_rows
    assert make_source(pair[:1], "train", seed=1).plan(7).classes[0] in names["train"]


def test_an_episode_of_a_mixture_is_that_of_its_domain_alone(pair) -> None:
    mixture = make_source(pair)
    alone = {domain.name: make_source([domain]) for domain in pair}
    plans = [mixture.plan(n) for n in range(20)]
    assert {plan.domain for plan in plans} == {"first", "second"}
    assert all(plan == alone[plan.domain].plan(n) for n, plan in enumerate(plans))


def test_domains_are_drawn_uniformly_or_by_weight(pair) -> None:
    for weights, share in ((None, 0.5), ((3.0, 1.0), 0.75), ((0.0, 2.0), 0.0)):
        source = make_source(pair, weights=weights)
        found = np.mean([source.plan(n).domain == "first" for n in range(600)])
        assert abs(found - share) <= 4 * (share * (1 - share) / 600) ** 0.5


@pytest.mark.parametrize("weights", [(1.0,), (0.0, 0.0), (-1.0, 2.0), (float("nan"), 1.0)])
def test_weights_that_do_not_fit(pair, weights: tuple[float, ...]) -> None:
    with pytest.raises(ConfigError, match="domain weights"):
        make_source(pair, weights=weights)


def test_sources_that_cannot_work(pair) -> None:
    with pytest.raises(ConfigError, match="at least one domain"):
        make_source([])
    with pytest.raises(ConfigError, match="one name"):
        make_source([pair[0], pair[0]])
    with pytest.raises(DataError, match="domain 'first' has no val split"):
        make_source(pair, "val")
    with pytest.raises(DataError, match="the test split of domain 'first' has 3 classes; 4-way"):
        make_source(pair, sampler=FixedSampler(way=4, shot=1, query=1))
    with pytest.raises(DataError, match=r"'c3' \(10\)"):
        make_source(pair, sampler=FixedSampler(way=3, shot=5, query=6))


def test_a_test_episode_is_its_images_prepared(pair) -> None:
    source = make_source(pair[:1])
    episode = source.episode(4)
    plan = source.plan(4)
    assert episode.plan == plan
    assert episode.way == 3
    for images, rows in ((episode.support, plan.support_rows), (episode.query, plan.query_rows)):
        expected = prepare([pair[0].image(row) for row in rows], FORMAT)
        assert torch.equal(images, expected)
    assert tuple(episode.support_labels.tolist()) == plan.support_labels
    assert episode.query_labels.dtype == torch.int64


def test_training_varies_the_images_by_number_and_leaves_torch_alone(pair) -> None:
    training, testing = make_source(pair[:1], train=True), make_source(pair[:1])
    state = torch.get_rng_state()
    first, again = training.episode(2), training.episode(2)
    assert torch.equal(state, torch.get_rng_state())
    assert same(first, again)
    assert first.plan == testing.plan(2)
    assert not torch.equal(first.support, testing.episode(2).support)


def test_grey_domains_are_not_mirrored(tmp_path: Path) -> None:
    """A picture that is dark on the left stays so in a domain of grey images, and not in one of colours."""
    values = np.repeat([0, 255], 10).astype(np.uint8)[None].repeat(20, 0)
    still = TransformConfig(crop_scale=(1.0, 1.0), brightness=0.0, contrast=0.0, saturation=0.0)
    mirrored = {}
    for mode in ("L", "RGB"):
        replaced = dict.fromkeys(range(30), encode(Image.fromarray(values).convert(mode)))
        path = write_parquet(tmp_path / f"{mode}.parquet", [i % 3 for i in range(30)], list("abc"), replaced=replaced)
        source = make_source([open_domain(path)], train=True, transforms=still)
        query = torch.cat([source.episode(n).query for n in range(6)])
        mirrored[mode] = (query[:, 0, :, 0] > query[:, 0, :, -1]).float().mean().item()
    assert mirrored["L"] == 0
    assert 0.25 < mirrored["RGB"] < 0.75


@pytest.mark.parametrize("train", [False, True])
def test_workers_do_not_change_the_episodes(pair, train: bool) -> None:
    source = make_source(pair, train=train)
    here = list(episode_loader(source, 0, 6))
    there = list(episode_loader(source, 0, 6, workers=2))
    assert [episode.plan.id.rsplit("/")[-1] for episode in here] == [str(n) for n in range(6)]
    assert len(there) == 6
    assert all(same(first, second) for first, second in zip(here, there, strict=True))


def test_resuming_and_sharing_give_the_same_episodes(pair) -> None:
    source = make_source(pair, train=True)
    whole = list(episode_loader(source, 0, 8))
    assert all(same(a, b) for a, b in zip(episode_loader(source, 5, 8), whole[5:], strict=True))
    assert all(same(a, b) for a, b in zip(episode_loader(source, 1, 8, step=3), whole[1::3], strict=True))
    assert list(episode_loader(source, 8, 8)) == []


def test_a_source_sent_to_another_process_makes_the_same_episodes(pair) -> None:
    source = make_source(pair, train=True)
    assert same(pickle.loads(pickle.dumps(source)).episode(3), source.episode(3))


def test_a_loader_may_be_left_half_way(pair) -> None:
    episodes = episode_loader(make_source(pair), 0, 1000, workers=1)
    assert next(episodes).plan.id.endswith("/0")
    episodes.close()
    assert list(episodes) == []


@pytest.mark.parametrize("workers", [0, 2])
def test_the_loader_leaves_torchs_randomness_alone(pair, workers: int) -> None:
    state = torch.get_rng_state()
    list(episode_loader(make_source(pair, train=True), 0, 2, workers=workers))
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("workers", [0, 1])
def test_an_unreadable_image_reaches_the_caller_as_it_was_raised(tmp_path: Path, workers: int) -> None:
    labels = [i % 3 for i in range(15)]
    path = write_parquet(tmp_path / "d.parquet", labels, list("abc"), replaced={7: b"damaged"})
    source = make_source([open_domain(path)])
    with pytest.raises(DataError) as error:
        list(episode_loader(source, 0, 5, workers=workers))
    assert str(error.value).startswith("domain 'd'")
    assert "img7.png (row 7, class 'b')" in str(error.value)
    assert "it is none of" in str(error.value)
    assert "Traceback" not in str(error.value)


def test_a_trace_names_every_image(pair) -> None:
    source = make_source(pair[:1])
    trace, plan = source.trace(3), source.plan(3)
    assert json.loads(json.dumps(trace)) == trace
    assert trace["id"] == plan.id
    assert trace["classes"] == list(plan.classes)
    rows = [(image["row"], image["image"], image["label"]) for image in trace["query"]]
    assert rows == [(r, f"img{r}.png", lab) for r, lab in zip(plan.query_rows, plan.query_labels, strict=True)]
    assert len(trace["support"]) == len(plan.support_rows)


def test_moving_an_episode_keeps_its_plan(pair) -> None:
    episode = make_source(pair[:1]).episode(0)
    moved = episode.to("meta")
    assert moved.plan is episode.plan
    assert {t.device.type for t in (moved.support, moved.support_labels, moved.query, moved.query_labels)} == {"meta"}


@pytest.mark.skipif(not SHARED_DATA.is_dir(), reason=f"no real images: {SHARED_DATA} is not there")
def test_real_domains() -> None:
    paths = sorted(SHARED_DATA.glob("*.parquet"))
    domains = [open_domain(path) for path in paths]
    roles = Counter(domain.role for domain in domains)
    assert roles == {"id": 5, "ood": len(domains) - 5}
    assert {d.name for d in domains if not d.flip} == {
        "omniglot",
        "quickdraw",
        "mnist",
        "fashion_mnist",
        "traffic_signs",
    }
    assert [len(d.classes("train")) for d in domains if d.role == "id"] == [45, 53, 60, 90, 90]
    tests = make_source(domains, sampler=FixedSampler())
    assert {tests.plan(n).domain for n in range(200)} == {domain.name for domain in domains}
    training = make_source([d for d in domains if d.role == "id"], "train", VariableSampler(), train=True)
    for plan in (training.plan(n) for n in range(20)):
        assert 5 <= plan.way <= 50
        assert len(plan.support_rows) <= 500
    assert make_source([domains[0]], sampler=FixedSampler(shot=1, query=1)).episode(0).query.shape == (
        5,
        3,
        14,
        14,
    )


def test_an_error_ends_the_process_though_workers_wait() -> None:
    """Workers do not listen to SIGTERM, by which Python would end them at exit."""
    code = """if True:
        from smat.backbones import ImageFormat
        from smat.episodes import EpisodeSource, FixedSampler, episode_loader
        from smat.domains.pocket import pocket_domains
        domains = [d for d in pocket_domains(image_size=16) if d.name == "glyphs"]
        sampler = FixedSampler(way=3, shot=1, query=1)
        source = EpisodeSource(domains, "train", sampler, image_format=ImageFormat(16))
        episodes = episode_loader(source, 0, 99, workers=1)
        next(episodes)
        raise RuntimeError("something else went wrong")
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert done.stderr.rstrip().endswith("RuntimeError: something else went wrong")
