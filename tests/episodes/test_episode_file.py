"""Episodes written down and read back; damage of every kind is told by its line."""

import json
from pathlib import Path

import pytest

from smat.backbones import ImageFormat
from smat.domains import open_domain
from smat.domains.pocket import pocket_domains
from smat.episodes import EpisodeSource, FixedSampler, Sampler, VariableSampler, episode_lines, read_episodes
from smat.errors import DataError

FORMAT = ImageFormat(16)
DOMAINS = {domain.name: domain for domain in pocket_domains(image_size=16)}
TWO = [DOMAINS["polygons"], DOMAINS["strokes"]]


def sources(sampler: Sampler, seed: int = 0) -> list[EpisodeSource]:
    return [EpisodeSource([domain], "test", sampler, seed=seed, image_format=FORMAT) for domain in TWO]


def write(path: Path, sampler: Sampler, episodes: int = 3, seed: int = 0) -> Path:
    path.write_text("".join(episode_lines(sources(sampler, seed), episodes)), encoding="utf-8")
    return path


@pytest.mark.parametrize("sampler", [FixedSampler(way=3, shot=2, query=4), VariableSampler(max_way=7)])
def test_what_is_read_is_what_was_drawn(tmp_path: Path, sampler: Sampler) -> None:
    written = read_episodes(write(tmp_path / "episodes.jsonl", sampler, seed=4), TWO)
    assert (written.split, written.seed, written.sampler) == ("test", 4, sampler)
    for source in sources(sampler, 4):
        assert written.plans[source.domains[0].name] == tuple(source.plan(n) for n in range(3))
    again = EpisodeSource(TWO[:1], "test", sampler, plans=written.plans["polygons"], image_format=FORMAT)
    first, second = again.episode(1), sources(sampler, 4)[0].episode(1)
    assert first.plan == second.plan
    assert first.query.equal(second.query)


def test_another_program_can_read_the_lines(tmp_path: Path) -> None:
    header, *episodes = map(json.loads, write(tmp_path / "e", FixedSampler(3, 1, 2)).read_text().splitlines())
    assert header == {
        "format": "smat episodes",
        "version": 1,
        "split": "test",
        "seed": 0,
        "sampler": {"name": "FixedSampler", "way": 3, "shot": 1, "query": 2},
        "domains": {d.name: {"fingerprint": d.fingerprint, "episodes": 3} for d in TWO},
    }
    assert [e["id"] for e in episodes] == [f"{d.name}/test/0/{n}" for d in TWO for n in range(3)]
    for episode in episodes:
        domain = DOMAINS[episode["domain"]]
        assert [len(episode["support"]), len(episode["query"])] == [3, 6]
        for image in episode["support"] + episode["query"]:
            assert image["row"] in domain.rows(episode["classes"][image["label"]])
            assert image["image"] == domain.image_name(image["row"])


def test_one_domain_of_several_can_be_taken(tmp_path: Path) -> None:
    written = read_episodes(write(tmp_path / "e", FixedSampler(3, 1, 2)), TWO[1:])
    assert {name: len(plans) for name, plans in written.plans.items()} == {"strokes": 3}


def test_other_images_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "e", FixedSampler(3, 1, 2))
    other = next(d for d in pocket_domains(image_size=17) if d.name == "polygons")
    with pytest.raises(DataError, match=f"for another domain 'polygons'.*{TWO[0].fingerprint}.*{other.fingerprint}"):
        read_episodes(path, [other])
    with pytest.raises(DataError, match=r"no episodes of domain 'plants'; it has those of polygons, strokes"):
        read_episodes(path, [DOMAINS["plants"]])
    with pytest.raises(DataError, match=r"no file .*`smat data episodes` writes one"):
        read_episodes(tmp_path / "absent", TWO)


def altered(line: str, **changes) -> str:
    return json.dumps(json.loads(line) | changes)


def with_image(line: str, part: str, **changes) -> str:
    images = json.loads(line)[part]
    images[0] |= changes
    return altered(line, **{part: images})


@pytest.mark.parametrize(
    ("number", "damage", "says"),
    [
        (1, lambda line: line[: len(line) // 2], "line 1 .* is damaged"),
        (1, lambda line: '{"id": "a"}', "line 1 .*not the first line of a file of episodes"),
        (1, lambda line: altered(line, version=2), "line 1 .*version 2"),
        (1, lambda line: altered(line, split="tests"), "line 1 .*split is 'tests'"),
        (1, lambda line: altered(line, sampler={"name": "Mine"}), "line 1 .*sampler 'Mine'"),
        (1, lambda line: altered(line, sampler={"name": []}), r"line 1 .*sampler \[\]; known are"),
        (1, lambda line: altered(line, sampler={"name": "FixedSampler", "way": 0}), r"line 1 .*way is 0"),
        (1, lambda line: altered(line, sampler={"name": "FixedSampler", "weigh": 5}), "line 1 .*weigh"),
        (1, lambda line: altered(line, domains=None), "line 1 "),
        (3, lambda line: line[:-20], "line 3 .* is damaged"),
        (3, lambda line: "[]", "line 3 "),
        (3, lambda line: "", "line 3 "),
        (4, lambda line: altered(line, split="train"), "line 4 .*not one of those that the first line announces"),
        (4, lambda line: altered(line, domain="plants"), "line 4 .*not one of those"),
        (4, lambda line: altered(line, classes=["polygons999", "polygons001"]), "line 4 .*'polygons999' is no class"),
        (2, lambda line: with_image(line, "query", row=-1), "line 2 .*query.0.row is -1; expected 0 or more"),
        (2, lambda line: with_image(line, "query", row=1.5), "line 2 .*query.0.row is 1.5; expected a whole number"),
        (2, lambda line: with_image(line, "query", row="7"), "line 2 .*query.0.row is '7'; expected a whole number"),
        (2, lambda line: with_image(line, "support", label=3), r"line 2 .*labels are \[1, 2, 3\]"),
        (2, lambda line: altered(line, query=[]), r"line 2 .*labels are \[\]"),
        (2, lambda line: altered(line, query=json.loads(line)["query"] * 2), "line 2 .*an image is in it twice"),
        (2, lambda line: with_image(line, "query", **json.loads(line)["support"][0]), "line 2 .*in it twice"),
        (2, lambda line: json.dumps({"id": "a"}), "line 2 .*domain is missing.* and 2 more"),
    ],
)
def test_damage_names_the_line(tmp_path: Path, number: int, damage, says: str) -> None:
    path = write(tmp_path / "e", FixedSampler(3, 1, 2))
    lines = path.read_text().splitlines()
    lines[number - 1] = damage(lines[number - 1])
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(DataError, match=says):
        read_episodes(path, TWO)


def test_lost_and_added_lines_are_noticed(tmp_path: Path) -> None:
    path = write(tmp_path / "e", FixedSampler(3, 1, 2))
    lines = path.read_text().splitlines(keepends=True)
    for kept, says in (
        (lines[:-1], "line 7 .*ends here, without 1 episodes of strokes"),
        (lines[:1], "line 2 .*without 6 episodes of polygons, strokes"),
        ([], "line 1 "),
        ([*lines, lines[-1]], "line 8 .*not one of those"),
    ):
        path.write_text("".join(kept))
        with pytest.raises(DataError, match=says):
            read_episodes(path, TWO)
    path.write_bytes(path.read_bytes()[:300] + b"\xff\xfe\n")
    with pytest.raises(DataError, match="is damaged"):
        read_episodes(path, TWO)


def test_class_names_of_any_language(tmp_path: Path) -> None:
    from small_images import write_folders

    names = {"Красный гриб": 4, "赤い 花": 4, "été": 4}
    domain = open_domain(write_folders(tmp_path / "photos", names))
    source = EpisodeSource([domain], "test", FixedSampler(3, 1, 2), image_format=FORMAT)
    path = tmp_path / "e"
    path.write_text("".join(episode_lines([source], 1)), encoding="utf-8")
    assert "赤い 花" in path.read_text(encoding="utf-8")
    assert read_episodes(path, [domain]).plans[domain.name] == (source.plan(0),)
