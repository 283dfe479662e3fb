"""Everything that the rest of a run depends on, as one dict, and back."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from smat.errors import CheckpointError, SmatError, one_line
from smat.experts import ShardedGates, SparseInterpolatedExperts
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
    """A state, as `save_state` takes it; the frozen parameters, which do not change, are not in it.

    Where processes hold slices of the pool, all of them must call it, and the state is of use in the first one only.
    """
    states, update = optimizer.state_dict(), pool.update
    if isinstance(update, ShardedGates):
        slices, whole = update.slices, update.whole()
        pool = pool.with_update(whole) if whole is not None else pool
        states = {name: _divisible(state, slices.whole, name) for name, state in states.items()}
    return {
        "pool": {name: value for name, value in pool.tensors().items() if name != "pretrained"},
        "multipliers": multipliers.data,
        "optimizer": states,
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
        tensors, states = state["pool"], state["optimizer"]
        if isinstance(pool.update, ShardedGates):
            slices = pool.update.slices
            tensors = {name: slices.of(value) if name in _DIVIDED else value for name, value in tensors.items()}
            states = {name: _divisible(each, slices.of, name) for name, each in states.items()}
        pool.load_tensors(tensors | {"pretrained": pool.pretrained}, origin)
        multipliers.data.copy_(state["multipliers"])
        optimizer.load_state_dict(states)
        if "watch" in state:  # older states have none
            watch.load_state_dict(state["watch"])
        # older states do not say, but have no validation that was cut short
        progress = {"validated": state["progress"]["tasks"]} | state["progress"]
        return from_plain(progress, Progress, "progress", CheckpointError)
    except (SmatError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise CheckpointError(f"{origin} does not fit this run ({one_line(error)}): start it anew") from error


_DIVIDED = ("delta", "gate_logits")  # names of the tensors, and below of the optimizers' groups, that slices are of
_GROUPS = ("delta", "gates")


def _divisible(state: dict[str, Any], change: Callable[[Tensor], Tensor | None], group: str) -> dict[str, Any]:
    """The state of a group's optimizer with its slices put together, or the whole of it divided."""
    if group not in _GROUPS:
        return state
    numbers = {
        index: {key: change(value) if isinstance(value, Tensor) and value.ndim else value for key, value in of.items()}
        for index, of in state["state"].items()
    }
    return state | {"state": numbers}
