import math

import pytest
import torch
from torch import Tensor

from smat.errors import ConfigError
from smat.experts import HardConcrete, gate
from smat.experts.gates import concrete, nonzero_probability

PAPER = HardConcrete()
OTHERS = [PAPER, HardConcrete(beta=1.0), HardConcrete(beta=0.4, gamma=-0.3, zeta=1.2)]


def closed_below(hc: HardConcrete) -> float:
    """The logit up to which a deterministic gate is 0: where s(ζ - γ) + γ = 0."""
    return hc.beta * math.log(-hc.gamma / hc.zeta)


def open_above(hc: HardConcrete) -> float:
    """The logit from which on it is 1: where s(ζ - γ) + γ = 1."""
    return hc.beta * math.log((1 - hc.gamma) / (hc.zeta - 1))


def doubles(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize("hc", OTHERS, ids=str)
@pytest.mark.parametrize("logit", [-8.0, -1.2, -0.3, 0.0, 0.7, 1.5, 8.0])
def test_the_deterministic_gate_has_a_closed_form(hc: HardConcrete, logit: float) -> None:
    s = 1 / (1 + math.exp(-logit / hc.beta))
    expected = min(1.0, max(0.0, s * (hc.zeta - hc.gamma) + hc.gamma))
    torch.testing.assert_close(concrete(doubles(logit), hc), doubles(s))
    torch.testing.assert_close(gate(doubles(logit), hc), doubles(expected))


def test_a_gate_of_the_papers_distribution_is_half_open_at_zero_and_symmetric() -> None:
    logits = torch.linspace(-3, 3, 61, dtype=torch.float64)
    torch.testing.assert_close(gate(doubles(0.0), PAPER), doubles(0.5))
    torch.testing.assert_close(gate(logits, PAPER) + gate(-logits, PAPER), torch.ones_like(logits))


@pytest.mark.parametrize("hc", OTHERS, ids=str)
def test_gates_are_exactly_zero_below_and_exactly_one_above_their_thresholds(hc: HardConcrete) -> None:
    low, high = closed_below(hc), open_above(hc)
    assert hc.density_shift == pytest.approx(low)
    z = gate(doubles(-50.0, low - 1e-6, low + 1e-6, high - 1e-6, high + 1e-6, 50.0), hc)
    assert z[:2].tolist() == [0.0, 0.0]
    assert z[4:].tolist() == [1.0, 1.0]
    assert 0 < z[2] < 1e-5
    assert 1 - 1e-5 < z[3] < 1


def test_noise_of_one_half_is_the_deterministic_gate_and_other_noise_moves_the_logit() -> None:
    logits = torch.linspace(-4, 4, 17, dtype=torch.float64)
    half = torch.full_like(logits, 0.5)
    assert torch.equal(gate(logits, PAPER, half), gate(logits, PAPER))
    u = torch.linspace(0.01, 0.99, 17, dtype=torch.float64)
    torch.testing.assert_close(gate(logits, PAPER, u), gate(logits + torch.log(u / (1 - u)), PAPER))


@pytest.mark.parametrize("hc", OTHERS, ids=str)
@pytest.mark.parametrize("logit", [-2.0, -0.5, 0.0, 1.0])
def test_random_gates_are_closed_and_open_as_often_as_the_formulas_say(hc: HardConcrete, logit: float) -> None:
    draws = 100_000
    u = torch.rand(draws, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    z = gate(torch.full_like(u, logit), hc, u)

    def check(share: Tensor, probability: float) -> None:
        error = math.sqrt(probability * (1 - probability) / draws)
        assert abs(float(share) - probability) < 4 * error

    check((z != 0).double().mean(), float(nonzero_probability(doubles(logit), hc)))
    check((z == 1).double().mean(), 1 / (1 + math.exp(open_above(hc) - logit)))


def test_expected_density_is_the_mean_probability_of_each_experts_gates() -> None:
    logits = torch.randn(3, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True)
    density = nonzero_probability(logits, PAPER).mean(dim=1)
    probability = 1 / (1 + torch.exp(-(logits.detach() - PAPER.beta * math.log(0.1 / 1.1))))
    torch.testing.assert_close(density.detach(), probability.sum(1) / 7)
    density[1].backward()
    assert logits.grad is not None
    torch.testing.assert_close(logits.grad[1], (probability * (1 - probability))[1] / 7)
    assert logits.grad[[0, 2]].abs().max() == 0


@pytest.mark.parametrize(
    "constants",
    [{"beta": 0.0}, {"beta": -1.0}, {"gamma": 0.0}, {"gamma": 0.1}, {"zeta": 1.0}, {"zeta": 0.9}],
)
def test_a_distribution_without_exact_zeros_and_ones_is_refused(constants: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=r"pool\.gates\.(beta|gamma|zeta) is .*expected (above|below)"):
        HardConcrete(**constants)
