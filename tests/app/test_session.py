"""What people do on the page, without the page."""

import zipfile
from pathlib import Path

import numpy as np
import pytest

from drawings import draw, noise, session, zip_of
from smat.adaptation import FewShotClassifier
from smat.app import Session, Stopped, Upload
from smat.app.training import Tuning
from smat.errors import ConfigError, DataError
from smat.left_out import collecting

CLASSES = {"fern": 0, "moss": 1, "palm": 2}


@pytest.fixture
def one(tmp_path: Path) -> Session:
    return session(tmp_path)


@pytest.fixture
def trained(one: Session, tmp_path: Path) -> Session:
    one.add(draw(tmp_path / "plants", CLASSES, 5))
    one.train("pocket")
    return one


def counts(one: Session) -> dict[str, int]:
    return {name: len(photos) for name, photos in one.board.classes.items()}


def numbers(one: Session, label: str) -> list[int]:
    return [photo.number for photo in one.board.classes[label]]


def test_folders_are_classes_and_loose_photos_are_of_the_one_that_is_named(one: Session, tmp_path: Path) -> None:
    assert one.add(draw(tmp_path, {"fern": 0, "moss": 1}, 2)) == 4
    assert one.add([Upload(tmp_path / "moss/0.png", "0.png")], "palm") == 1
    assert counts(one) == {"fern": 2, "moss": 2, "palm": 1}
    assert all(photo.thumbnail for photo in one.board.photos.values())


def test_loose_photos_need_a_class(one: Session, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="type a name for it first"):
        one.add([noise(tmp_path / "a.png", 0)])
    assert not one.board.photos
    assert not [*one.folder.iterdir()]


@pytest.mark.parametrize("name", ["unknown", "x" * 81, " "])
def test_names_that_cannot_be_a_class(one: Session, tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError):
        one.add([noise(tmp_path / "a.png", 0)], name)


def test_what_is_no_photo_is_left_out_with_a_word(one: Session, tmp_path: Path) -> None:
    broken, text, photo = tmp_path / "b.jpg", tmp_path / "notes.txt", noise(tmp_path / "a.png", 0)
    broken.write_bytes(b"no picture")
    text.write_text("notes")
    with collecting() as left_out:
        assert one.add([Upload(broken, broken.name), Upload(text, text.name), photo], "fern") == 1
    assert [[*entry.names] for entry in left_out] == [["notes.txt"], ["b.jpg"]]
    assert len([*one.folder.iterdir()]) == 1


def test_a_file_that_is_gone_is_said(one: Session, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="give it again"):
        one.add([Upload(tmp_path / "gone.png", "gone.png")], "fern")


def test_only_so_many_photos(tmp_path: Path) -> None:
    one = session(tmp_path, photos=3)
    with collecting() as left_out:
        assert one.add(draw(tmp_path, {"fern": 0, "moss": 1}, 2)) == 3
    assert "only 3 photos" in left_out[0].reason
    one.remove(numbers(one, "moss"))
    assert one.add(draw(tmp_path, {"moss": 1}, 1)) == 1


def test_only_so_many_classes(tmp_path: Path) -> None:
    one = session(tmp_path, classes=2)
    with pytest.raises(DataError, match="more than 2 classes"):
        one.add(draw(tmp_path, CLASSES, 1))
    assert not one.board.photos


def test_too_many_pixels_are_refused_by_the_option_of_the_command(tmp_path: Path) -> None:
    one = session(tmp_path, pixels=1000)
    with collecting() as left_out:
        one.add([noise(tmp_path / "a.png", 0)], "fern")
    assert "32 x 32 pixels, more than 1,000" in left_out[0].reason
    assert "--max-pixels when this page is started" in left_out[0].reason


def test_photos_and_classes_are_removed_moved_and_renamed(one: Session, tmp_path: Path) -> None:
    one.add(draw(tmp_path, CLASSES, 2))
    one.remove(numbers(one, "fern")[:1])
    one.move(numbers(one, "moss")[:1], "palm")
    one.rename("palm", "date palm")
    assert counts(one) == {"fern": 1, "moss": 1, "date palm": 3}
    one.remove_class("moss")
    assert counts(one) == {"fern": 1, "date palm": 3}
    assert len([*one.folder.iterdir()]) == 4
    with pytest.raises(DataError, match="there is a class 'fern' already"):
        one.rename("date palm", "fern")
    with pytest.raises(DataError, match="no class 'moss'"):
        one.rename("moss", "lichen")


def test_training_tells_classes_apart_and_what_is_none_of_them(trained: Session, tmp_path: Path) -> None:
    assert not trained.changed
    assert trained.try_on(draw(tmp_path / "new", CLASSES, 6, start=10)) == 18
    tried = trained.tried()
    assert tried is not None
    right = np.mean([photo.name.startswith(label) for photo, label in zip(tried.photos, tried.labels, strict=True)])
    assert right > 0.6
    trained.try_on([noise(tmp_path / "a.png", 0)])
    rejecting = trained.tried(0.2)
    assert rejecting is not None
    assert rejecting.labels[-1] == "unknown"
    assert (trained.smallest_rate or 1) < 0.1


def test_one_class_is_no_task(one: Session, tmp_path: Path) -> None:
    one.add(draw(tmp_path, {"fern": 0}, 2))
    with pytest.raises(DataError, match="fewer than two classes"):
        one.train("pocket")
    with pytest.raises(DataError, match="no classifier yet"):
        one.try_on([noise(tmp_path / "a.png", 0)])


def test_a_network_that_is_none_of_the_choices(one: Session, tmp_path: Path) -> None:
    one.add(draw(tmp_path, CLASSES, 2))
    with pytest.raises(ConfigError, match="no network '/etc'"):
        one.train("/etc")


def test_answers_are_those_of_the_last_classifier(trained: Session, tmp_path: Path) -> None:
    trained.try_on(draw(tmp_path / "new", CLASSES, 1, start=10))
    before = trained.tried()
    trained.rename("fern", "bracken")
    assert trained.changed
    trained.train("pocket")
    after = trained.tried()
    assert before is not None
    assert after is not None
    assert ("fern" in before.classes, "bracken" in after.classes) == (True, True)
    assert len(after.photos) == 3
    trained.clear_tried()
    assert trained.tried() is None


def test_a_photo_that_is_in_two_classes_is_doubted(one: Session, tmp_path: Path) -> None:
    one.add(draw(tmp_path / "a", CLASSES, 8))
    one.add([Upload(tmp_path / "a/fern/0.png", "moss/0.png")])
    one.train("pocket")
    doubt = next(doubt for doubt in one.doubts() if len(doubt.photos) == 2)
    assert {photo.label for photo in doubt.photos} == {"fern", "moss"}
    assert "Nearly the same as another photo" in doubt.text
    one.remove([doubt.photos[0].number])
    assert doubt not in one.doubts()


def test_a_photo_under_a_wrong_name_moves_to_the_right_one(one: Session, tmp_path: Path) -> None:
    one.add(draw(tmp_path / "a", CLASSES, 8))
    wrong = draw(tmp_path / "b", {"fern": 0}, 1, start=20)
    one.add([Upload(wrong[0].path, "moss/20.png")])
    one.train("pocket")
    doubt = next(doubt for doubt in one.doubts() if doubt.seems)
    assert (doubt.photos[0].name, doubt.seems) == ("moss/20.png", "fern")
    one.move([doubt.photos[0].number], doubt.seems)
    assert doubt not in one.doubts()


def test_a_classifier_is_kept_under_the_photos_own_names(trained: Session, tmp_path: Path) -> None:
    archive = trained.save(thumbnails=True, rate=0.2)
    with zipfile.ZipFile(archive) as file:
        file.extractall(tmp_path / "home")
    saved = FewShotClassifier.load(tmp_path / "home/classifier", device="cpu")
    assert saved.support_.names[0] == "fern/0.png"
    assert saved.reject == 0.2
    assert str(trained.folder) not in (tmp_path / "home/classifier/classifier.json").read_text()
    assert [path.name for path in trained.out.rglob("*") if path.is_file()] == ["classifier.zip"]


def test_exports_and_reports(trained: Session, tmp_path: Path) -> None:
    assert trained.export("onnx").read_text() == "onnx"
    with zipfile.ZipFile(trained.export("web")) as file:
        assert file.namelist() == ["classifier-page/index.html"]
    with pytest.raises(DataError, match="try some photos first"):
        trained.report("labels.csv", None)
    trained.try_on(draw(tmp_path / "new", {"fern": 0}, 1, start=10))
    assert trained.report("labels.csv", None).read_text().startswith("fern/10.png")
    trained.remove(numbers(trained, "fern")[:1])
    with pytest.raises(DataError, match="train again first"):
        trained.export("onnx")


def test_an_opened_classifier_grows(trained: Session, tmp_path: Path) -> None:
    archive = trained.save(thumbnails=True)
    other = session(tmp_path / "other")
    other.open(Upload(archive, "classifier.zip"))
    assert counts(other) == {"fern": 5, "moss": 5, "palm": 5}
    assert not other.changed
    with pytest.raises(ConfigError, match="cannot be fine-tuned"):
        other.tune("pocket", Tuning(), lambda *_: None)
    with pytest.raises(DataError, match="cannot change their class"):
        other.move(numbers(other, "fern")[:1], "moss")
    other.rename("fern", "x")
    other.rename("moss", "fern")
    other.rename("x", "moss")
    other.remove(numbers(other, "moss")[:2])
    other.remove_class("palm")
    other.add(draw(tmp_path / "new", {"palm": 3, "fern": 1}, 4, start=20))
    grown = other.train("pocket")
    codes = [str(grown.classes_[code]) for code in grown.support_.codes]
    assert {name: codes.count(name) for name in codes} == {"moss": 3, "fern": 9, "palm": 4}
    whole = session(tmp_path / "whole")
    whole.add([*draw(tmp_path / "w", {"moss": 0}, 5)[2:], *draw(tmp_path / "w", {"fern": 1}, 5)])
    whole.add(draw(tmp_path / "v", {"palm": 3, "fern": 1}, 4, start=20))
    whole.train("pocket")
    for each in (other, whole):
        each.try_on(draw(tmp_path / "try", CLASSES, 2, start=30))
    first, second = other.tried(), whole.tried()
    assert first is not None
    assert second is not None
    np.testing.assert_allclose(first.probabilities, second.probabilities, atol=0.02)


def test_an_opened_classifier_can_be_kept_again(trained: Session, tmp_path: Path) -> None:
    archive = trained.save(thumbnails=False)
    other = session(tmp_path / "other")
    other.open(Upload(archive, "classifier.zip"))
    other.add(draw(tmp_path / "new", {"palm": 2}, 1, start=20))
    other.train("pocket")
    with collecting() as left_out:
        again = other.save(thumbnails=True)
    assert [entry.what for entry in left_out] == ["thumbnail"]
    assert again.is_file()


def test_what_is_no_classifier_leaves_all_as_it_is(trained: Session, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"0 files classifier\.json"):
        trained.open(zip_of(tmp_path / "plants", tmp_path / "plants.zip"))
    assert counts(trained) == {"fern": 5, "moss": 5, "palm": 5}
    assert not [path for path in trained.folder.iterdir() if path.is_dir()]


def test_fine_tuning_says_how_long_follows_and_stops(trained: Session) -> None:
    how = Tuning("full", choose_rate=False)
    estimate = trained.estimate("pocket", how)
    assert estimate.steps == 50
    assert estimate.seconds == pytest.approx(50 * estimate.step)
    assert trained.estimate("pocket", Tuning("full", choose_rate=True, assess=True)).steps == 18 * 50 + 250
    before, seen = trained.classifier, []

    def follow(text: str, done: int, total: int) -> None:
        seen.append((done, total))
        if done == 3:
            trained.stop()

    with pytest.raises(Stopped):
        trained.tune("pocket", how, follow)
    assert seen == [(1, 50), (2, 50), (3, 50)]
    assert trained.classifier is before
    trained.tune("pocket", how, lambda *_: None)
    assert trained.classifier is not before
    assert trained.tuning == how
    assert trained.smallest_rate is None
    assert trained.doubts() == []
    assert trained.save(thumbnails=False).is_file()


def test_nothing_remains(trained: Session, tmp_path: Path) -> None:
    trained.save(thumbnails=True)
    trained.close()
    assert not trained.folder.exists()
    assert not trained.out.exists()
    with pytest.raises(DataError):
        trained.add(draw(tmp_path / "new", {"fern": 0}, 1))
    assert not trained.folder.exists()


def test_forgetting_all(trained: Session) -> None:
    trained.clear()
    assert (trained.classifier, trained.board.photos) == (None, {})
    assert not [*trained.folder.iterdir()]


def test_what_was_sent_is_taken_once(one: Session, tmp_path: Path) -> None:
    sent = draw(tmp_path / "plants", {"fern": 0}, 2)
    one.to_add.put(sent)
    for upload in sent:
        upload.path.unlink()
    with one.to_add.taken() as uploads:
        assert one.add(uploads) == 2
    with one.to_add.taken() as uploads:
        assert uploads == []
    assert sorted(path.name for path in one.folder.iterdir()) == ["1", "2"]
