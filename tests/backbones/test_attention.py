import pytest
import torch
from torch import Tensor, nn

from smat.backbones.attention import attention


class Layer(nn.Module):
    """What transformers passes along: a layer that says that it is not causal."""

    is_causal = False


def queries_keys_values(dtype: torch.dtype) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    drawn = [torch.randn(3, 2, 7, 8, generator=generator) for _ in range(3)]
    return [x.to(dtype).requires_grad_() for x in drawn]


def formula(q: Tensor, k: Tensor, v: Tensor, scaling: float) -> Tensor:
    return ((q @ k.transpose(-2, -1) * scaling).softmax(-1) @ v).transpose(1, 2)


@pytest.mark.parametrize("scaling", [None, 0.1])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 0.03)])
def test_values_and_gradients_are_the_formulas(dtype: torch.dtype, tolerance: float, scaling: float | None) -> None:
    given, exact = queries_keys_values(dtype), queries_keys_values(torch.float64)
    ours, _ = attention(Layer(), *given, None, scaling=scaling)
    reference = formula(*exact, scaling or 8**-0.5)
    assert ours.shape == (3, 7, 2, 8)
    assert ours.dtype == dtype
    assert (ours - reference).abs().max() <= tolerance * reference.abs().max()
    weight = torch.randn(reference.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    (ours.double() * weight).sum().backward()
    (reference * weight).sum().backward()
    for x, y in zip(given, exact, strict=True):
        assert x.grad is not None
        assert y.grad is not None
        assert (x.grad - y.grad).abs().max() <= tolerance * y.grad.abs().max()
