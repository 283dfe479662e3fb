"""The settings that a figure of `smat reproduce` goes through."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Literal

from smat.domains import DomainConfig, one_by_one, open_domains
from smat.errors import ConfigError
from smat.metatuning.methods import method_config, method_name
from smat.metatuning.run_config import load_config
from smat.recipes.reproduce.setting import Setting
from smat.rng import numpy_generator
from smat.schema import Count, Share, checked

_LONGEST = 100  # characters of the domains' names in that of a training
_POINTS = 10  # pools kept in a training, unless it is said after how many tasks one is


@dataclass(frozen=True)
@checked()
class Sweep:
    """What is varied.

    Attributes:
        tau: target sparsities (sparsity).
        experts: numbers of experts (sparsity, masks); by default 4, 8 and 16 (sparsity), or that of the base
            configuration (masks). What a method needs otherwise with M experts is in BASE/METHOD-mM.yaml, where it is
            there (masks).
        scales: factors of the update, and shares of it that are kept, 0..1 (wise-ft).
        domain_counts: numbers of training domains (scale); by default 1, 2, 3, 5 and all, those that there are.
        orders: number of orders in which the training domains are added (scale), each from another domain on; by
            default 3, or as many as there are domains.
        keep_every: number of tasks between the points of a training's course (overfitting); by default a tenth of it.
        bases: further base configurations, one for each backbone (backbones), BASE.yaml or BASE.yaml=FOLDER with the
            folder of its comparison, of which nothing that is finished is done again; by default OUT/BASE.
    """

    tau: Sequence[Share] = (0.0, 0.2, 0.4, 0.6, 0.8, 0.9, 0.95, 0.99)
    experts: Sequence[Count] | None = None
    scales: Sequence[Share] = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
    domain_counts: Sequence[Count] | None = None
    orders: Count | None = None
    keep_every: Count | None = None
    bases: Sequence[str] = ()

    def settings(self, what: str, methods: Sequence[str], base: str) -> list[Setting]:
        """The points of a figure, without the frozen network.

        Args:
            what: `masks`, `sparsity`, `wise-ft`, `scale` or `overfitting`.
            methods: names of trained methods, or YAML files of one's own.
            base: YAML file of the base configuration.

        Raises:
            ConfigError: if there is nothing to sweep, or it does not fit the base configuration.
        """
        return {
            "masks": self._masks,
            "sparsity": self._sparsity,
            "wise-ft": self._wise_ft,
            "scale": self._scale,
            "overfitting": self._overfitting,
        }[what](methods, base)

    def _masks(self, methods: Sequence[str], base: str) -> list[Setting]:
        counts = self._experts([load_config([base]).pool.experts])
        return [_of_experts(method, base, experts) for experts in counts for method in methods]

    def _sparsity(self, methods: Sequence[str], base: str) -> list[Setting]:
        _check_values("tau", self.tau)
        counts = self._experts([4, 8, 16])
        return [_sparsity(m, base, tau, experts) for m in methods for experts in counts for tau in self.tau]

    def _experts(self, usual: Sequence[int]) -> Sequence[int]:
        if self.experts is None:
            return usual
        _check_values("experts", self.experts)
        return self.experts

    def _wise_ft(self, methods: Sequence[str], base: str) -> list[Setting]:
        _check_values("scales", self.scales)
        changes: list[Literal["scale", "keep"]] = ["scale", "keep"]
        return [
            Setting(
                f"{method_name(method)} {change} {c:g}",
                method,
                change=change,
                amount=c,
                point={"method": method_name(method), "change": change, "amount": c},
            )
            for method in methods
            for change in changes
            for c in self.scales
        ]

    def _scale(self, methods: Sequence[str], base: str) -> list[Setting]:
        config = load_config([base])
        sources = one_by_one(config.domains)
        opened = open_domains(sources, **config.opening())
        roles = {domain.name: domain.role for domain in opened}
        if len(roles) < len(opened):
            raise ConfigError(f"{base} has two domains of one name; give each its own: {', '.join(roles)}")
        by_name = dict(zip(roles, sources, strict=True))
        names = [name for name in roles if roles[name] != "validation"]
        subsets = training_subsets(names, self._counts(len(names), base), self._orders(len(names), base))
        fewest = min(subset.count for subset in subsets)
        for method in methods:
            if method_config(method, base).tuning.leave_out.share and fewest < 2:
                raise ConfigError(
                    f"{method_name(method)} leaves training domains out in turn, which takes two: set domain_counts to "
                    "2 and more, or leave the method out"
                )
        validating = [name for name in roles if roles[name] == "validation"]
        return [
            _scale(method, subset, [by_name[name] for name in by_name if name in {*subset.names, *validating}])
            for method in methods
            for subset in subsets
        ]

    def _counts(self, most: int, base: str) -> list[int]:
        if most < 2:
            raise ConfigError(f"{base} has {most} domain to train on: scale compares numbers of them; give two or more")
        if self.domain_counts is None:
            return sorted({count for count in (1, 2, 3, 5, most) if count <= most})
        _check_values("domain_counts", self.domain_counts)
        if beyond := [count for count in self.domain_counts if count > most]:
            raise ConfigError(f"domain_counts has {beyond}, and {base} has {most} domains to train on: give fewer")
        return sorted(self.domain_counts)

    def _orders(self, most: int, base: str) -> int:
        if (self.orders or 0) > most:
            raise ConfigError(f"orders is {self.orders}, and {base} has {most} domains to train on: give at most those")
        return self.orders or min(3, most)

    def _overfitting(self, methods: Sequence[str], base: str) -> list[Setting]:
        return [setting for method in methods for setting in _course(method, base, self.keep_every)]


def _check_values(name: str, values: Sequence[float] | Sequence[int]) -> None:
    if not values or len(set(values)) < len(values):
        raise ConfigError(f"{name} is {list(values)}; give one or more values, each once")


def _of_experts(method: str, base: str, experts: int) -> Setting:
    """A method with a number of experts, and with the settings that it needs then."""
    name, point = method_name(method), {"method": method_name(method), "experts": experts}
    if method_config(method, base).pool.experts == experts:
        return Setting(name, method, point=point)
    varied = f"{name}-m{experts}"
    needs = Path(base).with_suffix("") / f"{varied}.yaml"
    overrides = (*([f"--config={needs}"] if needs.is_file() else []), f"--pool.experts={experts}")
    return Setting(varied, method, overrides, variation=varied, point=point)


def _sparsity(method: str, base: str, tau: float, experts: int) -> Setting:
    name, own = method_name(method), method_config(method, base)
    varied = f"{name}-tau{tau:g}-m{experts}"
    point = {"method": name, "tau": tau, "experts": experts}
    if (own.tuning.target_sparsity, own.pool.experts) == (tau, experts):
        return Setting(varied, method, point=point)  # the method as it is: its training may be there already
    dense = () if tau else ("--pool.hardening=null",)  # which would close half of the gates where nothing else does
    overrides = (f"--tuning.target_sparsity={tau}", f"--pool.experts={experts}", *dense)
    return Setting(varied, method, overrides, variation=varied, point=point)


@dataclass(frozen=True)
class Subset:
    """Some of the training domains.

    Attributes:
        count: how many.
        order: number of the order that they are the first of, from 1 on; None: they are all, whatever the order.
        names: their names, in the order of the base configuration.
    """

    count: int
    order: int | None
    names: tuple[str, ...]


def training_subsets(names: Sequence[str], counts: Sequence[int], orders: int) -> list[Subset]:
    """Nested subsets of training domains, the first of one order after another.

    The orders are one random order, begun at domains that lie equally far apart: each domain is then early in one order
    and late in another, and no two orders share a subset but that of all.

    Args:
        names: names of the domains.
        counts: sizes of the subsets, at most as many as there are domains.
        orders: number of orders, at most as many as there are domains.
    """
    n = len(names)
    first = [names[i] for i in numpy_generator(0, "order of training domains").permutation(n)]
    starts = [round(order * n / orders) for order in range(orders)]

    def of(count: int) -> list[Subset]:
        if count == n:
            return [Subset(count, None, tuple(names))]
        chosen = [{first[(start + i) % n] for i in range(count)} for start in starts]
        together = [tuple(name for name in names if name in some) for some in chosen]
        return [Subset(count, order, some) for order, some in enumerate(together, start=1)]

    return [subset for count in counts for subset in of(count)]


def _scale(method: str, subset: Subset, domains: Sequence[str | DomainConfig]) -> Setting:
    name, together = method_name(method), "+".join(subset.names)
    point = {"method": name, "domains": subset.count, "order": subset.order, "trained_on": subset.names}
    if subset.order is None:
        return Setting(name, method, point=point)
    if len(together) > _LONGEST:
        together = f"{subset.count}-{sha256(together.encode()).hexdigest()[:8]}"
    varied = f"{name}-on-{together}"
    return Setting(varied, method, domains=tuple(domains), variation=varied, point=point)


def _course(method: str, base: str, every: int | None) -> list[Setting]:
    """A method after 0, `every`, 2 `every` ... tasks of one training."""
    name, tuning = method_name(method), method_config(method, base).tuning
    if every is None:
        every = max(tuning.meta_batch, round(tuning.tasks / _POINTS / tuning.meta_batch) * tuning.meta_batch)
    if every % tuning.meta_batch or every > tuning.tasks:
        raise ConfigError(
            f"keep_every is {every}; give a multiple of tuning.meta_batch, which is {tuning.meta_batch}, and at most "
            f"the {tuning.tasks} tasks of the training"
        )
    overrides = (f"--tuning.keep_every={every}", "--tuning.patience=null")
    return [
        Setting(
            f"{name} after {tasks}",
            method,
            overrides,
            variation=f"{name}-kept{every}",
            kept=tasks,
            point={"method": name, "tasks": tasks},
        )
        for tasks in sorted({*range(0, tuning.tasks, every), tuning.tasks})
    ]
