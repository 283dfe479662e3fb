"""What `smat reproduce` compares: the columns of a table, or the points of a curve."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch

from smat.adaptation import Kind
from smat.errors import ConfigError
from smat.evaluation import BASELINES
from smat.experts import SparseInterpolatedExperts
from smat.metatuning.methods import METHODS, method_config

What = Literal["table1", "table2", "sparsity", "wise-ft"]

_DEFAULT_METHODS = {
    "table1": ["pretrained", "logistic", "knn", "pmf", "softmerge", "smat"],
    "table2": ["pretrained", "smat", "smat-no-teacher", "smat-one-expert", "smat-no-episodes", "smat-dense"],
    "sparsity": ["smat"],
    "wise-ft": ["pmf"],
}


@dataclass(frozen=True)
class Setting:
    """A method, or a variation of one.

    Attributes:
        name: of its column.
        method: one of `METHODS`.
        overrides: settings of its training, as on the command line.
        change: what is done to a trained pool's update: `scale` it, or `keep` its largest numbers.
        amount: the factor, or the share of numbers kept.
        curve: of a figure: the curve that it is a point of.
        label: what the point is called there.
    """

    name: str
    method: str
    overrides: tuple[str, ...] = ()
    change: Literal["", "scale", "keep"] = ""
    amount: float = 1.0
    curve: str = ""
    label: str = ""

    @property
    def trained(self) -> bool:
        """Whether there is a pool to train."""
        return METHODS[self.method].trained

    def training(self, seed: int) -> str:
        """Name of the folder of its training, which all settings that are trained alike share."""
        return f"{re.sub('[^a-z0-9.-]+', '-', self.name) if self.overrides else self.method}-seed{seed}"

    @torch.no_grad()
    def carry_out(self, pool: SparseInterpolatedExperts) -> SparseInterpolatedExperts:
        """Change a pool's update in place.

        `scale`: θ_pre + c·θ_δ (Wortsman et al. 2022); `keep`: the numbers of θ_δ that are largest by size stay, the
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


def plan(
    what: str,
    base: str,
    methods: Sequence[str] | None,
    tau: Sequence[float],
    experts: Sequence[int],
    scales: Sequence[float],
) -> list[Setting]:
    """The settings to compare, over the base configuration of that file.

    Raises:
        ConfigError: an unknown table, figure or method, a sweep without values, or a file that does not do.
    """
    if what not in get_args(What):
        raise ConfigError(f"{what!r} is nothing to reproduce: choose one of {', '.join(get_args(What))}")
    chosen = list(_DEFAULT_METHODS[what] if methods is None else methods)
    unknown = [name for name in chosen if name not in METHODS]
    if unknown or not chosen:
        raise ConfigError(f"methods {unknown or chosen} are unknown: choose from {', '.join(METHODS)}")
    if len(set(chosen)) < len(chosen):
        raise ConfigError(f"methods are {chosen}; give each once")
    if what in ("table1", "table2"):
        return [Setting(name, name) for name in chosen]
    untrained = [name for name in chosen if not METHODS[name].trained]
    if untrained:
        raise ConfigError(f"methods {untrained} are not trained: {what} needs ones that are, such as smat or pmf")
    swept = {"sparsity": {"tau": tau, "experts": experts}, "wise-ft": {"scales": scales}}[what]
    for name, values in swept.items():
        if not values or len(set(values)) < len(values):
            raise ConfigError(f"{name} is {list(values)}; give one or more values, each once")
    reference = Setting("pretrained", "pretrained")
    if what == "sparsity":
        return [reference, *(_sparsity(name, base, t, m) for name in chosen for m in experts for t in tau)]
    outside = [c for c in scales if not 0 <= c <= 1]
    if outside:
        raise ConfigError(f"scales are {list(scales)}; {outside} lie outside 0..1")
    return [reference, *(s for name in chosen for s in _wise_ft(name, scales))]


def _sparsity(method: str, base: str, tau: float, experts: int) -> Setting:
    own = method_config(method, base)
    overrides = (f"--tuning.target_sparsity={tau}", f"--pool.experts={experts}")
    if (own.tuning.target_sparsity, own.pool.experts) == (tau, experts):
        overrides = ()  # the method as it is: its training may be there already
    curve = f"{method}, {experts} experts"
    return Setting(f"{method}-tau{tau:g}-m{experts}", method, overrides, curve=curve, label=f"τ = {tau:g}")


def _wise_ft(method: str, scales: Sequence[float]) -> list[Setting]:
    def point(change: Literal["scale", "keep"], c: float, curve: str) -> Setting:
        return Setting(f"{method} {change} {c:g}", method, (), change, c, f"{method}, {curve}", f"{c:g}")

    scaled = [point("scale", c, "update times c") for c in scales]
    return scaled + [point("keep", c, "largest share c of the update") for c in scales]


def given_checkpoints(given: Sequence[str], settings: Sequence[Setting], seeds: Sequence[int]) -> dict[str, str]:
    """The folders of trained pools, by the name of the training that they stand for.

    Args:
        given: each METHOD=PATH; a method's n-th for the n-th seed.
        settings: what is compared.
        seeds: training seeds.

    Raises:
        ConfigError: another form, a method that is not compared, or not one path a seed.
    """
    plain = [s.method for s in settings if s.trained and not s.overrides]
    paths: dict[str, list[str]] = {}
    for entry in given:
        method, _, path = entry.partition("=")
        if not path or method not in plain:
            known = ", ".join(dict.fromkeys(plain)) or "none, for all are trained anew"
            raise ConfigError(f"checkpoint is {entry!r}; give METHOD=PATH with a method that is compared ({known})")
        paths.setdefault(method, []).append(path)
    for method, found in paths.items():
        if len(found) != len(seeds):
            raise ConfigError(f"{method} has {len(found)} checkpoints and {len(seeds)} seeds; give one for each seed")
    return {
        f"{method}-seed{seed}": path for method, found in paths.items() for seed, path in zip(seeds, found, strict=True)
    }


def check_adaptable(settings: Sequence[Setting], adapt: Sequence[str]) -> None:
    """Raise a `ConfigError` for kinds of adaptation that are unknown or given twice, or that nothing can take."""
    kinds = get_args(Kind)
    if not adapt or len(set(adapt)) < len(adapt) or set(adapt) - set(kinds):
        raise ConfigError(f"adapt is {list(adapt)}; give one or more of {', '.join(kinds)}, each once")
    if "none" not in adapt and all(s.method in BASELINES for s in settings):
        raise ConfigError(f"none of {', '.join(BASELINES)} can be fine-tuned: give adapt none, or other methods")
