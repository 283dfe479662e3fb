import json
import re
from pathlib import Path

from smat.backbones import ImageFormat
from smat.domains import open_domain
from smat.episodes import EpisodeSource, FixedSampler
from smat.importing import Listing, import_domain, list_sources
from tiny_sources import make_gtsrb, photo, read_all, said, write

SIGNS = {0: "00.Speed limit (20km/h)", 14: "14.Stop", 42: "42.End of no passing by vehicles over 3.5 metric tons"}


def one(listings: list[Listing]) -> Listing:
    (listing,) = listings
    return listing


def test_gtsrb_lines_must_agree_with_their_folder(tmp_path: Path) -> None:
    truth = make_gtsrb(tmp_path, SIGNS)
    root = tmp_path / "GTSRB/Final_Training/Images"
    annotations = root / "00014/GT-00014.csv"
    annotations.write_text(
        annotations.read_text() + "00009_00000.ppm;12;10;1;1;9;8;42\r\n../x.ppm;1;1;1;1;1;1;14\r\na;b\r\n"
    )
    (root / "00000/GT-00000.csv").write_text("not;a;list\r\n")
    (root / "00042/GT-00042.csv").unlink()
    (root / "00043").mkdir()
    (root / "extra").mkdir()
    found, refused = read_all(one(list_sources("gtsrb", tmp_path)))
    assert found == {path: content for path, content in truth.items() if "/00000/" not in path}
    message = said(refused)
    assert "GT-00014.csv, line 5: its class is 42; expected 14, as its folder says" in message
    assert "GT-00014.csv, line 6: it says '../x.ppm" in message
    assert "GT-00014.csv, line 7: it says 'a;b'" in message
    assert "GT-00000.csv: its first line does not name Filename and ClassId" in message
    assert "00043: its name is no number of a class" in message
    assert "extra: its name is no number of a class" in message
    assert len(refused) == 6


def test_gtsrb_uses_the_training_images_and_otherwise_the_labelled_test_images(tmp_path: Path) -> None:
    truth = make_gtsrb(tmp_path, SIGNS)
    header = "Filename;Width;Height;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2;ClassId"
    lines = f"{header}\n00000.ppm;12;10;1;1;9;8;14\n00001.ppm;12;10;1;1;9;8;43\n"
    test = "GTSRB/Final_Test/Images"
    write(tmp_path, {f"{test}/GT-final_test.csv": lines, f"{test}/00000.ppm": photo(7), f"{test}/00001.ppm": photo(8)})
    listing = one(list_sources("gtsrb", tmp_path))
    assert read_all(listing)[0] == truth
    assert listing.flip is False
    assert "the test images are left out, as in Meta-Dataset" in listing.notes
    (tmp_path / "GTSRB/Final_Training").rename(tmp_path / "elsewhere")
    found, refused = read_all(one(list_sources("gtsrb", tmp_path / "GTSRB")))
    assert found == {"Final_Test/Images/00000.ppm": ("14.Stop", photo(7))}
    assert "line 3: its class is 43; expected 0 to 42" in said(refused)


def test_tracks_go_from_the_file_names_to_the_episodes(tmp_path: Path) -> None:
    """Three tracks of each class, of 30, 30 and 2 frames: the support has none of those of the queries."""
    make_gtsrb(tmp_path, SIGNS, images=62)
    import_domain(one(list_sources("gtsrb", tmp_path)), tmp_path / "out")
    folder = tmp_path / "out" / "gtsrb"
    domain = open_domain(folder)
    source = EpisodeSource([domain], "test", FixedSampler(3, 20, 31), image_format=ImageFormat(8))
    assert source.tracks_apart == ("gtsrb",)

    def tracks(rows: tuple[int, ...]) -> set[str]:
        return {re.sub("_[0-9]+.ppm", "", domain.image_name(row)) for row in rows}

    for plan in (source.plan(n) for n in range(10)):
        support, query = tracks(plan.support_rows), tracks(plan.query_rows)
        assert not support & query
        assert "Final_Training/Images/00014/00000" in support | query
        assert (len(support), len(query)) == (3, 6)
    description = json.loads((folder / "domain.json").read_text())
    del description["tracks"]  # as an import was before it said so
    (folder / "domain.json").write_text(json.dumps(description))
    before = open_domain(folder)
    assert before.fingerprint == domain.fingerprint
    assert EpisodeSource([before], "test", source.sampler, image_format=ImageFormat(8)).plan(4) == source.plan(4)


def test_names_without_tracks_are_noted(tmp_path: Path) -> None:
    make_gtsrb(tmp_path, SIGNS)
    root = tmp_path / "GTSRB/Final_Training/Images/00014"
    assert one(list_sources("gtsrb", tmp_path)).tracks
    (root / "GT-00014.csv").unlink()
    (root / "00000_00000.ppm").rename(root / "first.ppm")
    listing = one(list_sources("gtsrb", tmp_path))
    assert listing.tracks is None
    assert any("no tracks, since names such as" in note and "00014/first.ppm" in note for note in listing.notes)
