"""What `smat reproduce` compares: the columns of a table, or the points of a curve."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch

from smat.adaptation import ExpertTuner, FineTuner, Kind, make_tuner
from smat.errors import ConfigError
from smat.evaluation import BASELINES, Variant
from smat.experts import SparseInterpolatedExperts, Strength
from smat.heads import FULL, Head
from smat.metatuning.methods import METHODS, is_file, method_config, method_name

What = Literal["table1", "table2", "sparsity", "wise-ft"]

_DEFAULT_METHODS = {
    "table1": ["pretrained", "logistic", "knn", "pmf", "softmerge", "smat"],
    "table2": [
        "pretrained",
        "smat",
        "smat-no-teacher",
        "smat-one-expert",
        "smat-no-episodes",
        "dense-teacher",
        "pmf-no-episodes",
        "pmf",
        "smat-dense",
    ],
    "sparsity": ["smat"],
    "wise-ft": ["pmf"],
}


@dataclass(frozen=True)
class Setting:
    """A method, or a variation of one.

    Attributes:
        name: name of its column.
        method: one of `METHODS`, or a YAML file of one's own.
        overrides: settings of its training, as on the command line.
        change: what is done to the update of a trained pool: `scale` it, or `keep` its largest numbers.
        amount: the factor, or the share of numbers that are kept.
        curve: curve of a figure that it is a point of.
        label: name of the point there.
        head: what classifies its features; nearest prototypes by default.
        strengths: networks that the head gets the features of.
    """

    name: str
    method: str
    overrides: tuple[str, ...] = ()
    change: Literal["", "scale", "keep"] = ""
    amount: float = 1.0
    curve: str = ""
    label: str = ""
    head: Head | None = None
    strengths: tuple[Strength, ...] = FULL

    @property
    def trained(self) -> bool:
        """Whether there is a pool to train."""
        return is_file(self.method) or METHODS[self.method].trained

    def training(self, seed: int) -> str:
        """Name of the folder of its training, which all settings that are trained alike share."""
        name = self.name if self.overrides else method_name(self.method)
        return f"{re.sub('[^A-Za-z0-9._-]+', '-', name)}-seed{seed}"

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


def plan(
    what: str,
    base: str,
    methods: Sequence[str] | None,
    tau: Sequence[float],
    experts: Sequence[int],
    scales: Sequence[float],
    head: Head | None = None,
) -> list[Setting]:
    """The settings to compare.

    Args:
        what: table or figure, one of `What`.
        base: YAML file of the base configuration.
        methods: names of methods, or YAML files of one's own; None for those of the paper.
        tau: target sparsities to sweep.
        experts: numbers of experts to sweep.
        scales: factors of the update to sweep.
        head: head of the settings that name none.

    Raises:
        ConfigError: if the table, figure or a method is unknown, a sweep has no values, or a file does not fit.
    """
    if what not in get_args(What):
        raise ConfigError(f"{what!r} is nothing to reproduce: choose one of {', '.join(get_args(What))}")
    chosen = list(_DEFAULT_METHODS[what] if methods is None else methods)
    variants = [Variant.parse(method) for method in chosen]
    unknown = [v.text for v in variants if not is_file(v.method) and v.method not in METHODS]
    if unknown or not chosen:
        raise ConfigError(
            f"methods {unknown or chosen} are unknown: choose from {', '.join(METHODS)}, or give YAML files of settings"
        )
    named = [_setting(variant, head) for variant in variants]
    if len({setting.name for setting in named}) < len(chosen):
        raise ConfigError(f"methods are {chosen}; give each name once")
    if what in ("table1", "table2"):
        return named
    varied = [variant.text for variant in variants if variant.headed or variant.strengths != FULL]
    if varied:
        raise ConfigError(
            f"methods {varied} have heads or strengths of their own: {what} takes methods alone, and --head"
        )
    untrained = [setting.name for setting in named if not setting.trained]
    if untrained:
        raise ConfigError(f"methods {untrained} are not trained: {what} needs ones that are, such as smat or pmf")
    ranges = {"sparsity": {"tau": tau, "experts": experts}, "wise-ft": {"scales": scales}}[what]
    for name, values in ranges.items():
        if not values or len(set(values)) < len(values):
            raise ConfigError(f"{name} is {list(values)}; give one or more values, each once")
    reference = Setting("pretrained", "pretrained")
    if what == "sparsity":
        swept = [_sparsity(method, base, t, m) for method in chosen for m in experts for t in tau]
        return [replace(setting, head=head) for setting in [reference, *swept]]
    outside = [c for c in scales if not 0 <= c <= 1]
    if outside:
        raise ConfigError(f"scales are {list(scales)}; {outside} lie outside 0..1")
    points = [setting for method in chosen for setting in _wise_ft(method, scales)]
    return [replace(setting, head=head) for setting in [reference, *points]]


def _setting(variant: Variant, head: Head | None) -> Setting:
    name = method_name(variant.method)
    setting = Setting(
        variant.text if variant.text in BASELINES else variant.text.replace(variant.method, name, 1),
        variant.method,
        head=variant.head_or(head),
        strengths=variant.strengths,
    )
    if setting.strengths != FULL and not setting.trained:
        raise ConfigError(
            f"{variant.text} has no experts, so that there is no strength to set: leave out what follows @"
        )
    return setting


def _sparsity(method: str, base: str, tau: float, experts: int) -> Setting:
    name, own = method_name(method), method_config(method, base)
    overrides = (f"--tuning.target_sparsity={tau}", f"--pool.experts={experts}")
    if (own.tuning.target_sparsity, own.pool.experts) == (tau, experts):
        overrides = ()  # the method as it is: its training may be there already
    curve = f"{name}, {experts} experts"
    return Setting(f"{name}-tau{tau:g}-m{experts}", method, overrides, curve=curve, label=f"τ = {tau:g}")


def _wise_ft(method: str, scales: Sequence[float]) -> list[Setting]:
    name = method_name(method)

    def point(change: Literal["scale", "keep"], c: float, curve: str) -> Setting:
        return Setting(f"{name} {change} {c:g}", method, (), change, c, f"{name}, {curve}", f"{c:g}")

    scaled = [point("scale", c, "update times c") for c in scales]
    return scaled + [point("keep", c, "largest share c of the update") for c in scales]


def given_checkpoints(given: Sequence[str], settings: Sequence[Setting], seeds: Sequence[int]) -> dict[str, str]:
    """The folders of trained pools, by the name of the training that they stand for.

    Args:
        given: each METHOD=PATH; the n-th of a method is for the n-th seed.
        settings: what is compared.
        seeds: training seeds.

    Raises:
        ConfigError: if one has another form or a method that is not compared, or there is not one path per seed.
    """
    plain = {method_name(s.method): s for s in settings if s.trained and not s.overrides}
    paths: dict[str, list[str]] = {}
    for entry in given:
        method, _, path = entry.partition("=")
        if not path or method not in plain:
            known = ", ".join(plain) or "none, for all are trained anew"
            raise ConfigError(f"checkpoint is {entry!r}; give METHOD=PATH with a method that is compared ({known})")
        paths.setdefault(method, []).append(path)
    for method, found in paths.items():
        if len(found) != len(seeds):
            raise ConfigError(f"{method} has {len(found)} checkpoints and {len(seeds)} seeds; give one for each seed")
    return {
        plain[method].training(seed): path
        for method, found in paths.items()
        for seed, path in zip(seeds, found, strict=True)
    }


def make_tuners(adapt: Sequence[str | FineTuner], settings: Sequence[Setting]) -> list[FineTuner]:
    """The kinds of fine-tuning to compare.

    Raises:
        ConfigError: if one is unknown or given twice, or nothing can be fine-tuned.
    """
    tuners = [make_tuner(kind) for kind in adapt]
    names = [tuner.name for tuner in tuners]
    if not names or len(set(names)) < len(names):
        raise ConfigError(f"adapt is {names}; give one or more of {', '.join(get_args(Kind))}, each once")
    for tuner in tuners:
        if not any(tunes(tuner, setting) for setting in settings):
            given = ", ".join(setting.name for setting in settings)
            raise ConfigError(
                f"none of {given} can be fine-tuned ({tuner.name}): leave {tuner.name} out of adapt, or give other "
                "methods"
            )
    return tuners


def tunes(tuner: FineTuner, setting: Setting) -> bool:
    """Whether a kind of fine-tuning has something to tune in a setting.

    Classifiers of frozen features have nothing; what needs experts has nothing where only a backbone is.
    """
    return not tuner.trains or setting.trained or not (setting.name in BASELINES or isinstance(tuner, ExpertTuner))
