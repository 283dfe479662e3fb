"""From checkpoints by name or path to what `smat evaluate` evaluates."""

import re
from collections.abc import Collection, Mapping, Sequence
from itertools import takewhile
from pathlib import Path

import torch

from smat.adaptation import ExpertTuner, FineTuner, open_model
from smat.backbones import ImageFormat, ImageOptions
from smat.errors import ConfigError
from smat.evaluation import BASELINES, Entrant, Variant, same_backbone
from smat.experts import SparseInterpolatedExperts
from smat.heads import Head

_NAMED = re.compile(r"([^/\\=]+)=(.+)")  # lr=0.1/best has this form too: what exists under such a name is a path
_TAKEN = ("all", "pretrained", *BASELINES)
_SEPARATORS = "+@,"  # what names of contenders are put together with


def named_checkpoints(
    checkpoint: str | Path | Mapping[str, str | Path], domains: Sequence[str]
) -> tuple[dict[str, str], list[str]]:
    """The checkpoints by name, and the domains.

    Args:
        checkpoint: paths by name; or one path, whose name is then `""`; or NAME=PATH, and more of these may follow.
        domains: domains, after what follows of the checkpoints.

    Raises:
        ConfigError: if a name is given twice or has another meaning, or there are no checkpoints or domains.
    """
    rest = list(domains)
    if isinstance(checkpoint, Mapping):
        pairs = [(name, str(path)) for name, path in checkpoint.items()]
    else:
        pairs, more = _pairs([str(checkpoint)]), _pairs(rest)
        if more and not pairs:
            raise ConfigError(
                f"'{domains[0]}' is a checkpoint with a name, and '{checkpoint}' has none: give it one, such as "
                f"first={checkpoint}"
            )
        pairs, rest = pairs + more or [("", str(checkpoint))], rest[len(more) :]
    names = [name for name, _ in pairs]
    if len(set(names)) < len(names) or set(names) & set(_TAKEN) or set("".join(names)) & set(_SEPARATORS):
        raise ConfigError(
            f"checkpoints are named {', '.join(names)}; give each its own name, none of {', '.join(_TAKEN)}, and "
            f"without {' '.join(_SEPARATORS)}"
        )
    if not pairs or not rest:
        raise ConfigError(f"there are {len(pairs)} checkpoints and {len(rest)} domains; give at least one of each")
    return dict(pairs), rest


def _pairs(given: Sequence[str]) -> list[tuple[str, str]]:
    """Name and path of each NAME=PATH that others begin with."""
    matches = (None if Path(text).exists() else _NAMED.fullmatch(text) for text in given)
    return [(match[1], match[2]) for match in takewhile(bool, matches) if match]


def enter(
    checkpoints: Mapping[str, str],
    methods: Sequence[str],
    head: Head | None,
    tuner: FineTuner,
    device: torch.device,
    allow_imports: Collection[str] = (),
    images: ImageOptions = ImageOptions(),
) -> list[Entrant]:
    """What is evaluated of checkpoints: their experts, and what is made of their backbones alone.

    A checkpoint without a name is named after its method, a backbone without experts `pretrained`. With a fine-tuning
    that needs experts, `all` is the experts alone.

    Args:
        checkpoints: folder or hub name by name.
        methods: names of what to evaluate, each as `Variant` reads it, or `all`.
        head: head of those that name none.
        tuner: fine-tuning of all of them.
        device: where they are evaluated.
        allow_imports: packages whose code may be imported where a checkpoint names classes outside smat.
        images: size and normalisation of the images, where checkpoints are backbones.

    Raises:
        ConfigError: if there is no such method or head, one is given twice, or one cannot be fine-tuned.
        CheckpointError: if a checkpoint cannot be loaded.
    """
    pools = {name: open_model(path, device, allow_imports, images) for name, path in checkpoints.items()}
    own = {name or (p.config.method if p.config.experts else "pretrained"): p for name, p in pools.items()}
    known = list(dict.fromkeys(["all", *own, "pretrained", *BASELINES]))
    entrants: list[Entrant] = []
    for text in methods:
        variant = Variant("pretrained", "pretrained") if text == "all" else Variant.parse(text)
        head_of_it = variant.head_or(head)
        if variant.method == "all":
            raise ConfigError(
                f"method is {text!r}; all takes no head or strength of its own: name methods, or set --head"
            )
        if variant.method not in known:
            meta_tuned = any(pool.config.experts for pool in own.values())
            advice = "" if meta_tuned else "; this is a backbone without experts: to have them, meta-tune it first"
            given = ", ".join(checkpoints.values())
            raise ConfigError(f"method is {variant.method!r}; of {given} there are {', '.join(known)}{advice}")
        if text in BASELINES and tuner.trains:
            raise ConfigError(f"{text} cannot be fine-tuned: set adapt to none, not {tuner.name}")
        if text == "all":
            entrants += [Entrant(name, pool, tuner, head) for name, pool in own.items()]
            if not isinstance(tuner, ExpertTuner):
                tuned = {name: pool for name, pool in own.items() if pool.config.experts}
                entrants += _of_backbones(variant, tuned, tuner, head_of_it, device)
        elif variant.method in own:
            entrants.append(Entrant(text, own[variant.method], tuner, head_of_it, variant.strengths))
        else:
            entrants += _of_backbones(variant, own, tuner, head_of_it, device)
    names = [entrant.name for entrant in entrants]
    if not names or len(set(names)) < len(names):
        raise ConfigError(f"method is {', '.join(methods)}; give one or more, each once")
    for entrant in entrants:
        tuner.check_pool(entrant.pool)
        _check_strengths(entrant)
    return entrants


def _check_strengths(entrant: Entrant) -> None:
    if entrant.strengths is not None and (entrant.tuner.trains or not entrant.pool.config.experts):
        why = "is fine-tuned" if entrant.pool.config.experts else "has no experts"
        raise ConfigError(f"{entrant.name} {why}, so that there is no strength to set: leave out what follows @")


def _of_backbones(
    variant: Variant,
    pools: Mapping[str, SparseInterpolatedExperts],
    tuner: FineTuner,
    head: Head | None,
    device: torch.device,
) -> list[Entrant]:
    """A method that needs the backbone only, once for each of different backbones; all but the first say whose."""
    found: list[Entrant] = []
    for name, pool in pools.items():
        if not any(same_backbone(entrant.pool, pool) for entrant in found):
            whose = f" ({name})" if found else ""
            backbone = open_model(pool.backbone, device)
            found.append(Entrant(f"{variant.text}{whose}", backbone, tuner, head, variant.strengths))
    return found


def common_format(entrants: Sequence[Entrant], margin: float | None) -> tuple[ImageFormat, float]:
    """The format of the images that all take, and the margin that they are cut with.

    Args:
        entrants: what is evaluated.
        margin: margin that was asked for; None for that of the checkpoints.

    Raises:
        ConfigError: if the formats differ, or the margins do and none was asked for.
    """
    formats = {entrant.name: entrant.pool.backbone.spec.image_format for entrant in entrants}
    if len(set(formats.values())) > 1:
        each = ", ".join(f"{name} takes {_text(found)}" for name, found in formats.items())
        raise ConfigError(
            f"checkpoints are compared on the same images, and {each}: give checkpoints whose images are alike, or "
            "evaluate each by itself"
        )
    margins = {entrant.name: entrant.pool.backbone.spec.margin for entrant in entrants}
    if margin is None and len(set(margins.values())) > 1:
        each = ", ".join(f"{found:g} ({name})" for name, found in margins.items())
        raise ConfigError(f"checkpoints were trained with different margins, {each}: choose one with --margin")
    return next(iter(formats.values())), next(iter(margins.values())) if margin is None else margin


def _text(image_format: ImageFormat) -> str:
    numbers = (" ".join(f"{x:g}" for x in values) for values in (image_format.mean, image_format.std))
    mean, std = numbers
    return f"{image_format.size} px (mean {mean}, std {std})"
