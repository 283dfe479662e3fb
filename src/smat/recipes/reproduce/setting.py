"""What is compared: a method, or a variation of one."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch

from smat.domains import DomainConfig
from smat.experts import SparseInterpolatedExperts, Strength
from smat.heads import Head
from smat.metatuning.kept import kept_folder
from smat.metatuning.methods import METHODS, is_file, method_name


@dataclass(frozen=True)
class Setting:
    """A method, or a variation of one.

    Attributes:
        name: name of its column.
        method: one of `METHODS`, or a YAML file of one's own.
        overrides: settings of its training, as on the command line.
        domains: domains of its training; none: those of the base configuration.
        variation: name of its training where this differs from that of the method; all settings of one name share it.
        kept: number of tasks after which the pool was kept that is compared; None: the best one of the training.
        change: what is done to the update of a trained pool: `scale` it, or `keep` its largest numbers.
        amount: the factor, or the share of numbers that are kept.
        head: what classifies its features; nearest prototypes by default.
        strengths: networks that the head gets the features of; None: as the head has it.
        point: what a sweep varies, by name, such as `tau` and `experts`: where its point lies in a figure.
    """

    name: str
    method: str
    overrides: tuple[str, ...] = ()
    domains: tuple[str | DomainConfig, ...] = ()
    variation: str = ""
    kept: int | None = None
    change: Literal["", "scale", "keep"] = ""
    amount: float = 1.0
    head: Head | None = None
    strengths: tuple[Strength, ...] | None = None
    point: Mapping[str, Any] = field(default_factory=dict)

    @property
    def trained(self) -> bool:
        """Whether there is a pool to train."""
        return is_file(self.method) or METHODS[self.method].trained

    def training(self, seed: int) -> str:
        """Name of the folder of its training, which all settings that are trained alike share."""
        name = self.variation or method_name(self.method)
        return f"{re.sub('[^A-Za-z0-9._+-]+', '-', name)}-seed{seed}"

    @property
    def pool(self) -> str:
        """The pool within the folder of its training."""
        return "best" if self.kept is None else kept_folder(self.kept)

    @torch.no_grad()
    def carry_out(self, pool: SparseInterpolatedExperts) -> SparseInterpolatedExperts:
        """Change the update of a pool in place.

        `scale`: θ_pre + c·θ_δ (Wortsman et al. 2022); `keep`: the numbers of θ_δ that are largest in size stay, the
        others become 0.
        """
        for delta in pool.update.parameter_vectors():
            if self.change == "scale":
                delta.mul_(self.amount)
            elif self.change == "keep":
                size = delta.abs().flatten()
                dropped = size.argsort()[: round((1 - self.amount) * len(size))]
                delta.view(-1)[dropped] = 0
        return pool
