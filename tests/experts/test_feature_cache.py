"""Features on disk: never a wrong one, whatever happens to the file, and no result that needs them."""

import copy
import multiprocessing
import os
import pickle
import re
import resource
import signal
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
import torch

from smat.backbones import load
from smat.errors import ConfigError
from smat.experts import CachedNetwork, FeatureCache, Network, SparseInterpolatedExperts, cached, feature_cache
from tiny_pool import SIZE, Counting, counter, images_seen, make_pool

NOISE = 2  # images that pass through a network to tell what it is
FORK = multiprocessing.get_context("fork")


def network_of(pool: SparseInterpolatedExperts, precision: str = "32-true") -> Network:
    with torch.no_grad():
        return pool.network(pool.pretrained, precision)  # type: ignore[arg-type]


def images(n: int = 6, seed: int = 0, size: int = SIZE) -> torch.Tensor:
    return torch.randn(n, 3, size, size, generator=torch.Generator().manual_seed(seed))


def rows(n: int, size: int = 100, start: int = 0) -> dict[bytes, bytes]:
    """Features that tell by each of their bytes which key they are of."""
    return {i.to_bytes(32, "big"): bytes([i % 256]) * size for i in range(start, start + n)}


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


# -- networks ----------------------------------------------------------------------------------------------------------


def test_only_images_that_were_not_seen_before_pass_through_the_network(tmp_path: Path) -> None:
    plain = network_of(make_pool())(images(8))
    pool = make_pool()
    found = CachedNetwork(network_of(pool), FeatureCache(tmp_path))(images(8)[:5])
    assert torch.equal(found, plain[:5])
    assert images_seen(pool) == NOISE + 5
    again = CachedNetwork(network_of(pool), FeatureCache(tmp_path))(images(8).flip(0))
    assert images_seen(pool) == NOISE + 5 + NOISE + 3
    assert torch.equal(again.flip(0)[:5], found)
    torch.testing.assert_close(again.flip(0), plain)
    assert cached(network := network_of(pool), None) is network


def test_a_hit_is_what_was_kept_whatever_the_network_would_give_beside_other_images(tmp_path: Path) -> None:
    network = CachedNetwork(network_of(make_pool()), FeatureCache(tmp_path))
    first = network(images())
    network.network = lambda _: pytest.fail("an image passed")  # type: ignore[assignment]
    for order in ([0], [3, 1], [5, 4, 3, 2, 1, 0], [2, 2, 2]):
        assert torch.equal(network(images()[order]), first[order])


@pytest.mark.parametrize("mixed", [False, True])
def test_a_plain_backbone_gives_its_own_features_in_their_own_type(tmp_path: Path, mixed: bool) -> None:
    pool = make_pool()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=mixed):
        expected = pool.backbone(images())
        found = [CachedNetwork(pool.backbone, FeatureCache(tmp_path))(images()) for _ in range(2)]
    assert expected.dtype == (torch.bfloat16 if mixed else torch.float32)
    assert all(f.dtype == expected.dtype and torch.equal(f, expected) for f in found)
    seen = images_seen(pool)
    network = network_of(pool, "bf16-mixed" if mixed else "32-true")
    CachedNetwork(network, FeatureCache(tmp_path))(images())
    assert images_seen(pool) == seen + NOISE + (6 if mixed else 0)  # the pool's network rounds its weights otherwise


def another_weight(pool: SparseInterpolatedExperts, _: pytest.MonkeyPatch) -> Network:
    pool.pretrained[-1] += 1e-6
    return network_of(pool)


def another_precision(pool: SparseInterpolatedExperts, _: pytest.MonkeyPatch) -> Network:
    return network_of(pool, "bf16-mixed")


def another_structure(pool: SparseInterpolatedExperts, _: pytest.MonkeyPatch) -> Network:
    counter(pool).extra = torch.nn.ReLU6()
    return network_of(pool)


def another_buffer(pool: SparseInterpolatedExperts, _: pytest.MonkeyPatch) -> Network:
    counter(pool).register_buffer("shift", torch.zeros(3))
    return network_of(pool)


def another_code(pool: SparseInterpolatedExperts, patch: pytest.MonkeyPatch) -> Network:
    def forward(self: Counting, images: torch.Tensor) -> torch.Tensor:
        self.images += len(images)
        return self.out(torch.nn.functional.leaky_relu(self.patches(images), 1e-4).mean((2, 3)))

    patch.setattr(Counting, "forward", forward)
    return network_of(pool)


def another_limit_of_an_activation(pool: SparseInterpolatedExperts, patch: pytest.MonkeyPatch) -> Network:
    def forward(self: Counting, images: torch.Tensor) -> torch.Tensor:
        self.images += len(images)
        return self.out(torch.relu(self.patches(images)).clamp(max=4).mean((2, 3)))

    patch.setattr(Counting, "forward", forward)
    return network_of(pool)


@pytest.mark.parametrize(
    "change",
    [
        another_weight,
        another_precision,
        another_structure,
        another_buffer,
        another_code,
        another_limit_of_an_activation,
    ],
)
def test_another_network_is_not_given_the_features(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[..., Network]
) -> None:
    CachedNetwork(network_of(make_pool()), FeatureCache(tmp_path))(images())
    pool = make_pool()
    network = change(pool, monkeypatch)
    found = CachedNetwork(network, FeatureCache(tmp_path))(images())
    assert images_seen(pool) == NOISE + 6
    assert torch.equal(found, network(images()))


def test_another_image_or_shape_of_the_same_numbers_is_not_given_the_features(tmp_path: Path) -> None:
    pool = make_pool()
    network = CachedNetwork(network_of(pool), FeatureCache(tmp_path))
    network(images())
    changed = images().clone()
    changed[0, 0, 0, 0] = torch.nextafter(changed[0, 0, 0, 0], torch.tensor(9.0))
    network(changed)
    assert images_seen(pool) == NOISE + 6 + 1
    network(images().reshape(6, 3, SIZE // 2, SIZE * 2))
    assert images_seen(pool) == NOISE + 6 + 1 + 6


def test_the_number_of_threads_does_not_matter(tmp_path: Path) -> None:
    pool = SparseInterpolatedExperts(load("pocket"))
    size = pool.backbone.spec.image_size
    few = CachedNetwork(network_of(pool), FeatureCache(tmp_path))
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        many = CachedNetwork(network_of(pool), FeatureCache(tmp_path))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert few._keys(images(2, size=size)) == many._keys(images(2, size=size))


# -- the file ----------------------------------------------------------------------------------------------------------


def write_and_check(path: Path, start: int, barrier: object) -> None:
    barrier.wait()  # type: ignore[attr-defined]
    cache = FeatureCache(path)
    for batch in range(10):
        mine = rows(20, 3000, start + 10 * batch)  # other processes write half of these too
        cache.write(mine)
        there = cache.read(rows(300, 3000))
        if cache._off or there | mine != there or there != {k: f for k, f in rows(300, 3000).items() if k in there}:
            os._exit(1)
    os._exit(0)


def test_processes_write_and_read_at_once_from_the_first_moment(tmp_path: Path) -> None:
    barrier = FORK.Barrier(4)
    processes = [FORK.Process(target=write_and_check, args=(tmp_path, 30 * n, barrier)) for n in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    assert FeatureCache(tmp_path).read(rows(300)) == rows(200, 3000)


def write_and_hang(path: Path, pipe: Connection) -> None:
    cache = FeatureCache(path)
    cache.write(rows(20, 5000))
    feature_cache._used = lambda _: (pipe.send("rows are in"), signal.pause())  # type: ignore[assignment]
    cache.write(rows(400, 5000, start=20))


def test_a_writer_that_is_killed_leaves_what_it_wrote_before(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ours, theirs = FORK.Pipe()
    process = FORK.Process(target=write_and_hang, args=(tmp_path, theirs))
    process.start()
    assert ours.recv() == "rows are in"
    cache = FeatureCache(tmp_path)
    assert cache.read(rows(420)) == rows(20, 5000)  # readers do not wait, and see nothing unfinished
    process.kill()
    process.join()
    assert cache.read(rows(420)) == rows(20, 5000)
    cache.write(rows(10, 7, start=400))
    assert cache.read(rows(420)) == rows(20, 5000) | rows(10, 7, start=400)
    assert not warnings(caplog)


@pytest.mark.parametrize("change", ["feature = x'00'", "feature = 'text'", "feature = 7", "checksum = 0"])
def test_a_damaged_feature_is_computed_anew(tmp_path: Path, change: str, caplog: pytest.LogCaptureFixture) -> None:
    pool = make_pool()
    network = CachedNetwork(network_of(pool), FeatureCache(tmp_path))
    first = network(images())
    with closing(sqlite3.connect(tmp_path / feature_cache.FILE)) as database, database:
        database.execute(f"UPDATE features SET {change} WHERE id IN (2, 5)")
    found = network(images()[:4])
    torch.testing.assert_close(found, first[:4])
    assert torch.equal(found[[0, 2, 3]], first[[0, 2, 3]])
    assert warnings(caplog) == [f"{tmp_path / feature_cache.FILE}: damaged features, which are computed anew: 1"]
    network(images())
    assert images_seen(pool) == NOISE + 6 + 2
    network(images())
    assert images_seen(pool) == NOISE + 6 + 2
    assert len(warnings(caplog)) == 2


def test_features_that_changed_places_are_damaged(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path)
    cache.write(rows(3))
    with closing(sqlite3.connect(cache.path)) as database, database:
        others = "(SELECT feature, checksum FROM features WHERE id = 2)"
        database.execute(f"UPDATE features SET (feature, checksum) = {others} WHERE id = 1")
    assert list(cache.read(rows(3))) == list(rows(2, start=1))


def text(path: Path) -> None:
    path.write_text("shopping list\n" * 1000)


def nothing(path: Path) -> None:
    path.write_bytes(b"")


def half(path: Path) -> None:
    FeatureCache(path.parent).write(rows(100))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def scratched(path: Path) -> None:
    FeatureCache(path.parent).write(rows(100))
    whole = path.read_bytes()
    path.write_bytes(whole[:4096] + bytes(4096) + whole[8192:])


def database_of_another_program(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE features (name TEXT)")


def with_a_log_of_another_database(path: Path) -> None:
    text(path)
    path.with_name(f"{path.name}-wal").write_bytes(os.urandom(5000))


@pytest.mark.parametrize(
    "spoil", [text, nothing, half, scratched, database_of_another_program, with_a_log_of_another_database]
)
def test_a_file_that_is_no_cache_is_begun_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, spoil: Callable[[Path], None]
) -> None:
    neighbour = tmp_path / "photo.jpg"
    neighbour.write_bytes(b"mine")
    spoil(tmp_path / feature_cache.FILE)
    cache = FeatureCache(tmp_path)
    there = cache.read(rows(100))
    assert there.items() <= rows(100).items()
    cache.write(rows(100))
    assert cache.read(rows(100)) == rows(100)
    assert neighbour.read_bytes() == b"mine"
    assert len(warnings(caplog)) == (spoil is not nothing)
    assert all(re.search("smat-features.sqlite is damaged or no feature cache", text) for text in warnings(caplog))


def test_bytes_changed_anywhere_never_give_a_wrong_feature(tmp_path: Path) -> None:
    FeatureCache(tmp_path).write(rows(40, 1500))
    path = tmp_path / feature_cache.FILE
    whole = path.read_bytes()
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        spoilt = bytearray(whole)
        for place in torch.randint(len(whole), (20,), generator=generator).tolist():
            spoilt[place] ^= 1 + place % 255
        path.write_bytes(spoilt)
        cache = FeatureCache(tmp_path)
        assert cache.read(rows(40)).items() <= rows(40, 1500).items()
        cache.write(rows(40, 1500))
        assert cache.read(rows(40)).items() <= rows(40, 1500).items()
        for end in ("-wal", "-shm"):
            path.with_name(path.name + end).unlink(missing_ok=True)


def test_beyond_its_limit_the_oldest_go(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path, limit=100_000)
    for batch in range(20):
        cache.write(rows(10, 1000, start=10 * batch))
        assert cache.path.stat().st_size <= 100_000 + 20 * 1000
    kept = [int.from_bytes(key, "big") for key in cache.read(rows(200))]
    assert kept == list(range(kept[0], 200))
    assert 50 <= len(kept) <= 100
    FeatureCache(tmp_path, limit=1).write(rows(1, start=200))
    assert not cache.read(rows(201))


# -- without a cache ---------------------------------------------------------------------------------------------------


@contextmanager
def full_disk(size: int) -> Iterator[None]:
    """No file grows beyond a size, in bytes."""
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, usual[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)


def removed(folder: Path) -> None:
    folder.rmdir()
    folder.write_text("")


def test_without_room_it_says_so_once_and_results_go_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    plain = network_of(make_pool())(images(300))
    pool = make_pool()
    network = CachedNetwork(network_of(pool), FeatureCache(tmp_path))
    network(images(300)[:10])
    with full_disk(20_000):
        torch.testing.assert_close(network(images(300)), plain)
        network(images(300))
    assert len(warnings(caplog)) == 1
    assert warnings(caplog)[0].startswith(f"{tmp_path / feature_cache.FILE}: ")
    assert warnings(caplog)[0].endswith("; going on without the feature cache")
    assert FeatureCache(tmp_path).read(network._keys(images(300)[:10]))  # what was kept is still there


def test_a_folder_that_is_gone_ends_the_cache_and_not_the_work(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pool = make_pool()
    network = CachedNetwork(network_of(pool), FeatureCache(tmp_path / "cache"))
    removed(tmp_path / "cache")
    for _ in range(2):
        assert torch.equal(network(images()), network_of(make_pool())(images()))
    assert len(warnings(caplog)) == 1


def test_a_lock_that_stays_is_waited_for_only_so_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(feature_cache, "_PATIENCE", 0.0)
    cache = FeatureCache(tmp_path)
    cache.write(rows(1))
    with closing(sqlite3.connect(cache.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert cache.read(rows(2)) == rows(1)
        cache.write(rows(1, start=1))
    assert [text for text in warnings(caplog) if "locked; going on without" in text] == warnings(caplog) != []
    assert FeatureCache(tmp_path).read(rows(2)) == rows(1)


def test_what_cannot_be_a_cache_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"feature cache '.*file.*' cannot be written: .*choose a place"):
        FeatureCache(tmp_path / "file")
    with pytest.raises(ConfigError, match="limit of the feature cache is 0 bytes"):
        FeatureCache(tmp_path, limit=0)
    assert FeatureCache.of(None) is None
    cache = FeatureCache(tmp_path)
    assert FeatureCache.of(cache) is cache
    assert getattr(FeatureCache.of(str(tmp_path)), "path", None) == cache.path


def test_it_can_be_copied_and_pickled_with_what_uses_it(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path, limit=10**6)
    cache.write(rows(3))
    for other in (copy.deepcopy(cache), pickle.loads(pickle.dumps(cache))):
        assert (other.limit, other.read(rows(3))) == (10**6, rows(3))
