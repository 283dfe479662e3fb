"""Randomness that is counted, not carried.

Every random draw is a function of (seed, stream, counters) and of nothing that happened before it, so episode n
is the same whatever the number of workers or devices, and wherever a run was resumed.
"""

import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def derive_seed(seed: int, stream: str, *counters: int) -> int:
    """A 63-bit seed for draw `counters` of a named stream.

    Args:
        seed: random seed of the run, 0 or more.
        stream: name of what the draw is for, such as `"episode"`; streams are independent of each other.
        counters: numbers of the draw, each 0 or more; as many for every draw of a stream (trailing zeros do not tell
            draws apart).
    """
    sequence = np.random.SeedSequence([seed, zlib.crc32(stream.encode()), *counters])
    return int(sequence.generate_state(1, np.uint64)[0] >> np.uint64(1))


def numpy_generator(seed: int, stream: str, *counters: int) -> np.random.Generator:
    """A NumPy generator for draw `counters` of a named stream (arguments as in `derive_seed`)."""
    return np.random.Generator(np.random.Philox(derive_seed(seed, stream, *counters)))


def torch_generator(seed: int, stream: str, *counters: int) -> torch.Generator:
    """A CPU torch generator for draw `counters` of a named stream (arguments as in `derive_seed`)."""
    return torch.Generator().manual_seed(derive_seed(seed, stream, *counters))


@contextmanager
def seeded_torch(seed: int, stream: str, *counters: int) -> Iterator[None]:
    """Within the block torch's *global* randomness is that of the named draw; afterwards the CPU's is as before.

    For libraries that take no generator (kornia's augmentations, module initialisers, dropout). GPUs that are in use
    are seeded, too.
    """
    value, before = derive_seed(seed, stream, *counters), torch.get_rng_state()
    try:
        if torch.cuda.is_initialized() or torch.backends.mps.is_available():
            torch.manual_seed(value)
        else:  # to the same end, without the milliseconds that a traceback for each kind of device takes
            torch.default_generator.manual_seed(value)
        yield
    finally:
        torch.set_rng_state(before)
