"""From a trained pool to one packed for use."""

import copy
from dataclasses import replace

import torch

from smat.compression import rounded
from smat.errors import ConfigError
from smat.experts.fixed_gates import SharedUpdate
from smat.experts.learned_gates import LearnedGates
from smat.experts.lookup import ONE_BYTE
from smat.experts.packed import PackedGates, Packing
from smat.experts.pool import SparseInterpolatedExperts


@torch.no_grad()
def pack(pool: SparseInterpolatedExperts, *, lossy: bool = False) -> SparseInterpolatedExperts:
    """The pool for use: a fraction of the size, merged by a look-up, and not to be trained further.

    Args:
        pool: the pool, with a shared update behind gates; it is left as it is.
        lossy: round its numbers (see `Packing`), for half of the size; otherwise it makes the very same networks.

    Raises:
        ConfigError: experts with updates of their own or of a class of one's own, none, or a pool that is packed.
    """
    update = pool.update
    if isinstance(update, PackedGates):
        raise ConfigError("it is packed already")
    if not isinstance(update, LearnedGates | SharedUpdate):
        what = "has no experts" if not pool.config.experts else "has experts that do not share an update"
        raise ConfigError(f"it {what}: only experts that share an update behind gates are packed, as those of smat are")
    was_training = pool.training
    gates = pool.eval().gates()
    pool.train(was_training)
    assert gates is not None, "updates behind gates have gates"
    soft = bool(((gates > 0) & (gates < 1)).any())
    packing = Packing(bits=2 if lossy and soft else 1, lossy=lossy)
    small = SparseInterpolatedExperts(copy.deepcopy(pool.backbone), replace(pool.config, packed=packing))
    for name in packing.matrices(small.layout):
        part = small.pretrained[small.layout.slices[name]]
        part.copy_(rounded(part, "int8"))
    assert isinstance(small.update, PackedGates)
    small.to(pool.pretrained.device)
    small.update.fill(update.delta, gates)
    small.tasks_seen.copy_(pool.tasks_seen)
    if pool.head is not None and small.head is not None:
        small.head.copy_(pool.head)
    if pool.config.experts:
        small.router.load_state_dict(pool.router.state_dict())
    same = not lossy and pool.config.experts <= ONE_BYTE
    small.card = pool.card.of_same(pool.fingerprint(), small.fingerprint()) if same else pool.card
    return small.eval()
