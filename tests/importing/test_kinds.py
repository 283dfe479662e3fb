"""Kinds of sources: those of the package, and one's own in a file outside it."""

import json
import multiprocessing
import sys
from pathlib import Path

import numpy as np
import pytest

from small_images import encode, noise
from smat.cli import main
from smat.domains import open_domain
from smat.errors import ConfigError, DataError
from smat.importing import KINDS, Kind, Listing, find_kind, import_domain, list_sources
from smat.importing.line_lists import DTD
from smat.recipes.data.doctor import DomainsWrong, data_doctor
from tiny_sources import make_bitmaps, make_dtd

GUIDE = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
PLANKTON = GUIDE.split("\n# A kind of your own\n")[1].split("```python\n")[1].split("```")[0]
INVERTED = """
from pathlib import Path

import numpy as np

from smat.importing import Found, Kind, Listing, Part


class Inverted(Kind):
    name, summary, files = "inverted", "arrays in files of their own", "NAME.npy of each class"

    def __init__(self, top: int = 255) -> None:
        self.top = top

    def list_domains(self, root: Path) -> list[Listing]:
        files = sorted(root.glob("*.npy"))
        classes = tuple(file.stem for file in files)
        parts = [Part(label, len(np.load(file)), str(file)) for label, file in enumerate(files)]
        return [Listing("inverted", classes, {"test": classes}, parts, self.read, files)]

    def read(self, part):
        for number, image in enumerate(np.load(part.payload)):
            yield Found(f"{part.payload}#{number}", self.top - image)
"""


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on the import path with kinds of one's own, and a source of plankton in `sea/2026`."""
    (tmp_path / "lab").mkdir()
    name = f"kinds_of_{tmp_path.name}"  # another module in each test
    (tmp_path / "lab" / f"{name}.py").write_text(PLANKTON + INVERTED)
    monkeypatch.syspath_prepend(tmp_path / "lab")
    (tmp_path / "sea" / "2026" / "images").mkdir(parents=True)
    lines = []
    for i in range(6):
        lines.append(f"{i}.png,{('diatom', 'copepod', 'salp')[i % 3]}")
        (tmp_path / "sea" / "2026" / "images" / f"{i}.png").write_bytes(encode(noise(i)) if i else b"")
    (tmp_path / "sea" / "2026" / "classes.csv").write_text("\n".join([*lines, "nothing"]))
    return tmp_path / "lab" / name


def test_a_kind_of_ones_own_is_imported_from_the_command_line(
    lab: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["data", "import", f"{lab.name}.Plankton", str(tmp_path / "sea"), str(tmp_path / "out")]
    main([*command, "--processes", "1"])
    screen = capsys.readouterr()
    assert "Plankton of my lab" in screen.out
    assert "it says 'nothing'; expected IMAGE,CLASS ('plankton: classes.csv, line 7')" in screen.err
    assert "1 item was left out: it has no bytes ('plankton: images/0.png')" in screen.err
    domain = open_domain(tmp_path / "out" / "plankton")
    assert domain.splits == {"train": ("diatom",), "test": ("copepod", "salp")}
    assert domain.counts() == {"copepod": 2, "diatom": 1, "salp": 2}
    main(command)
    assert "finished before, nothing to do" in capsys.readouterr().out


def test_the_doctor_knows_the_numbers_and_needs_no_code_of_ones_own(lab: Path, tmp_path: Path) -> None:
    [listing] = list_sources(f"{lab.name}.Plankton", tmp_path / "sea")
    import_domain(listing, tmp_path / "out")
    origin = json.loads((tmp_path / "out" / "plankton" / "domain.json").read_text())["source"]
    assert (origin["kind"], origin["folder"]) == (f"{lab.name}.Plankton", "sea")
    lab.with_suffix(".py").unlink()
    del sys.modules[lab.name]
    with pytest.raises(DomainsWrong) as caught:
        data_doctor(str(tmp_path / "out"), processes=0)
    [counts] = [finding for finding in caught.value.findings["plankton"] if finding.check == "counts"]
    assert counts.found.endswith("5 images, 1 to 2 per class; my lab's plankton has 6 images")


@pytest.mark.parametrize("start", ["forkserver", "spawn"])
def test_a_kind_may_read_its_images_itself_in_worker_processes(
    start: str, lab: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if start not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this system has no {start}")
    monkeypatch.setattr(multiprocessing, "get_all_start_methods", lambda: [start])
    (tmp_path / "arrays").mkdir()
    for name in ("a", "b"):
        np.save(tmp_path / "arrays" / f"{name}.npy", np.full((3, 5, 5), ord(name), np.uint8))
    inverted = type(find_kind(f"{lab.name}.Inverted"))
    for top, processes in ((255, 1), (200, 0)):
        [listing] = list_sources(inverted(top), tmp_path / "arrays")
        import_domain(listing, tmp_path / str(top), processes=processes)
        image = open_domain(tmp_path / str(top) / "inverted").image(3)
        assert np.asarray(image).max() == np.asarray(image).min() == top - ord("b")


def test_reading_that_cannot_be_sent_to_workers_is_an_error(lab: Path, tmp_path: Path) -> None:
    [listing] = list_sources(f"{lab.name}.Plankton", tmp_path / "sea")
    inside = Listing(**{**vars(listing), "read": lambda part: iter(())})
    with pytest.raises(ConfigError, match=r"cannot be sent to worker processes.*--processes 0"):
        import_domain(inside, tmp_path / "out", processes=1)
    assert not (tmp_path / "out").exists()


WRONG = """
from smat.importing import Kind
class Nothing: pass
class Unfinished(Kind):
    name = "unfinished"
class Needy(Kind):
    name, summary, files = "needy", "needs a number", "files"
    def __init__(self, number): self.number = number
    def list_domains(self, root): return []
class Empty(Kind):
    name, summary, files = "empty", "lists nothing", "files"
    def list_domains(self, root): return []
function = Empty().list_domains
"""


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "Nothing",
            r"wrong_kinds\.Nothing is no kind of source: give a class that inherits from smat\.",
        ),
        ("function", r"is no kind of source"),
        ("Unfinished", r"wrong_kinds\.Unfinished lacks summary, files, list_domains: define"),
        ("Needy", r"cannot be made without arguments: .*number"),
        ("Empty", r"wrong_kinds\.Empty\.list_domains gives \[\]; expected a list of Listing"),
        ("Missing", r"has no 'Missing'"),
    ],
)
def test_what_is_no_kind_is_refused(
    name: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "wrong_kinds.py").write_text(WRONG)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "wrong_kinds", raising=False)
    with pytest.raises(ConfigError, match=message):
        list_sources(f"wrong_kinds.{name}", tmp_path)
    with pytest.raises(SystemExit) as stopped:
        main(["data", "import", f"wrong_kinds.{name}", str(tmp_path), str(tmp_path / "out")])
    assert stopped.value.code == 2
    assert "wrong_kinds" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("kind", "folder", "flip"),
    [
        ("folder", "Quick_Draw", False),
        ("folder", "omniglot", False),
        ("folder", "GTSRB", False),
        ("folder", "my SVHN", False),
        ("folder", "birds", None),
    ],
)
def test_what_must_not_be_mirrored_is_known_by_its_name(
    kind: str, folder: str, flip: bool | None, tmp_path: Path
) -> None:
    for name in ("a", "b"):
        (tmp_path / folder / name).mkdir(parents=True)
        (tmp_path / folder / name / "1.png").write_bytes(encode(noise(1)))
    [listing] = list_sources(kind, tmp_path / folder)
    assert listing.flip is flip
    assert open_domain(tmp_path / folder).flip is (flip is None)


def test_drawings_are_not_mirrored_whatever_form_they_come_in(tmp_path: Path) -> None:
    make_bitmaps(tmp_path / "ant.npy", 2)
    [listing] = list_sources("quickdraw", tmp_path)
    assert listing.flip is False


def test_unknown_kinds_and_sources(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"kind is 'cifer'; the kinds are metadataset, .*import path of a class"):
        list_sources("cifer", tmp_path)
    with pytest.raises(ConfigError, match=r"module 'my_labb', which is not found"):
        list_sources("my_labb.kinds.Plankton", tmp_path)
    with pytest.raises(DataError, match=r"there is no folder '.*nowhere'; for cifar, give one with data_batch_1"):
        list_sources("cifar", tmp_path / "nowhere")


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_says_what_it_looked_for(kind: str, tmp_path: Path) -> None:
    assert KINDS[kind].name == kind
    with pytest.raises(DataError) as error:
        list_sources(kind, tmp_path)
    assert str(tmp_path) in str(error.value)


def test_a_kind_can_be_given_as_an_object(tmp_path: Path) -> None:
    make_dtd(tmp_path, ("woven",))
    assert isinstance(DTD, Kind)
    assert list_sources(DTD, tmp_path) == list_sources("dtd", tmp_path)
