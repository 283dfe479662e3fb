"""Checkpoints that other code has written, as pools: the authors' of SMAT, and vision transformers that were tuned."""

from smat.released.pickles import read_pickle
from smat.released.smat_checkpoint import Routing, read_smat_checkpoint
from smat.released.tuned import read_tuned

__all__ = ["Routing", "read_pickle", "read_smat_checkpoint", "read_tuned"]
