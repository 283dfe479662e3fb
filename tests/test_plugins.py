import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from smat.errors import CheckpointError, ConfigError
from smat.plugins import Plugin, describe, import_object, packages_named, plain, restore


@dataclass(frozen=True)
class Settings:
    sizes: tuple[int, ...] = (1, 2)


class Head(Plugin):
    pass


@dataclass(frozen=True)
class Scaled(Head):
    scale: float = 1.0
    settings: Settings = Settings()


@dataclass(frozen=True)
class Around(Head):
    head: Head = Scaled()


class Forgetful(Head):
    def __init__(self, rank: int) -> None:
        self.other = rank


OURS = [__name__]


def test_what_is_written_down_is_made_again() -> None:
    description = json.loads(json.dumps(describe(Scaled(2.5))))
    assert description == {
        "class_path": f"{__name__}.Scaled",
        "init_args": {"scale": 2.5, "settings": {"sizes": [1, 2]}},
    }
    made = restore(description, Head, OURS)
    assert isinstance(made, Scaled)
    assert made.scale == 2.5


def test_objects_among_the_settings_are_made_again_too_and_need_permission_as_well() -> None:
    description = json.loads(json.dumps(describe(Around(Around(Scaled(2.5))))))
    found = restore(description, Head, OURS)
    assert isinstance(found, Around)
    assert isinstance(found.head, Around)
    assert isinstance(found.head.head, Scaled)
    assert found.head.head.scale == 2.5
    description["init_args"]["head"]["class_path"] = "hostile.Head"
    with pytest.raises(CheckpointError, match="--allow-import hostile"):
        restore(description, Head, OURS)


def test_settings_of_dataclasses_mappings_and_paths_are_plain() -> None:
    value = plain({"a": Settings((3,)), "b": [Path("x"), None, True], "c": Scaled()})
    assert value == {"a": {"sizes": [3]}, "b": ["x", None, True], "c": describe(Scaled())}
    with pytest.raises(ConfigError, match="of type object"):
        plain(object())


def test_nothing_is_imported_because_a_file_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hostile.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    for path in ("hostile.Head", "smat_hostile.Head", "os.system"):
        with pytest.raises(CheckpointError, match=f"--allow-import {path.split('.')[0]}") as caught:
            restore({"class_path": path}, Head, ["hostile_other", "my_lab"])
        assert path in str(caught.value)


def test_permission_covers_a_package_and_no_namesake() -> None:
    description = describe(Scaled())
    with pytest.raises(CheckpointError, match="allow_imports"):
        restore(description, Head, [__name__[:-1]])
    assert isinstance(restore(description, Head, OURS), Scaled)


def test_wrong_paths_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "needs_more.py").write_text("import not_installed_here")
    (tmp_path / "broken_module.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(tmp_path)
    for path, message in {
        "Mahalanobis": "give the module too",
        "my_labb.heads.Head": "module 'my_labb', which is not found",
        "smat.no_such.Head": "module 'smat.no_such', which is not found",
        "smat.plugins.Hed": "has no 'Hed'",
        "needs_more.Head": "its module needs 'not_installed_here'",
        "broken_module.Head": "ZeroDivisionError",
    }.items():
        with pytest.raises(ConfigError, match=message):
            import_object(path)


def test_other_classes_and_settings_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"is no .*Head: give a class that inherits"):
        restore({"class_path": "smat.errors.DataError"}, Head)
    with pytest.raises(ConfigError, match=r"does not take the settings .*'rank'"):
        restore({"class_path": f"{__name__}.Scaled", "init_args": {"rank": 2}}, Head, OURS)


def test_a_setting_that_is_not_kept_is_named() -> None:
    with pytest.raises(ConfigError, match=r"write self.rank = rank"):
        describe(Forgetful(3))


def test_packages_that_settings_name() -> None:
    settings = {
        "backbone": "module:nets.small",
        "pool": {"update": describe(Scaled()) | {"class_path": "my_lab.updates.LowRank"}, "router": None},
        "terms": [{"class_path": "terms.Margin", "init_args": {"inner": {"class_path": "deep.Inner"}}}],
        "splits": "module.json",
    }
    assert packages_named(settings) == {"nets", "my_lab", "terms", "deep"}
