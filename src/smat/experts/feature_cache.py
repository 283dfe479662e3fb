"""Features kept on disk, so that a network sees an image once, whichever command asks for it."""

import hashlib
import logging
import re
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from smat.backbones import Backbone
from smat.errors import ConfigError
from smat.experts.network import Network
from smat.files import check_writable
from smat.rng import torch_generator

DEFAULT_LIMIT = 2 * 10**9
"""Bytes that a cache may take: 360 000 features of a MobileNetV2, or 950 000 of a ViT-S."""

FILE = "smat-features.sqlite"

_log = logging.getLogger(__name__)

_PATIENCE = 20.0  # seconds to wait while other processes write
_TABLE = """CREATE TABLE IF NOT EXISTS features
    (id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, feature BLOB NOT NULL, checksum BLOB NOT NULL)"""
# What SQLite says of a file that is damaged, or no database, or another program's.
_BROKEN = {
    sqlite3.SQLITE_ERROR,
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_FORMAT,
    sqlite3.SQLITE_CONSTRAINT,
    sqlite3.SQLITE_MISMATCH,
}

T = TypeVar("T")


class FeatureCache:
    """Features by key in one file of a folder, which processes may share while they run.

    The file is an SQLite database with a write-ahead log: what a process writes is there whole or not at all, also when
    the process is killed, and nobody waits for readers. The folder must be on a local disk. A checksum over key and
    feature goes with each row, so that damage is found and the feature computed anew; a file that cannot be used is
    replaced. When the cache itself fails later, as on a full disk, it says so once and is off: results do not need it.

    Args:
        folder: where it is, or will be made.
        limit: bytes that it may take; beyond, what was written first goes. A file that is larger already does not
            shrink.

    Raises:
        ConfigError: nothing can be written there, or no room is given.
    """

    def __init__(self, folder: str | Path, limit: int = DEFAULT_LIMIT) -> None:
        if limit < 1:
            raise ConfigError(f"limit of the feature cache is {limit} bytes; give 1 or more")
        self.path, self.limit = check_writable(Path(folder).absolute() / FILE, "feature cache"), limit
        self._off = False

    @classmethod
    def of(cls, cache: "FeatureCache | str | Path | None") -> "FeatureCache | None":
        """The cache itself, or that of a folder; None where there is none."""
        return cls(cache) if isinstance(cache, str | Path) else cache

    def read(self, keys: Iterable[bytes]) -> dict[bytes, bytes]:
        """The features, as bytes, of those keys that are there."""

        def find(database: sqlite3.Connection) -> dict[bytes, bytes]:
            query = "SELECT feature, checksum FROM features WHERE key = ?"
            rows = {key: database.execute(query, (key,)).fetchone() for key in keys}
            there = {key: row for key, row in rows.items() if row}
            # A damaged byte can also change the type of what is stored.
            whole = {key: f for key, (f, check) in there.items() if type(f) is bytes and check == _checksum(key, f)}
            if len(whole) < len(there):
                _log.warning("%s: damaged features, which are computed anew: %d", self.path, len(there) - len(whole))
            return whole

        return self._with_database(find) or {}

    def write(self, features: Mapping[bytes, bytes]) -> None:
        """Keep features by key, all or, if that fails, none."""

        def keep(database: sqlite3.Connection) -> None:
            with database:
                database.execute("BEGIN IMMEDIATE")
                database.executemany(
                    "INSERT OR REPLACE INTO features (key, feature, checksum) VALUES (?, ?, ?)",
                    ((key, feature, _checksum(key, feature)) for key, feature in features.items()),
                )
                while _used(database) > self.limit:
                    oldest = "SELECT min(id) + (max(id) - min(id)) / 10 FROM features"
                    if not database.execute(f"DELETE FROM features WHERE id <= ({oldest})").rowcount:
                        break

        self._with_database(keep)

    def _with_database(self, use: Callable[[sqlite3.Connection], T]) -> T | None:
        """What `use` returns; None where the cache is off.

        A connection of its own for each use: none is open when a process forks, a classifier is pickled, or a run ends.
        """
        try:
            return None if self._off else self._connected(use)
        except (sqlite3.Error, UnicodeDecodeError, OSError) as error:
            self._off = True
            _log.warning("%s: %s; going on without the feature cache", self.path, error)
            return None

    def _connected(self, use: Callable[[sqlite3.Connection], T]) -> T:
        try:
            return self._once(use)
        except (sqlite3.Error, UnicodeDecodeError) as error:  # the latter where damage is quoted in SQLite's message
            if getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF not in _BROKEN:
                raise
            _log.warning("%s is damaged or no feature cache (%s), and begun anew", self.path, error)
        for end in ("-wal", "-shm", ""):  # a log that outlived its database would be taken for the new one's
            Path(f"{self.path}{end}").unlink(missing_ok=True)
        return self._once(use)

    def _once(self, use: Callable[[sqlite3.Connection], T]) -> T:
        with closing(sqlite3.connect(self.path, timeout=_PATIENCE, isolation_level=None)) as database:
            database.text_factory = bytes
            database.execute(f"PRAGMA mmap_size = {self.limit}")
            database.execute("PRAGMA synchronous = OFF")  # what a power failure breaks, checksums find
            with suppress(sqlite3.OperationalError):  # locked: another process does it at this moment
                database.execute("PRAGMA journal_mode = WAL")
            database.execute(_TABLE)
            return use(database)


class CachedNetwork:
    """A network that computes only the features that the cache lacks, and keeps them.

    Features are those of exactly the same pixels, by exactly the same network, in the same precision: the key of a
    feature is a hash of the image as it enters the network, so after every transform, and of the network as it is when
    this object is made. The latter covers parameters, buffers, structure, and the features of two images of noise,
    computed on one thread: code that computes otherwise is thereby another network too, whatever else is the same. A
    feature that is found is bit for bit the one that was kept. One that is computed may differ from it in the last bits
    with the images that pass through the network beside it, as without a cache.

    Args:
        network: images in, features out; a `Backbone` computes in the precision of the autocast that is in force.
        cache: where features are kept.
    """

    @torch.no_grad()
    def __init__(self, network: Network | Backbone, cache: FeatureCache) -> None:
        self.network, self.cache = network, cache
        self._dtype, self._identity = _identify(network)

    @torch.no_grad()
    def __call__(self, images: Float[Tensor, "n 3 height width"]) -> Float[Tensor, "n dim"]:
        """Features of the images, on their device and in the type in which the network gives them."""
        keys = self._keys(images)
        known = self.cache.read(dict.fromkeys(keys))
        features = {key: torch.frombuffer(bytearray(kept), dtype=self._dtype) for key, kept in known.items()}
        features = {key: feature.to(images.device) for key, feature in features.items()}
        new = [place for place, key in enumerate(keys) if key not in features]
        if new:
            computed = dict(zip((keys[place] for place in new), self.network(images[new]), strict=True))
            self.cache.write({key: _bytes(feature) for key, feature in computed.items()})
            features |= computed
        return torch.stack([features[key] for key in keys])

    def _keys(self, images: Tensor) -> list[bytes]:
        """A hash for each image, of it and the network."""
        seed = hashlib.sha256(self._identity + repr((images.dtype, images.shape[1:])).encode())
        found = []
        for image in images.cpu().contiguous():
            digest = seed.copy()
            digest.update(_bytes(image))
            found.append(digest.digest())
        return found


def cached(network: Network | Backbone, cache: FeatureCache | None) -> Network | Backbone | CachedNetwork:
    """The network with a cache; as it is where there is none."""
    return network if cache is None else CachedNetwork(network, cache)


def _identify(network: Network | Backbone) -> tuple[torch.dtype, bytes]:
    """The type of a network's features, and a hash of all that they depend on."""
    if isinstance(network, Network):
        backbone, parameters, precision = network.backbone, network.parameters, network.precision
        device = network.device
    else:
        backbone, parameters = network, dict(network.named_parameters())
        device = next(network.parameters()).device
        precision = "bf16-mixed" if torch.is_autocast_enabled(device.type) else "32-true"
    spec = backbone.spec
    noise = torch.randn(2, 3, spec.image_size, spec.image_size, generator=torch_generator(0, "feature-cache"))
    noise[1] *= 4  # beyond what images have: limits of activations show
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # a sum's order, and so its last bits, depend on their number
    try:
        features = network(noise.to(device)).cpu()
    finally:
        torch.set_num_threads(threads)
    structure = re.sub(" at 0x[0-9a-f]+", "", repr(backbone))  # where a function lies in this process
    digest = hashlib.sha256(repr((structure, spec.feature, precision, device.type)).encode())
    for name, value in sorted({**parameters, **dict(backbone.named_buffers()), "": features}.items()):
        digest.update(repr((name, value.dtype, value.shape)).encode())
        digest.update(_bytes(value))
    return features.dtype, digest.digest()


def _bytes(tensor: Tensor) -> bytes:
    """A tensor's numbers, of any type, as they are in memory."""
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def _checksum(key: bytes, feature: bytes) -> bytes:
    return hashlib.blake2b(key + feature, digest_size=16).digest()


def _used(database: sqlite3.Connection) -> int:
    """Bytes of the pages that are in use."""
    pages, free, size = (
        database.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
    )
    return (pages - free) * size
