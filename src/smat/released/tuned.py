"""Vision transformers that were tuned from a pre-trained one, such as PMF's released ones, as a pool of one expert."""

import math
from pathlib import Path

import torch

from smat.backbones import load
from smat.backbones.positions import resize_positions
from smat.errors import CheckpointError
from smat.experts import PoolConfig, SharedUpdate, SparseInterpolatedExperts
from smat.released.pickles import read_state
from smat.released.vit_names import renamed, vit_of

_HEAD = ("scale_cls", "bias")  # of PMF's cosine


def read_tuned(path: Path, pretrained: str, *, image_size: int | None = None) -> SparseInterpolatedExperts:
    """A pool of one expert, whose update is what tuning changed: the tuned numbers minus the pre-trained ones.

    Args:
        path: a `.pt`, `.pth` or `.bin` file with the state_dict of a vision transformer as DINO and timm name it, such
            as those that PMF released (Hu et al. 2022), whose scale and bias of the cosine are taken over.
        pretrained: the network that was tuned, by its name on the hub or its folder.
        image_size: side of the images; by default that of the pre-trained network.

    Raises:
        CheckpointError: there is no such file, no vision transformer in it, or it is another than the pre-trained one.
        BackboneError: there is no such pre-trained network.
    """
    if not path.is_file():
        raise CheckpointError(f"there is no file '{path}': give the .pt, .pth or .bin file of a tuned network")
    state = read_state(path)
    vit = vit_of(state, f"'{path}'")
    backbone = load(pretrained, image_size=image_size, position_rule="dino")
    head = [state[name].float().reshape(-1) for name in _HEAD if name in state]
    learned = [len(numbers) for numbers in head] == [1, 1]
    pool = SparseInterpolatedExperts(
        backbone, PoolConfig(experts=1, gating="open", learned_head=learned, method="pmf" if learned else "tuned")
    )
    shapes = dict(zip(pool.layout.names, pool.layout.shapes, strict=True))
    if (positions := shapes.get("network.embeddings.position_embeddings")) and "pos_embed" in vit:
        grid = math.isqrt(positions[1] - 1)
        vit["pos_embed"] = resize_positions(vit["pos_embed"][0], grid, 1, "dino")[None]
    try:
        tuned = pool.layout.flatten({f"network.{name}": tensor.float() for name, tensor in renamed(vit).items()})
    except CheckpointError as error:
        raise CheckpointError(f"'{path}' is no tuned {pretrained}: {error}") from error
    update = pool.update
    assert isinstance(update, SharedUpdate), "open gates share an update"
    with torch.no_grad():
        update.delta.copy_(tuned - pool.pretrained)
        if learned and pool.head is not None:
            pool.head.copy_(torch.cat(head))
    return pool.eval()
