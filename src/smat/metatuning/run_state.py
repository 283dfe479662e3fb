"""Everything that the rest of a run depends on, as one dict, and back."""

from typing import Any

from torch import nn

from smat.errors import CheckpointError, SmatError, one_line
from smat.experts import SparseInterpolatedExperts
from smat.metatuning.optimizers import MetaOptimizer
from smat.metatuning.settings import Progress
from smat.metatuning.watch import Watch
from smat.schema import from_plain


def packed(
    pool: SparseInterpolatedExperts,
    multipliers: nn.Parameter,
    optimizer: MetaOptimizer,
    progress: Progress,
    watch: Watch,
) -> dict[str, Any]:
    """A state, as `save_state` takes it; the frozen parameters, which do not change, are not in it."""
    return {
        "pool": {name: value for name, value in pool.tensors().items() if name != "pretrained"},
        "multipliers": multipliers.data,
        "optimizer": optimizer.state_dict(),
        "progress": vars(progress),
        "watch": watch.state_dict(),
    }


def restored(
    state: dict[str, Any],
    origin: str,
    pool: SparseInterpolatedExperts,
    multipliers: nn.Parameter,
    optimizer: MetaOptimizer,
    watch: Watch,
) -> Progress:
    """Give a run's parts what a state has of them; gives its progress.

    Args:
        state: as `packed` gives it, also by an older version.
        origin: what it is called in an error.
        pool: takes up its parameters and buffers.
        multipliers: take up λ.
        optimizer: takes up what the optimizers keep.
        watch: a new one, which takes up the last steps.

    Raises:
        CheckpointError: the state does not fit the run.
    """
    try:
        pool.load_tensors(state["pool"] | {"pretrained": pool.pretrained}, origin)
        multipliers.data.copy_(state["multipliers"])
        optimizer.load_state_dict(state["optimizer"])
        if "watch" in state:  # older states have none
            watch.load_state_dict(state["watch"])
        # older states do not say, but have no validation that was cut short
        progress = {"validated": state["progress"]["tasks"]} | state["progress"]
        return from_plain(progress, Progress, "progress", CheckpointError)
    except (SmatError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise CheckpointError(f"{origin} does not fit this run ({one_line(error)}): start it anew") from error
