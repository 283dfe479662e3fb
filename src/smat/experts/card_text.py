"""The text of a pool's card: a README for whoever finds the pool in a folder or on the hub."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult

from smat.cards import card, escaped, table
from smat.experts.card import FIGURES, Analysis, Card, Result, Training, Validation
from smat.plugins import packages_named

MARK = "<!-- Made by smat from card.json, and anew when that changes. Remove this line to keep a text of your own. -->"
PAPER = (
    "[Unleashing the Power of Meta-tuning for Few-shot Generalization Through Sparse Interpolated Experts]"
    "(https://proceedings.mlr.press/v235/chen24ak.html)"
)
_TAGS = ("meta-learning", "model_hub_mixin")


def card_text(config: Mapping[str, Any], known: Card) -> str:
    """The README of a pool.

    Args:
        config: what its `config.json` says.
        known: what is known of it besides.
    """
    title = _title(config)
    given = dict(known.metadata)
    tags = given.pop("tags", [])
    head = {
        "base_model": known.base_model,
        "datasets": sorted({domain.hub for domain in known.training.domains if domain.hub}) if known.training else None,
        "metrics": ["accuracy"] if known.results else None,
        "model_name": title if known.results else None,
        "eval_results": [_eval_result(result) for result in known.results],
    }
    sections = [_what_it_is(config, title), _use(config)]
    if known.training:
        sections.append(_tuned_on(known.training, known.tasks))
    if known.validation:
        sections.append(_validation(known.validation))
    if known.results:
        sections.append(_results(known.results))
    if known.analysis:
        sections.append(_analysis(known.analysis))
    sections.append(_limits(config, known))
    tags = [*_TAGS, config["method"], *([tags] if isinstance(tags, str) else tags)]
    return card("\n".join([MARK, "", *sections]), tags=list(dict.fromkeys(tags)), **(head | given))


def _title(config: Mapping[str, Any]) -> str:
    experts = config["pool"].get("experts")
    many = "No experts" if not experts else "1 expert" if experts == 1 else f"{experts} experts"
    return escaped(f"{many} around {_backbone(config)}")


def _backbone(config: Mapping[str, Any]) -> str:
    """The backbone's name; of a folder only its last part, for others are those of one machine."""
    name = str(config["backbone"].get("name"))
    return Path(name).name if name.startswith((".", "/", "~")) or name.count("/") > 1 else name


def _what_it_is(config: Mapping[str, Any], title: str) -> str:
    pool, side = config["pool"], config["image_size"]
    facts = [("backbone", _backbone(config)), ("images", f"{side} x {side} pixels"), *_experts(pool)]
    return f"""# {title}

For few-shot image classification: from a few labelled images of each class to a classifier of these classes. Made with
smat, after {PAPER}.

{table(["", ""], [*facts, ("method", str(config["method"]))])}"""


def _experts(pool: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What the settings say of the experts."""
    if not pool.get("experts"):
        yield "experts", "none: the pre-trained network alone"
        return
    null = " and a null expert, which changes nothing" if pool.get("null_expert") else ""
    yield "experts", f"{pool['experts']}{null}"
    if pool.get("update"):
        yield "their update", str(pool["update"].get("class_path"))
        return
    yield "their update", "one of its own each" if pool.get("separate_deltas") else "one that all share"
    yield "gates", str(pool.get("gating"))
    if packing := pool.get("packed"):
        yield "packed", "for use, with rounded numbers" if packing.get("lossy") else "for use, exactly"


def _use(config: Mapping[str, Any]) -> str:
    allowed = sorted({*packages_named(config["pool"]), *packages_named(config["backbone"])} - {"smat"})
    if config["backbone"].get("kind") == "module":
        make = """from smat import FewShotClassifier, SparseInterpolatedExperts, load_backbone

backbone = load_backbone(module, image_size=IMAGE_SIZE)  # the module that the pool was made around
pool = SparseInterpolatedExperts.from_pretrained("FOLDER", backbone=backbone)
classifier = FewShotClassifier(pool).fit(images, labels)""".replace("IMAGE_SIZE", str(config["image_size"]))
        command = ""
    else:
        imports = f", allow_imports={allowed}" if allowed else ""
        make = f"""from smat import FewShotClassifier

classifier = FewShotClassifier("FOLDER"{imports}).fit(images, labels)"""
        options = "".join(f" --allow-import {package}" for package in allowed)
        command = f"\n```\nsmat predict FOLDER --support labelled --query photos{options}\n```\n"
    folders = ", and `labelled` one with a folder of images for each class" if command else ""
    return f"""## Use

```python
{make}
print(classifier.predict(["photo.jpg"]))
```
{command}
`FOLDER` is the folder of this file, or its name on the hub{folders}.
"""


def _tuned_on(training: Training, tasks: int) -> str:
    rows = [
        (domain.name, domain.role, str(domain.classes), domain.hub or "", domain.fingerprint[:12])
        for domain in training.domains
    ]
    settings = "".join(f"\n{name}: {json.dumps(value)}" for name, value in training.settings.items()).replace("`", "'")
    packages = ", ".join(f"{name} {version}" for name, version in training.versions.items())
    return f"""## What it was tuned on

It has seen {tasks} of the {training.tasks} tasks of its training. They are of these domains:

{table(["domain", "used for", "classes", "on the hub", "fingerprint"], rows)}
Settings that matter, and all others that are not the default, as in a configuration of `smat train`:

```{settings}
```

Backbone: fingerprint {training.backbone}. Versions: {packages}.
"""


def _validation(found: Validation) -> str:
    rows = [(name, _percent(accuracy)) for name, accuracy in found.accuracies.items()]
    return f"""### Accuracy on validation classes

By which the training chooses its best checkpoint, which makes it a little too high. After {found.tasks} tasks, in
{found.episodes} episodes per domain, per cent:

{table(["domain", "accuracy"], [*rows, ("mean", _percent(found.mean))])}"""


def _results(results: Sequence[Result]) -> str:
    roles = {"id": "in distribution", "ood": "out of distribution"}
    rows = [
        (
            result.domain,
            roles.get(result.role, result.role),
            f"{_task(result)}, {result.split} classes",
            _classifier(result),
            str(result.episodes),
            _with_interval(result.accuracy, result.half_width),
            "" if result.difference is None else _with_interval(result.difference, result.difference_half_width, "+"),
        )
        for result in results
    ]
    header = ["domain", "", "tasks", "classified by", "episodes", "accuracy", "difference"]
    versions = ", ".join(sorted({result.smat_version for result in results}))
    return f"""## How good it is

Mean accuracy over episodes in per cent, with 95 % intervals, and its paired difference to the pre-trained backbone
with the same head, and the same fine-tuning, on the same episodes. Measured by `smat evaluate` (smat {versions}).

{table(header, rows)}"""


def _task(result: Result) -> str:
    if result.way is None or result.shot is None:
        return "varying way and shot" if result.sampler == "VariableSampler" else f"episodes by {result.sampler}"
    return f"{result.way}-way {result.shot}-shot"


def _classifier(result: Result) -> str:
    rule = f" ({result.learning_rate})" if result.learning_rate else ""
    tuned = "" if result.adapt == "none" else f", fine-tuned by {result.adapt}{rule}"
    return f"{result.method}, head {result.head}{tuned}"


def _analysis(found: Analysis) -> str:
    findings = "".join(f"- {finding}\n" for finding in found.findings)
    figures = "".join(f"\n![{figure.caption}]({FIGURES}/{figure.file})\n" for figure in found.figures)
    return f"## What the experts learned\n\n{findings}{figures}"


def _limits(config: Mapping[str, Any], known: Card) -> str:
    licence = f" ({known.training.licence})" if known.training and known.training.licence else ""
    limits = [
        "It tells apart the classes of the labelled images that it is given. An image of none of them gets one of "
        "their labels, unless `reject` is set (`--reject`).",
        f"It has the weights of {escaped(_backbone(config))}, whose licence{licence} and limits go with it.",
    ]
    if known.training:
        limits.append("On images unlike those that it was tuned on it can be worse than the frozen backbone.")
    if not known.results:
        limits.append("Its accuracy on test classes is not known here: `smat evaluate FOLDER DOMAIN --card` adds it.")
    return "## Limits\n\n" + "".join(f"- {limit}\n" for limit in limits)


def _eval_result(result: Result) -> EvalResult:
    """A result as the hub takes it; accuracies are shares."""
    half_width = None if result.half_width is None else round(result.half_width, 4)
    measured = {"half_width": half_width, "episodes": result.episodes, "seed": result.seed, "head": result.head}
    return EvalResult(
        task_type="image-classification",
        task_name=f"few-shot image classification, {_task(result)}",
        dataset_type=result.domain,
        dataset_name=result.domain,
        dataset_config=_task(result),
        dataset_split=result.split,
        metric_type="accuracy",
        metric_name=f"accuracy, {_classifier(result)}",
        metric_value=round(result.accuracy, 4),
        metric_args={name: value for name, value in measured.items() if value is not None},
    )


def _percent(share: float, sign: str = "") -> str:
    return f"{100 * share:{sign}.1f}"


def _with_interval(mean: float, half_width: float | None, sign: str = "") -> str:
    return _percent(mean, sign) + ("" if half_width is None else f" ± {_percent(half_width)}")
