"""Classes of one's own on the command line and in YAML, and what is said where they do not fit."""

import multiprocessing
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from my_lab import Cosine, Head, Mahalanobis, Settings
from smat.cli import main
from smat.plugins import import_object, plain


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What a recipe that takes a head, and settings with heads in them, is called with."""
    found: dict[str, Any] = {}

    def bench(*, head: Head | None = None, options: Settings = Settings()) -> None:  # noqa: B008
        """Stand in for a recipe.

        Args:
            head: what classifies.
        """
        found.update(head=head, pool=options.pool)

    monkeypatch.setattr("smat.recipes.bench.run.bench", bench)
    return found


def settings(thing: Any) -> dict[str, Any]:
    return plain(thing)["init_args"]


def test_a_class_is_named_by_its_import_path_with_its_settings_as_options(called: dict[str, Any]) -> None:
    main(["bench", "--head", "my_lab.Mahalanobis", "--head.shrinkage", "0.3"])
    assert isinstance(called["head"], Mahalanobis)
    assert settings(called["head"]) == {"shrinkage": 0.3}
    assert called["pool"].head is None
    main(["bench", "--pool.head=my_lab.Cosine", "--pool.head.scale=3", "--pool.kind", "my_lab.Cosine"])
    assert called["head"] is None
    assert (called["pool"].head, called["pool"].kind) == (Cosine(3.0), Cosine())
    main(["bench", "--pool.kind", "full", "--pool.heads", "[my_lab.Cosine]"])
    assert (called["pool"].kind, called["pool"].heads) == ("full", [Cosine()])
    main(["bench", "--pool.heads+", "my_lab.Cosine", "--pool.heads.scale", "2", "--pool.heads+", "my_lab.Cosine"])
    assert called["pool"].heads == [Cosine(2.0), Cosine()]


def test_files_name_classes_too_and_what_is_written_down_is_read_again(called: dict[str, Any], tmp_path: Path) -> None:
    first, again = tmp_path / "first.yaml", tmp_path / "again.yaml"
    first.write_text(
        "pool:\n  head: my_lab.Mahalanobis\n  kind: {class_path: my_lab.Cosine, init_args: {scale: 7}}\n"
        "  heads:\n  - my_lab.Cosine\n  - class_path: my_lab.Cosine\n    init_args: {scale: 2.0}\n"
    )
    main(["bench", "--config", str(first), "--pool.head.shrinkage", "0.9"])
    pool = called["pool"]
    assert settings(pool.head) == {"shrinkage": 0.9}
    assert (pool.kind, pool.heads) == (Cosine(7), [Cosine(), Cosine(2.0)])
    again.write_text(yaml.safe_dump({"pool": plain(pool)}))
    main(["bench", "--config", str(again)])
    assert plain(called["pool"]) == plain(pool)


@pytest.mark.parametrize(
    ("arguments", "messages"),
    [
        (["--head", "my_lab.Nothing"], ["--head: 'my_lab.Nothing': module 'my_lab'", "has no 'Nothing'"]),
        (["--head", "my_labb.Head"], ["module 'my_labb', which is not found", str(Path.cwd())]),
        (["--head", "my_lab.heads.Head"], ["module 'my_lab.heads', which is not found"]),
        (["--head", "cosine"], ["--head: expected the import path of a class"]),
        (["--head", "my_lab.Unrelated"], ["does not inherit from Head", "given: my_lab.Unrelated"]),
        (["--head", "my_lab.Cosine", "--head.scal", "2"], ["my_lab.Cosine: there is no setting 'scal'"]),
        (["--head", "my_lab.Cosine", "--head.scale", "x"], ["my_lab.Cosine: scale: expected float; given: x"]),
        (["--head.scale", "2"], ["name a class that inherits from my_lab.Head first"]),
        (
            ["--pool.kind", "ful"],
            ["--pool.kind: expected one of 'none', 'full'", "import path of a class", "given: ful"],
        ),
        (["--pool.heads", "[my_lab.Cosin]"], ["--pool.heads: 'my_lab.Cosin'", "has no 'Cosin'"]),
        (["--head.help", "my_labb.Head"], ["No module named 'my_labb'", str(Path.cwd())]),
        (["--head.help", "my_lab.Unrelated"], ["is not a subclass of Head"]),
    ],
)
def test_what_does_not_fit_is_named(
    arguments: list[str], messages: list[str], called: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["bench", *arguments])
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert all(message in said for message in messages), said
    assert "Union" not in said
    assert not called


def test_a_class_explains_its_settings(called: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["bench", "--head.help", "my_lab.Mahalanobis"])
    assert stopped.value.code == 0
    assert "--head.shrinkage SHRINKAGE" in (said := capsys.readouterr().out)
    assert "strength of the shrinkage" in said


LAB = '''
from smat.experts import SeparateUpdates
from smat.heads import Prototype


class Halved(SeparateUpdates):
    """Updates of which half counts.

    Args:
        share: share of the update that counts.
    """

    def __init__(self, share: float = 0.5) -> None:
        super().__init__()
        self.share = share


class Sharp(Prototype):
    """Another name for the paper's head."""
'''


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a module of one's own, which is the current one."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "some_lab.py").write_text(LAB)
    yield tmp_path
    sys.modules.pop("some_lab", None)


def test_a_module_in_the_current_folder_is_found_also_by_other_processes(lab: Path, called: dict[str, Any]) -> None:
    (lab / "other_lab.py").write_text("HERE = 1\n")
    main(["bench", "--head", "my_lab.Cosine"])
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as executor:
        assert executor.submit(import_object, "other_lab.HERE").result() == 1


def test_an_update_of_ones_own_is_trained_resumed_and_used_with_permission(
    lab: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = {
        "domains": ["pocket:glyphs"],
        "episodes": {"way": 3, "shot": 1, "query": 1},
        "pool": {"experts": 2},
        "tuning": {
            "tasks": 2,
            "meta_batch": 1,
            "validate_every": 0,
            "target_sparsity": None,
            "optimizers": {"delta": {"lr": 1e-4}},
        },
        "workers": 0,
        "accelerator": "cpu",
    }
    Path("base.yaml").write_text(yaml.safe_dump(base))
    train = ["train", "--config", "base.yaml", "--out", "run", "--pool.update", "some_lab.Halved"]
    main([*train, "--pool.update.share", "0.25"])
    config = yaml.safe_load(Path("run/config.yaml").read_text())
    assert config["pool"]["update"] == {"class_path": "some_lab.Halved", "init_args": {"share": 0.25}}
    main(["train", "--config", "run/config.yaml", "--out", "run", "--resume"])
    with pytest.raises(SystemExit):
        main([*train, "--resume"])
    assert "pool.update.init_args.share was 0.25, is 0.5" in capsys.readouterr().err

    for name, colour in (("red", (200, 0, 0)), ("blue", (0, 0, 200))):
        Path("support", name).mkdir(parents=True)
        Image.new("RGB", (40, 40), colour).save(f"support/{name}/0.png")
    predict = ["predict", "run/best", "--support", "support", "--query", "support", "--head", "some_lab.Sharp"]
    sys.modules.pop("some_lab")
    with pytest.raises(SystemExit) as stopped:
        main([*predict[:6]])
    assert stopped.value.code == 2
    assert "--allow-import some_lab" in " ".join(capsys.readouterr().err.split())
    assert "some_lab" not in sys.modules, "nothing is imported because a file says so"
    main([*predict, "--allow-import", "some_lab"])
    assert "100.0 % of 2 images" in capsys.readouterr().out
