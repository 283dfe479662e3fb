"""What `smat reproduce` compares: the columns of a table, or the points of a figure."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, get_args

from smat.adaptation import ExpertTuner, FineTuner, Kind, make_tuner
from smat.errors import ConfigError
from smat.evaluation import BASELINES, Variant
from smat.heads import Head
from smat.metatuning.methods import METHODS, is_file, method_name
from smat.recipes.reproduce.setting import Setting
from smat.recipes.reproduce.sweeps import Sweep

What = Literal["table1", "table2", "masks", "sparsity", "wise-ft", "scale", "backbones", "overfitting"]

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
    "masks": [
        "smat",
        "mask-random",
        "mask-random-own",
        "mask-magnitude",
        "mask-smallest",
        "mask-gradient",
        "mask-fisher",
        "mask-norm",
        "mask-bias",
        "mask-attention",
        "mask-mlp",
        "mask-last",
    ],
    "sparsity": ["smat"],
    "wise-ft": ["pmf"],
    "scale": ["pmf", "softmerge", "smat"],
    "backbones": ["pretrained", "pmf", "softmerge", "smat"],
    "overfitting": ["pmf", "softmerge", "smat"],
}
SWEPT = ("masks", "sparsity", "wise-ft", "scale", "overfitting")
"""What varies trained methods, with the frozen network beside them."""
FIGURES = (*SWEPT[1:], "backbones")
"""What has a figure, for each kind of fine-tuning."""
GAINS = ("scale", "overfitting")
"""What shows gains over the frozen network."""


def plan(
    what: str,
    base: str,
    methods: Sequence[str] | None,
    sweep: Sweep = Sweep(),
    head: Head | None = None,
) -> list[Setting]:
    """The settings to compare.

    Args:
        what: table or figure, one of `What`.
        base: YAML file of the base configuration.
        methods: names of methods, or YAML files of one's own; None for those of the paper.
        sweep: what a figure varies.
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
    if what not in SWEPT:
        return named
    varied = [variant.text for variant in variants if variant.headed or variant.strengths is not None]
    if varied:
        raise ConfigError(
            f"methods {varied} have heads or strengths of their own: {what} takes methods alone, and --head"
        )
    untrained = [setting.name for setting in named if not setting.trained]
    if untrained:
        raise ConfigError(f"methods {untrained} are not trained: {what} needs ones that are, such as smat or pmf")
    points = sweep.settings(what, chosen, base)
    return [replace(setting, head=head) for setting in [Setting("pretrained", "pretrained"), *points]]


def places_of(
    what: str, base: str, bases: Sequence[str], out: Path, checkpoint: Sequence[str] = ()
) -> list[tuple[str, Path]]:
    """The YAML file of each base configuration, with the folder of its results.

    Args:
        what: table or figure, one of `What`.
        base: the first base configuration.
        bases: further ones, of `backbones`.
        out: folder of all results.
        checkpoint: pools that are trained already.

    Raises:
        ConfigError: if there are too few or too many of them, or two of a name or folder.
    """
    if what != "backbones":
        if bases:
            raise ConfigError(f"bases are for backbones; {what} has one base configuration: leave --bases out")
        return [(base, out)]
    if checkpoint:
        raise ConfigError("checkpoint is of one backbone: leave it out, and give the folder of its comparison in bases")
    pairs = [(given, "") if Path(given).exists() else given.partition("=")[::2] for given in [base, *bases]]
    places = [(file, Path(folder) if folder else out / Path(file).stem) for file, folder in pairs]
    names, folders = {Path(file).stem for file, _ in places}, {folder.resolve() for _, folder in places}
    if len(places) < 2 or len(names) < len(places) or len(folders) < len(places):
        raise ConfigError(
            f"base configurations are {', '.join([base, *bases])}; give two or more, each with a name and a folder of "
            "its own: BASE.yaml --bases [OTHER.yaml,THIRD.yaml=FOLDER]"
        )
    return places


def _setting(variant: Variant, head: Head | None) -> Setting:
    name = method_name(variant.method)
    setting = Setting(
        variant.text if variant.text in BASELINES else variant.text.replace(variant.method, name, 1),
        variant.method,
        head=variant.head_or(head),
        strengths=variant.strengths,
    )
    if setting.strengths is not None and not setting.trained:
        raise ConfigError(
            f"{variant.text} has no experts, so that there is no strength to set: leave out what follows @"
        )
    return setting


def given_checkpoints(given: Sequence[str], settings: Sequence[Setting], seeds: Sequence[int]) -> dict[str, str]:
    """The folders of trained pools, by the name of the training that they stand for.

    Args:
        given: each METHOD=PATH; the n-th of a method is for the n-th seed.
        settings: what is compared.
        seeds: training seeds.

    Raises:
        ConfigError: if one has another form or a method that is not compared, or there is not one path per seed.
    """
    plain = {method_name(s.method): s for s in settings if s.trained and not s.variation}
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

    Classifiers of frozen features have nothing, nor have networks at strengths that are given; what needs experts has
    nothing where only a backbone is.
    """
    if not tuner.trains:
        return True
    if setting.trained:
        return setting.strengths is None
    return not (setting.name in BASELINES or isinstance(tuner, ExpertTuner))
