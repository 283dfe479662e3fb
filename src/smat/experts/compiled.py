"""The interpolation of deterministic gates in compiled kernels, one for each direction, and the look-up of packed ones.

PyTorch's compiler, Inductor, makes C++ for a processor and Triton for a GPU out of the same lines. They compute what
the plain code of `interpolation` does, but each direction reads and writes its numbers once, where plain code does so
in every operation.
"""

import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, cast, no_type_check

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from smat.errors import one_line
from smat.experts.gates import HardConcrete
from smat.transfer import onto

# Sums are made row by row. So short a row needs no cascade of partial sums, which Inductor would write into its loop.
ROW = 2048
_LOG2_E = math.log2(math.e)
# Nothing that is used twice is written to memory and read again: to compute it again is cheaper.
_OPTIONS: dict[str, Any] = {
    "realize_reads_threshold": 1 << 16,
    "realize_opcount_threshold": 1 << 16,
    "realize_acc_reads_threshold": 1 << 16,
    # One loop for all experts, however many.
    "cpp.max_horizontal_fusion_size": 1 << 16,
}
_VARIANTS = 256


@cache
def compiler_failure(device: str) -> str:
    """Why nothing can be compiled for a type of device, as a trial shows; empty if it can."""
    try:
        torch.compile(_trial, dynamic=False)(torch.ones(ROW, device=device))
    except Exception as error:  # whatever the compiler meets: it is missing, or its headers, or a place to write to
        return one_line(error)
    return ""


def _trial(values: Tensor) -> Tensor:
    return values.exp2() + 1


class CompiledGates:
    """The kernels for the gates of a pool, as far as whole rows of `ROW` parameters go.

    Args:
        delta: θ_δ, `[params]`.
        logits: φ, `[experts, params]`.
        hc: distribution of the gates.
        density_hc: distribution for the expected density.

    Attributes:
        end: number of parameters that the kernels take care of; the last few are left to plain code.
    """

    def __init__(self, delta: Tensor, logits: Tensor, hc: HardConcrete, density_hc: HardConcrete) -> None:
        self.end = len(delta) - len(delta) % ROW
        self.delta, self.logits = self._rows(delta), [self._rows(of_expert) for of_expert in logits]
        # as tensors: with hardening they change at every step, and would be compiled anew
        numbers = [-_LOG2_E / hc.beta, math.exp(density_hc.density_shift), (hc.zeta - hc.gamma) / hc.beta]
        self.constants = onto(torch.tensor(numbers, dtype=delta.dtype), delta.device)
        self.bounds = hc.gamma, hc.zeta
        self.cubic = hc.beta == 2 / 3

    def _rows(self, vector: Tensor) -> Tensor:
        return vector[: self.end].view(-1, ROW)

    def _by_row(self, of_experts: Tensor) -> Tensor:
        """A number of each expert, once for each row, `[experts, rows, 1]`.

        A loop in which nothing depends on the row is made one over all parameters, and does not become one with the
        loop over rows that the sums need.
        """
        return of_experts[:, None, None].expand(-1, len(self.delta), 1).contiguous()

    def merge(
        self,
        pretrained: Float[Tensor, " params"],
        weights: Float[Tensor, " experts"],
        vector: Float[Tensor, " params"],
        *,
        measure: bool = True,
    ) -> tuple[Tensor, Tensor]:
        """Write the merged parameters into `vector`.

        Returns:
            Of each expert the sum of P(z ≠ 0), and the number of open gates; 0 if they are not to be measured.
        """
        given = self._rows(pretrained), self.delta, self.logits, self._by_row(weights), self.constants
        return _compiled(_merge)(*given, self._rows(vector), self.bounds, self.cubic, measure)

    def gradients(
        self,
        grad_vector: Float[Tensor, " params"],
        density_scales: Float[Tensor, " experts"],
        weights: Float[Tensor, " experts"],
        grad_delta: Float[Tensor, " params"],
        grad_logits: Float[Tensor, "experts params"],
    ) -> Float[Tensor, " experts"]:
        """Write the gradients of update and logits; gives that of the merge weights.

        Args:
            grad_vector: gradient of the merged parameters.
            density_scales: gradient of the sum of P(z ≠ 0) of each expert.
            weights: merge weights.
            grad_delta: where to write the update's.
            grad_logits: where to write the logits'.
        """
        # Where all multipliers are 0 nothing pulls at the densities. A GPU is not asked: it would be waited for.
        pulled = density_scales.device.type != "cpu" or bool(density_scales.any())
        scales = self._by_row(density_scales) if pulled else None
        given = self._rows(grad_vector.contiguous()), scales, self.delta, self.logits, self._by_row(weights)
        written = self._rows(grad_delta), [self._rows(row) for row in grad_logits]
        return _compiled(_gradients)(*given, self.constants, *written, self.bounds, self.cubic)


def look_up(
    pretrained: Float[Tensor, " params"],
    delta: Float[Tensor, " params"],
    codes: UInt8[Tensor, "bytes params"],
    tables: Float[Tensor, "bytes codes"],
) -> Float[Tensor, " params"]:
    """θ_pre + (Σ_b table_b[code_b]) ⊙ θ_δ, the merge of a packed pool.

    Args:
        pretrained: θ_pre.
        delta: θ_δ.
        codes: of the gates, one byte or more for each parameter.
        tables: what each of the 256 values of a byte amounts to.
    """
    vector = torch.empty_like(pretrained)
    _compiled(_look_up)(pretrained, delta, list(codes), list(tables), vector)
    return vector


@cache
def _compiled(kernel: Callable[..., Any]) -> Callable[..., Any]:
    compiled = cast(Callable[..., Any], torch.compile(kernel, dynamic=False, options=_OPTIONS))

    def run(*given: Any) -> Any:
        # From the ninth shape or number of experts on, the kernel would otherwise run as it is written, and many times
        # slower.
        with torch._dynamo.config.patch(recompile_limit=_VARIANTS):
            return compiled(*given)

    return run


# -- what is compiled: for each expert the same few lines, which all share one reading of its logits ------------------

Bounds = tuple[float, float]

# Types are not checked in here: the compiler would have to see through the checks that tests add.


@no_type_check
def _powers(logits: Tensor, constants: Tensor, cubic: bool) -> tuple[Tensor, Tensor]:
    """exp(-φ/β) and exp(-φ), of which sigmoids are made.

    By exp2, since Inductor writes what comes of a sigmoid or an exp to memory where it is used twice. With β = 2/3 one
    power does for both, which are the cube and the square of exp(-φ/2).
    """
    if cubic:
        root = torch.exp2(logits * (-_LOG2_E / 2))
        square = root * root
        return square * root, square
    return torch.exp2(logits * constants[0]), torch.exp2(logits * -_LOG2_E)


@no_type_check
def _first(values: Tensor) -> Tensor:
    """The same values, computed in the order of the lines.

    What is written to memory that was given comes last otherwise, and Inductor lets sums join the loop of what is
    before them, but not the reverse: it would go through the logits twice.
    """
    return values.as_strided(values.shape, values.stride())


@no_type_check
def _merge(
    pretrained: Tensor,
    delta: Tensor,
    logits: Sequence[Tensor],
    weights: Tensor,
    constants: Tensor,
    vector: Tensor,
    bounds: Bounds,
    cubic: bool,
    measure: bool,
) -> tuple[Tensor, Tensor]:
    gamma, zeta = bounds
    coefficient, probabilities, opened = torch.zeros_like(delta), [], []
    for number, of_expert in enumerate(logits):
        steep, odds = _powers(of_expert, constants, cubic)
        z = ((zeta - gamma) / (1 + steep) + gamma).clamp(0, 1)
        coefficient = coefficient + weights[number] * z
        if measure:
            probabilities.append(1 / (1 + odds * constants[1]))
            opened.append((steep < -zeta / gamma).to(delta.dtype))  # where z > 0, without another division
    vector.copy_(_first(pretrained + coefficient * delta))
    if not measure:
        return weights.new_zeros(len(weights)), weights.new_zeros(len(weights))
    return _sums(probabilities), _sums(opened)


@no_type_check
def _gradients(
    grad_vector: Tensor,
    density_scales: Tensor | None,
    delta: Tensor,
    logits: Sequence[Tensor],
    weights: Tensor,
    constants: Tensor,
    grad_delta: Tensor,
    grad_logits: Sequence[Tensor],
    bounds: Bounds,
    cubic: bool,
) -> Tensor:
    gamma, zeta = bounds
    grad_coefficient, coefficient, of_weights = grad_vector * delta, torch.zeros_like(delta), []
    for number, (of_expert, gradient) in enumerate(zip(logits, grad_logits, strict=True)):
        steep, odds = _powers(of_expert, constants, cubic)
        s = 1 / (1 + steep)
        stretched = s * (zeta - gamma) + gamma
        z, inside = stretched.clamp(0, 1), (stretched > 0) & (stretched < 1)
        coefficient = coefficient + weights[number] * z
        of_weights.append(z * grad_coefficient)
        slope = torch.where(inside, grad_coefficient * (weights[number] * constants[2]) * s * (1 - s), 0.0)
        if density_scales is not None:
            probability = 1 / (1 + odds * constants[1])
            slope = slope + density_scales[number] * probability * (1 - probability)
        gradient.copy_(_first(slope))
    grad_delta.copy_(_first(grad_vector * coefficient))
    return _sums(of_weights)


@no_type_check
def _sums(of_experts: Sequence[Tensor]) -> Tensor:
    return torch.stack([values.sum(1) for values in of_experts]).sum(1)


@no_type_check
def _look_up(
    pretrained: Tensor, delta: Tensor, codes: Sequence[Tensor], tables: Sequence[Tensor], vector: Tensor
) -> None:
    coefficient = tables[0][codes[0].int()]
    for table, code in zip(tables[1:], codes[1:], strict=True):
        coefficient = coefficient + table[code.int()]
    vector.copy_(pretrained + coefficient * delta)
