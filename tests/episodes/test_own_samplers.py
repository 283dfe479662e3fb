"""Samplers from outside the package: named by import path, checked, recorded, and read back without their code."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from smat.backbones import ImageFormat
from smat.cli import main
from smat.domains import open_domains
from smat.episodes import Draw, EpisodeSource, RecordedSampler, Sampler, SplitClasses, read_episodes, sampler_settings
from smat.errors import ConfigError, DataError
from smat.metatuning.run_config import load_config
from smat.plugins import import_object

CODE = '''"""Pairs of neighbouring classes."""

import numpy as np

from smat.episodes import Draw, Sampler, SplitClasses
from smat.errors import DataError


class Pairs(Sampler):
    """Two classes next to each other in the alphabet.

    Args:
        size: number of support and of query images per class.
    """

    def __init__(self, size: int = 1) -> None:
        self.size = size

    def check(self, classes: SplitClasses) -> None:
        if min(classes.sizes) < 2 * self.size:
            raise DataError(f"{classes.owner} has classes of fewer than {2 * self.size} images: lower size")

    def draw(self, classes: SplitClasses, rng: np.random.Generator) -> Draw:
        first = int(rng.integers(len(classes.names) - 1))
        return Draw((first, first + 1), (self.size, self.size), self.size)
'''
PATH = "my_samplers.pairs.Pairs"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    folder = tmp_path / "code" / "my_samplers"
    folder.mkdir(parents=True)
    (folder / "pairs.py").write_text(CODE)
    monkeypatch.syspath_prepend(folder.parent)
    for name in ("my_samplers", "my_samplers.pairs"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return PATH


def write(output: Path, *options: str) -> Path:
    main(["data", "episodes", "pocket:polygons", "--episodes", "4", "--output", str(output), *options])
    return output


def test_a_sampler_is_an_option_with_settings_of_its_own(package: str, tmp_path: Path) -> None:
    output = write(tmp_path / "e.jsonl", "--sampler", package, "--sampler.size", "3")
    header, *episodes = map(json.loads, output.read_text().splitlines())
    assert header["sampler"] == {"name": package, "settings": {"size": 3}}
    assert len(episodes) == 4
    for episode in episodes:
        first, second = (int(name.removeprefix("polygons")) for name in episode["classes"])
        assert second == first + 1
        assert len(episode["support"]) == len(episode["query"]) == 6


def test_reading_its_episodes_does_not_import_it(package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = write(tmp_path / "e.jsonl", "--sampler", package)
    for name in ("my_samplers", "my_samplers.pairs"):
        monkeypatch.delitem(sys.modules, name)
    domains = open_domains(["pocket:polygons"])
    written = read_episodes(output, domains)
    assert isinstance(written.sampler, RecordedSampler)
    assert sampler_settings(written.sampler) == {"name": package, "settings": {"size": 1}}
    assert "my_samplers" not in sys.modules
    image_format, plans = ImageFormat(16), written.plans["polygons"]
    source = EpisodeSource(domains, "test", written.sampler, image_format=image_format, plans=plans)
    assert source.plan(3) == plans[3]
    with pytest.raises(DataError, match=rf"val split of domain 'polygons' cannot be drawn: .* {package}"):
        EpisodeSource(domains, "val", written.sampler, image_format=image_format)


def test_a_training_names_it_in_its_file_or_as_an_option(package: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    described = f"{{class_path: {package}, init_args: {{size: 3}}}}"
    file.write_text(f"domains: [pocket:glyphs]\nepisodes: {{sampler: {described}}}\n")
    by_file = load_config([file]).episodes.build_sampler()
    by_option = load_config([], "--domains=[x]", f"--episodes.sampler={package}", "--episodes.sampler.size=3")
    for sampler in (by_file, by_option.episodes.build_sampler()):
        assert sampler_settings(sampler) == {"name": package, "settings": {"size": 3}}
        assert isinstance(sampler, import_object(package))
    with pytest.raises(ConfigError, match=r"Pairs: there is no setting 'sizes'"):
        load_config([file], "--episodes.sampler.sizes=3")


def test_its_check_is_asked(package: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        write(tmp_path / "e.jsonl", "--sampler", package, "--sampler.size", "501")
    assert "has classes of fewer than 1002 images: lower size" in " ".join(capsys.readouterr().err.split())


class Told(Sampler):
    """Draws what it is told to."""

    def __init__(self, classes: tuple[int, ...], shots: tuple[int, ...], query: int) -> None:
        self.classes, self.shots, self.query = classes, shots, query

    def draw(self, classes: SplitClasses, rng: np.random.Generator) -> Draw:
        return Draw(self.classes, self.shots, self.query)


@pytest.mark.parametrize(
    ("classes", "shots", "query"),
    [
        ((0,), (1,), 1),  # one class
        ((0, 0), (1, 1), 1),  # twice the same
        ((0, 14), (1, 1), 1),  # of classes 0..13
        ((-1, 1), (1, 1), 1),
        ((0, 1), (1,), 1),
        ((0, 1), (0, 1), 1),
        ((0, 1), (1, 1), 0),
        ((0, 1), (990, 991), 10),  # of 1000 images
    ],
)
def test_what_cannot_be_drawn_is_refused(classes: tuple[int, ...], shots: tuple[int, ...], query: int) -> None:
    source = EpisodeSource(
        open_domains(["pocket:polygons"]), "test", Told(classes, shots, query), image_format=ImageFormat(16)
    )
    with pytest.raises(ConfigError, match=r"Told drew Draw\(.* which has 14 classes: an episode needs two or more"):
        source.plan(0)
    fitting = Told((13, 0), (990, 1), 10)
    assert EpisodeSource(source.domains, "test", fitting, image_format=ImageFormat(16)).plan(0).way == 2
