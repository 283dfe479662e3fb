"""`smat pack`: a trained pool for use, at a fraction of its size."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from smat.errors import ConfigError
from smat.experts import SparseInterpolatedExperts
from smat.experts import pack as packed
from smat.experts.storage import WEIGHTS
from smat.files import check_folder
from smat.schema import checked_arguments

_TRIALS = 8  # merge weights at random for which networks are compared


@dataclass(frozen=True)
class PackedCheckpoint:
    """What `pack` wrote.

    Attributes:
        folder: the folder.
        bytes_before: size of the checkpoint's weights.
        bytes: size of the packed ones.
        parameters: number of parameters of the backbone.
        alike: whether the packed pool makes the very same networks.
        change: how far its networks are from the unpacked ones: the length of the difference over that of the change
            that the experts make to the backbone, the largest of several merge weights at random.
    """

    folder: str
    bytes_before: int
    bytes: int
    parameters: int
    alike: bool
    change: float


@checked_arguments
def pack(checkpoint: str, out: str, *, lossy: bool = False, allow_imports: Collection[str] = ()) -> PackedCheckpoint:
    """Pack a trained pool for use: the same networks from about an eighth of the bytes, and faster to merge.

    A packed pool is used like any other (`smat evaluate`, `predict`, `fit`, `app`, the hub), but cannot be trained
    further: keep the checkpoint that it was made from. It makes the same networks, number for number, unless numbers
    are rounded.

    Example: smat pack runs/first/best birds-experts

    Args:
        checkpoint: folder of a checkpoint, or its name on the hub, with experts that share an update behind gates.
        out: folder to write.
        lossy: round its numbers, for about half of that size: gates to 0, 1/3, 2/3 or 1, the update to 31 steps and the
            backbone's matrices to 255 steps, in blocks of 64 numbers.
        allow_imports: packages whose code may be imported where the checkpoint names classes outside smat.

    Returns:
        Sizes, and how the packed pool compares with the checkpoint.

    Raises:
        SmatError: if there is no such checkpoint, it is packed already or cannot be, or the folder cannot be written.
    """
    folder = check_folder(out, "output")
    if folder.resolve() == Path(checkpoint).resolve():
        raise ConfigError(f"output '{out}' is the checkpoint, which would be lost: give another folder")
    pool = SparseInterpolatedExperts.from_pretrained(checkpoint, allow_imports=allow_imports)
    try:
        small = packed(pool, lossy=lossy)
    except ConfigError as error:
        raise ConfigError(f"{checkpoint} cannot be packed: {error}") from error
    small.save_pretrained(folder)
    again = SparseInterpolatedExperts.from_pretrained(folder, allow_imports=allow_imports)
    change = max(_change(pool, again, trial) for trial in range(_TRIALS))
    before = sum(value.numel() * value.element_size() for value in pool.tensors().values())
    size = (folder / WEIGHTS).stat().st_size
    return _shown(PackedCheckpoint(str(folder), before, size, len(pool.pretrained), change == 0, change))


def _change(pool: SparseInterpolatedExperts, again: SparseInterpolatedExperts, trial: int) -> float:
    generator = torch.Generator().manual_seed(trial)
    weights = torch.randn(pool.config.experts, generator=generator).mul(2).softmax(0)
    before, after = pool.merged_vector(weights), again.merged_vector(weights)
    if torch.equal(before, after):
        return 0.0
    return float((after - before).norm() / (before - pool.pretrained).norm().clamp_min(1e-12))


def _shown(found: PackedCheckpoint) -> PackedCheckpoint:
    """The same, when a table of it is on the screen."""
    table = Table(show_header=False)
    table.add_row("folder", escape(found.folder))
    table.add_row("size before", _size(found.bytes_before, found.parameters))
    table.add_row("size", _size(found.bytes, found.parameters))
    networks = "the very same" if found.alike else f"{found.change:.1%} of what the experts change is lost to rounding"
    table.add_row("networks", networks)
    Console().print(table)
    return found


def _size(size: int, parameters: int) -> str:
    return f"{size / 1e6:.1f} MB, {size / parameters:.1f} bytes per parameter of the backbone"
