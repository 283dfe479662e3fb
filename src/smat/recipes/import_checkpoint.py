"""`smat import-checkpoint`: what other code has tuned, as a pool."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from smat.errors import ConfigError
from smat.experts import OfficialGates, SparseInterpolatedExperts
from smat.files import check_folder
from smat.released import Routing, read_smat_checkpoint, read_tuned
from smat.schema import Range, checked_arguments


@dataclass(frozen=True)
class ImportedCheckpoint:
    """What `import_checkpoint` wrote.

    Attributes:
        folder: the folder.
        experts: number of experts.
        parameters: number of parameters of the backbone.
        heads: its attention heads; None where the network says them itself.
        image_size: side of its images in pixels.
        tasks: number of training tasks that the pool has seen.
        sparsity: share of each expert's gates that are 0; None without gates.
    """

    folder: str
    experts: int
    parameters: int
    heads: int | None
    image_size: int
    tasks: int
    sparsity: list[float] | None


@checked_arguments
def import_checkpoint(
    path: str,
    out: str,
    *,
    heads: Annotated[int, Range(1, 1024)] | None = None,
    image_size: Annotated[int, Range(1, 4096)] | None = None,
    routing: Routing = "stored",
    pretrained: str | None = None,
) -> ImportedCheckpoint:
    """Make a pool of a checkpoint of the authors' code, or of a vision transformer that was tuned.

    A checkpoint of the authors' code computes here what it computes there, their gates and routing included. Of a tuned
    network, such as those that PMF released, the difference to the pre-trained one becomes the update of one expert.
    Files of PyTorch are read without running code in them.

    Example: smat import-checkpoint downloads/experiments/smat runs/authors

    Args:
        path: folder of a run of the authors' code, with exp_configs.yaml and checkpoints/best_validation.pt; such a
            file; or with `pretrained`, a .pt, .pth or .bin file of a tuned network.
        out: folder to write the checkpoint to.
        heads: attention heads of the authors' network; one for 64 features by default.
        image_size: side of the images in pixels; by default what the position embeddings, or the pre-trained network,
            are for.
        routing: `stored`, as in the checkpoint, or `uniform`: equal weights for all experts, where the routing keys
            are missing.
        pretrained: network that was tuned, by its name on the hub or its folder, such as facebook/dino-vits16.

    Returns:
        What the pool is.

    Raises:
        SmatError: if there is no such checkpoint, it is damaged or of another network, or the folder cannot be written.
    """
    folder = check_folder(out, "output")
    if pretrained is None:
        pool = read_smat_checkpoint(Path(path), heads=heads, image_size=image_size, routing=routing)
    elif heads is not None or routing != "stored":
        raise ConfigError("--heads and --routing are of the authors' checkpoints: leave them out with --pretrained")
    else:
        pool = read_tuned(pretrained, [path], image_size=image_size, position_rule="dino")
    pool.save_pretrained(folder)
    return _shown(_summary(pool, folder))


@torch.no_grad()
def _summary(pool: SparseInterpolatedExperts, folder: Path) -> ImportedCheckpoint:
    gates = pool.gates() if isinstance(pool.update, OfficialGates) else None
    return ImportedCheckpoint(
        str(folder),
        pool.config.experts,
        len(pool.pretrained),
        pool.backbone.spec.config.get("num_attention_heads"),
        pool.backbone.spec.image_size,
        int(pool.tasks_seen),
        None if gates is None else (gates == 0).float().mean(1).tolist(),
    )


def _shown(found: ImportedCheckpoint) -> ImportedCheckpoint:
    """The same, when a table of it is on the screen."""
    table = Table(show_header=False)
    table.add_row("folder", escape(found.folder))
    table.add_row("experts", str(found.experts))
    heads = f", {found.heads} attention heads" if found.heads else ""
    table.add_row(
        "backbone", f"{found.parameters / 1e6:.1f} million parameters{heads}, images of {found.image_size} px"
    )
    table.add_row("training tasks seen", f"{found.tasks:,}" if found.tasks else "unknown")
    if found.sparsity:
        table.add_row("gates that are 0", ", ".join(f"{share:.1%}" for share in found.sparsity))
    Console().print(table)
    return found
