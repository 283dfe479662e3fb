"""The systems that can be trained or compared, each a few settings over a base configuration."""

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from smat.errors import ConfigError
from smat.metatuning.run_config import TrainConfig, load_config

_SMAT = "Chen et al. 2024"


@dataclass(frozen=True)
class Method:
    """A system to compare.

    Attributes:
        summary: description in a line.
        paper: authors and year of the proposal.
        trained: whether it is meta-tuned, by `smat train --method NAME`; the others only use the frozen backbone.
        over: method whose settings its own lie over; `""` for those of the base configuration alone.
    """

    summary: str
    paper: str
    trained: bool = True
    over: str = ""


METHODS = {
    "pretrained": Method("the frozen backbone, nearest prototype", "Snell et al. 2017", trained=False),
    "logistic": Method("logistic regression on the frozen backbone's features", "Tian et al. 2020", trained=False),
    "knn": Method("five nearest neighbours among the frozen backbone's features", "Cover & Hart 1967", trained=False),
    "pmf": Method("one dense update of the whole backbone, by SGD on the query loss", "Hu et al. 2022"),
    "softmerge": Method("experts with dense updates of their own, merged by the router", "Muqeeth et al. 2023"),
    "smat": Method("sparse experts that share one update, merged by the router", _SMAT),
    "smat-no-teacher": Method("SMAT without the dense teacher; the pull to the pre-trained network stays", _SMAT),
    "smat-teacher-only": Method("SMAT without the pull to the pre-trained network; the teacher stays", "smat"),
    "smat-no-distillation": Method("SMAT without the dense teacher and the pull to the pre-trained network", "smat"),
    "smat-one-expert": Method("SMAT with one expert, so without routing", _SMAT),
    "smat-no-episodes": Method("SMAT without a support/query split: a task's images are both", _SMAT),
    "dense-teacher": Method("one dense update of the whole network, with SMAT's dense teacher", _SMAT),
    "pmf-no-episodes": Method("PMF without a support/query split: a task's images are both", _SMAT, over="pmf"),
    "smat-null": Method("SMAT with a null expert, whose router also learns on domains left out in turn", "smat"),
    "smat-dense": Method("SMAT with gates that no constraint closes", "smat"),
    "mask-random": Method("SMAT with a random tenth of the gates open, others for each expert", _SMAT),
    "mask-random-own": Method("experts with updates of their own behind one random mask of a tenth", _SMAT),
    "mask-magnitude": Method("experts with updates of their own at the tenth of largest pre-trained weights", _SMAT),
    "mask-smallest": Method("experts with updates of their own at the tenth of smallest pre-trained weights", _SMAT),
    "mask-gradient": Method(
        "experts with updates of their own at each neuron's largest gradients", "Zhang et al. 2024"
    ),
    "mask-fisher": Method("experts with updates of their own at the largest squared gradients", "Sung et al. 2021"),
    "mask-norm": Method("experts with updates of their own in normalisation layers", _SMAT),
    "mask-bias": Method("experts with updates of their own at biases", "Ben Zaken et al. 2022"),
    "mask-attention": Method("experts with updates of their own in attention layers", _SMAT),
    "mask-qkv": Method("experts with updates of their own at query, key and value", _SMAT),
    "mask-mlp": Method("experts with updates of their own in the blocks' MLPs", _SMAT),
    "mask-last": Method("experts with updates of their own in the last two blocks", _SMAT),
}


def is_file(method: str) -> bool:
    """Whether a method is a YAML file of one's own, rather than one by name."""
    return Path(method).suffix in (".yaml", ".yml")


def method_name(method: str) -> str:
    """The name of a method: of a YAML file of one's own, the name of the file without its ending.

    Raises:
        ConfigError: if a file has the name of a method that there is.
    """
    if not is_file(method):
        return method
    name = Path(method).stem
    if name in METHODS:
        raise ConfigError(f"'{method}' has the name of the method {name}, which is another one: rename the file")
    return name


def method_files(method: str, *bases: str | Path) -> list[Path]:
    """The YAML files of a trained method's settings over base configurations.

    First what makes the method; then what it needs with a base, such as a learning rate for another backbone: for each
    `BASE.yaml` the file `BASE/NAME.yaml`, where there is one. Both come after those of the method that it lies over.

    Args:
        method: name of a trained method, or a YAML file of one's own.
        bases: YAML files of base configurations.

    Raises:
        ConfigError: if the method is unknown or not trained, or there is no such file.
    """
    own = [Path(method)]
    if not is_file(method):
        _check_trained(method)
        shipped = Path(str(files("smat") / "configs" / "methods"))
        own = [shipped / f"{name}.yaml" for name in (METHODS[method].over, method) if name]
    elif not own[0].is_file():
        raise ConfigError(f"there is no file '{method}': give the YAML file of a method's settings, or a method's name")
    over = [Path(base).with_suffix("") / file.name for base in bases for file in own]
    return [*own, *(path for path in over if path.is_file())]


def _check_trained(name: str) -> None:
    trained = [other for other, method in METHODS.items() if method.trained]
    if name not in trained:
        known = f"choose one of {', '.join(trained)}, or give a YAML file of your own"
        raise ConfigError(
            f"method {name!r} is not trained: {known}" if name in METHODS else f"method {name!r} is unknown: {known}"
        )


def method_config(method: str, base: str | Path, *overrides: str) -> TrainConfig:
    """A base configuration turned into that of a method.

    Args:
        method: name of a trained method, or a YAML file of one's own, after which the pool's method is named.
        base: YAML file of the base configuration.
        overrides: settings as on the command line (`--tuning.tasks=100`).

    Raises:
        ConfigError: if the method is unknown, a file has the name of one that there is, or settings do not fit.
    """
    named = [f"--pool.method={method_name(method)}"] if is_file(method) else []
    return load_config([base, *method_files(method, base)], *named, *overrides)
