"""A stand-in for a GPU where there is none: the meta device, on which nothing has a value."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

META = torch.device("meta")
_COPIES = {"aten::_to_copy", "aten::copy_"}


class AnotherDevice(TorchDispatchMode):
    """Within it, an operation on tensors of the meta device and of the CPU fails, as on a GPU; waits are counted.

    A number of the CPU may take part, which a GPU takes as an argument. What is copied to the CPU is full of zeros. All
    else that needs a value, as `.item()`, fails on the meta device by itself.

    Attributes:
        reads: how many times something was copied to the CPU, for which a GPU has to be waited for.
        writes: how many times something was copied from the CPU in the way that waits for a GPU too.
    """

    def __init__(self) -> None:
        super().__init__()
        self.reads = self.writes = 0
        self._makers = torch.tensor, Tensor.new_tensor

    def __enter__(self) -> "AnotherDevice":
        """As usual, and from here on `torch.tensor` and `new_tensor`, which copy unseen, are writes."""

        def counted(maker: Callable[..., Tensor]) -> Callable[..., Tensor]:
            def make(*args: Any, **kwargs: Any) -> Tensor:
                made = maker(*args, **kwargs)
                self.writes += made.device == META
                return made

            return make

        torch.tensor, Tensor.new_tensor = map(counted, self._makers)  # type: ignore[method-assign, assignment]
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        torch.tensor, Tensor.new_tensor = self._makers  # type: ignore[method-assign]
        super().__exit__(*error)

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = dict(kwargs or {})
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        name = func._schema.name  # type: ignore[attr-defined]
        on_meta = any(t.device == META for t in tensors)
        if name in _COPIES:
            source = args[0] if name == "aten::_to_copy" else args[1]
            target = kwargs.get("device") if name == "aten::_to_copy" else args[0].device
            if source.device != META and source.ndim and target == META and not kwargs.get("non_blocking"):
                self.writes += 1
            to_cpu = kwargs.get("device") == torch.device("cpu") or (name == "aten::copy_" and args[0].device != META)
            if on_meta and to_cpu:
                self.reads += 1
                given = args[0] if name == "aten::_to_copy" else args[1]
                zeros = torch.zeros(given.shape, dtype=kwargs.get("dtype") or given.dtype)
                return zeros if name == "aten::_to_copy" else args[0].copy_(zeros)
        elif on_meta and (strays := [t for t in tensors if t.device != META and t.ndim]):
            raise AssertionError(f"{name} gets a tensor of shape {tuple(strays[0].shape)} that was left on the CPU")
        return func(*args, **kwargs)
