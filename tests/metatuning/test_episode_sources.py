"""What a run trains on, and what chooses its best checkpoint."""

from dataclasses import replace
from pathlib import Path

import pytest

from small_images import write_parquet
from smat.backbones import ImageFormat
from smat.domains import DomainConfig, open_domains
from smat.episodes import EpisodeSource
from smat.errors import ConfigError, DataError
from smat.metatuning.run_config import EpisodeConfig, TrainConfig
from smat.metatuning.settings import TuningConfig
from smat.metatuning.sources import episode_sources

FORMAT = ImageFormat(16)
EPISODES = EpisodeConfig(way=2, shot=1, query=1)


def sources(*domains: str | DomainConfig, validate_every: int = 4) -> tuple[EpisodeSource, list[EpisodeSource]]:
    config = TrainConfig(list(domains), episodes=EPISODES, tuning=TuningConfig(tasks=8, validate_every=validate_every))
    return episode_sources(config, open_domains(config.domains), FORMAT)


def names(source: EpisodeSource) -> list[str]:
    return [domain.name for domain in source.domains]


@pytest.fixture
def photos(tmp_path: Path) -> str:
    return str(write_parquet(tmp_path / "photos.parquet", [i % 6 for i in range(24)], [f"c{i}" for i in range(6)]))


def test_without_the_role_training_domains_validate_by_their_own_classes(photos: str) -> None:
    only = DomainConfig(photos, fractions=(1.0, 0.0, 0.0))
    training, validation = sources("pocket:glyphs", only, "pocket:polygons")
    assert names(training) == ["glyphs", "photos", "polygons"]
    assert [names(source) for source in validation] == [["glyphs"], ["polygons"]]
    assert sources("pocket:glyphs", validate_every=0)[1] == []


def test_validation_domains_alone_choose_and_are_not_trained_on(photos: str) -> None:
    """The one has validation classes, the other none: then all of its classes validate."""
    kept = DomainConfig("pocket:faces", role="validation")
    divided = DomainConfig(photos, role="validation", fractions=(0.5, 0.5, 0.0))
    training, validation = sources("pocket:glyphs", kept, divided)
    assert names(training) == ["glyphs"]
    assert {training.plan(n).domain for n in range(20)} == {"glyphs"}
    assert [names(source) for source in validation] == [["faces"], ["photos"]]
    faces, photos_source = validation
    assert len(faces.domains[0].classes("val")) == 20
    assert {source.split for source in validation} == {"val"}
    seen = {name for n in range(60) for name in photos_source.plan(n).classes}
    assert seen == set(photos_source.domains[0].classes("val"))
    assert len(seen) == 3


def test_a_domain_that_only_validates_keeps_its_split_for_tests(photos: str) -> None:
    (domain,) = open_domains([DomainConfig(photos, role="validation")])
    again = domain.for_validation()
    assert domain.classes("test") == again.classes("val")
    assert again.for_validation() is again
    with pytest.raises(DataError, match="has no val split"):
        domain.classes("val")


def test_weights_are_those_of_the_domains_trained_on(photos: str) -> None:
    """Also where a group of pocket domains, of which each gets the weight, or a domain that validates, is before."""
    training, _ = sources(
        DomainConfig("pocket:faces", role="validation", weight=50.0),
        DomainConfig("pocket-id", weight=0.0),
        DomainConfig(photos, fractions=(1.0, 0.0, 0.0), weight=3.0),
    )
    assert {training.plan(n).domain for n in range(30)} == {"photos"}


def test_runs_that_cannot_be(photos: str) -> None:
    with pytest.raises(ConfigError, match="all domains have the role validation"):
        sources(DomainConfig("pocket:faces", role="validation"))
    with pytest.raises(ConfigError, match=r"faces have the role validation, but tuning\.validate_every is 0"):
        sources("pocket:glyphs", DomainConfig("pocket:faces", role="validation"), validate_every=0)
    with pytest.raises(ConfigError, match="pocket:faces has its own name and flip"):
        open_domains([DomainConfig("pocket:faces", name="people", flip=False)])
    with pytest.raises(ConfigError, match="given both splits and fractions"):
        open_domains([DomainConfig(photos, splits="splits.json", fractions=(1.0, 0.0, 0.0))])
    few = replace(EPISODES, way=21)
    config = TrainConfig(["pocket:glyphs", DomainConfig("pocket:faces", role="validation")], episodes=few)
    with pytest.raises(DataError, match="domain 'faces' has 20 classes; 21-way"):
        episode_sources(config, open_domains(config.domains), FORMAT)
