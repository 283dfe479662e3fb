"""Whatever a file or a command line holds, smat uses it or says what is wrong: no traceback, no crash, no hang."""

import itertools
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from damage import ODD, Damage, changed, damages
from forks import Forks
from smat.compression import KEY

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks with limits need Linux")

# about 1,000 cases in all, or 12,000 where hypothesis looks at many
CASES = 100 if settings.default.max_examples < 100 else 1200  # type: ignore[union-attr]
TRAIN = {
    "domains": ["pocket-id", {"source": "pocket:automata", "role": "validation", "weight": 2.0}],
    "backbone": "pocket",
    "image_size": 32,
    "episodes": {"way": 3, "shot": 2, "sampler": "fixed", "transforms": {"margin": 1.1, "crop_scale": [0.5, 1.0]}},
    "pool": {"experts": 2, "gates": {"beta": 0.5}, "router": {"heads": 2}, "temperature": {"tasks": 10}},
    "tuning": {
        "tasks": 8,
        "target_sparsity": 0.5,
        "objective": {"inner_lr": 0.01, "terms": None},
        "optimizers": {"delta": {"rule": "sgd", "lr": 0.1}, "warmup": 0.1},
        "leave_out": {"share": 0.0},
    },
    "workers": 0,
}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One good file of each kind."""
    return tmp_path_factory.mktemp("files")


@pytest.fixture(scope="module")
def forks(files: Path) -> Iterator[Forks]:
    forks = Forks("fuzz_targets", files, HF_HUB_OFFLINE="1")
    yield forks
    forks.close()


def fuzz(*strategies: Any) -> Callable[[Any], Any]:
    """The test with so many cases; the same ones every time."""
    quiet = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]
    usual = settings(max_examples=CASES, derandomize=True, database=None, deadline=None, suppress_health_check=quiet)
    return lambda test: usual(given(*strategies)(test))


def check(forks: Forks, target: str, **arguments: Any) -> None:
    outcome = forks.run(target, **arguments)
    assert outcome.well, f"{outcome.status}: {outcome.said[-3000:]}"


numbers = itertools.count()


def copied(source: Path, to: Path) -> Path:
    """A copy of a folder, of its own."""
    return Path(shutil.copytree(source, to / f"{source.name}{next(numbers)}"))


def rewrite(path: Path, data: st.DataObject, lines: bool = False) -> None:
    """Change values in a file of JSON, or in a line of one of JSON lines; now and then also bytes."""
    texts = path.read_text().splitlines() if lines else [path.read_text()]
    number = data.draw(st.integers(0, len(texts) - 1))
    texts[number] = json.dumps(data.draw(changed(json.loads(texts[number]))))
    content = ("\n".join(texts) + "\n").encode()
    path.write_bytes(data.draw(damages())(content) if data.draw(st.integers(0, 4)) == 0 else content)


@fuzz(st.data())
def test_pools(forks: Forks, files: Path, tmp_path: Path, data: st.DataObject) -> None:
    kind, packed = data.draw(st.integers(0, 4)), data.draw(st.booleans())
    folder = copied(files / ("packed" if packed else "pool"), tmp_path)
    weights = folder / "model.safetensors"
    if kind == 0:
        weights.write_bytes(data.draw(damages())(weights.read_bytes()))
    elif kind == 1 and packed:
        with safe_open(weights, "pt") as file:
            heads = data.draw(changed(json.loads(file.metadata()[KEY])))
        save_file(load_file(weights), weights, {KEY: json.dumps(heads)})
    else:
        rewrite(folder / "config.json", data)
    check(forks, "pool", folder=str(folder))


@fuzz(st.data())
def test_backbones(forks: Forks, files: Path, tmp_path: Path, data: st.DataObject) -> None:
    folder = copied(files / "vit", tmp_path)
    if (kind := data.draw(st.integers(0, 5))) == 0:
        weights = folder / "model.safetensors"
        weights.write_bytes(data.draw(damages())(weights.read_bytes()))
    else:
        rewrite(folder / ("preprocessor_config.json" if kind == 1 else "config.json"), data)
    check(forks, "backbone", folder=str(folder))


@fuzz(st.booleans(), damages())
def test_checkpoints_of_the_authors_code(
    forks: Forks, files: Path, tmp_path: Path, settings: bool, damage: Damage
) -> None:
    folder = copied(files / "authors", tmp_path)
    path = folder / ("exp_configs.yaml" if settings else "checkpoints/best_validation.pt")
    path.write_bytes(damage(path.read_bytes()))
    check(forks, "released", folder=str(folder))


@fuzz(st.data())
def test_training_states(forks: Forks, files: Path, tmp_path: Path, data: st.DataObject) -> None:
    folder = copied(files / "run", tmp_path)
    if data.draw(st.integers(0, 3)):
        rewrite(folder / "state" / "state.json", data)
    else:
        weights = folder / "state" / "state.safetensors"
        weights.write_bytes(data.draw(damages())(weights.read_bytes()))
    check(forks, "state", folder=str(folder))


@fuzz(st.data())
def test_descriptions_of_domains(forks: Forks, files: Path, tmp_path: Path, data: st.DataObject) -> None:
    folder = copied(files / "domain", tmp_path)
    rewrite(folder / "domain.json", data)
    check(forks, "domain", folder=str(folder))


@fuzz(damages())
def test_images_of_domains(forks: Forks, files: Path, tmp_path: Path, damage: Damage) -> None:
    folder = copied(files / "domain", tmp_path)
    path = folder / "images.arrow"
    path.write_bytes(damage(path.read_bytes()))
    check(forks, "domain", folder=str(folder))


@fuzz(st.data())
def test_cells(forks: Forks, files: Path, tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "cells.jsonl"
    shutil.copy(files / "cells.jsonl", path)
    rewrite(path, data, lines=True)
    check(forks, "cells", file=str(path))


@fuzz(st.data())
def test_episodes(forks: Forks, files: Path, tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "episodes.jsonl"
    shutil.copy(files / "episodes.jsonl", path)
    rewrite(path, data, lines=True)
    check(forks, "episodes", file=str(path), domain=str(files / "domain"))


@fuzz(st.data())
def test_settings(forks: Forks, tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "settings.yaml"
    content = yaml.safe_dump(data.draw(changed(TRAIN)), allow_unicode=True).encode(errors="replace")
    path.write_bytes(data.draw(damages())(content) if data.draw(st.integers(0, 2)) == 0 else content)
    check(forks, "config", file=str(path))


@fuzz(st.sampled_from(["png", "jpg", "tif", "gif", "bmp", "webp"]), damages())
def test_images(forks: Forks, files: Path, tmp_path: Path, end: str, damage: Damage) -> None:
    path = tmp_path / f"damaged.{end}"
    path.write_bytes(damage((files / f"image.{end}").read_bytes()))
    check(forks, "image", file=str(path))


OPTIONS = {
    "evaluate": "way shot query seed workers margin split sampler method head adapt steps grid episodes_from "
    "precision learning_rate_from against tables feature_cache splits",
    "predict": "margin head strengths adapt learning_rate steps precision feature_cache skip_bad",
    "train": "domains episodes.way pool.experts pool.gates pool.update tuning.tasks tuning.optimizers.delta.lr "
    "tuning.head episodes.transforms.crop_scale tuning.objective workers image_size compat config method",
    "reproduce": "seeds adapt methods domains tau experts scales grid episodes workers way config",
    "bench": "what backbone image_size experts way precision repeats threads",
    "data doctor": "processes",
    "data show": "episode split classes images way shot sampler image_size seed",
    "data episodes": "episodes way shot query sampler split seed",
}
WORDS = ODD.map(lambda value: value if isinstance(value, str) else json.dumps(value)) | st.text(max_size=8)


@fuzz(st.data())
def test_command_lines(forks: Forks, files: Path, tmp_path: Path, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(OPTIONS)))
    photos, pool, out = str(files / "photos"), str(files / "pool"), str(tmp_path / "out")
    small = ["--episodes", "1", "--way", "2", "--shot", "1", "--query", "1"]
    arguments = {
        "evaluate": [pool, photos, *small, "--workers", "0"],
        "predict": [pool, "--support", photos, "--query", photos, "--output", out],
        "train": ["--domains", "[pocket-id]", "--out", out],
        "reproduce": ["table1", out, "--out", out],
        "bench": [],
        "data doctor": [photos, "--processes", "0"],
        "data show": [photos, "--output", out + ".png"],
        "data episodes": [photos, "--output", out, *small],
    }[name]
    for option in data.draw(st.lists(st.sampled_from(OPTIONS[name].split()), min_size=1, max_size=2)):
        arguments = [*arguments, f"--{option}={data.draw(WORDS)}"]
    if data.draw(st.integers(0, 5)) == 0:
        place = data.draw(st.integers(0, len(arguments)))
        arguments = [*arguments[:place], data.draw(WORDS), *arguments[place + 1 :]]
    arguments = [argument.replace("\0", "") for argument in arguments]  # no system passes it on
    check(forks, "command", arguments=[*name.split(), *arguments])
