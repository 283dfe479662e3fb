"""Networks of timm, an optional dependency."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from smat.backbones.spec import BackboneSpec
from smat.errors import BackboneError
from smat.rng import seeded_torch
from smat.weights import check_finite

_SOURCES = {"hf-hub": "load_model_config_from_hf", "local-dir": "load_model_config_from_path"}
"""Prefixes of timm's names, and the functions of `timm.models._hub` that read what is there."""

_READS = frozenset({"checkpoint_path", "pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "cache_dir"})
"""Arguments of `timm.create_model` that have it read files."""


def load_timm(name: str, image_size: int | None) -> tuple[BackboneSpec, nn.Module]:
    """A pre-trained timm network without its classifier; its output is the pooled feature.

    timm itself resizes position embeddings (bicubic, antialiased), takes safetensors files where there are
    any, and reads others as plain tensors (`weights_only=True`), so that nothing downloaded is executed.

    Args:
        name: what was asked for: `"timm:NAME"`, `"timm:hf-hub:OWNER/NAME"` or `"timm:local-dir:FOLDER"`.
        image_size: in pixels; None for the size that the network was trained with.

    Raises:
        BackboneError: timm is not installed, does not know the name, or cannot fetch the weights, or some are missing.
    """
    timm, asked = _timm(), name.removeprefix("timm:")
    architecture, trained, own = _described(timm, name, asked)
    size = image_size or int(trained["input_size"][-1])
    arguments: dict[str, Any] = {"num_classes": 0}
    if trained.get("fixed_input_size"):
        arguments["img_size"] = size
    with _missing_weights() as missing:
        network = _create(timm, name, model_name=asked, pretrained=True, **arguments)
    if missing:
        raise BackboneError(
            f"the weights of backbone {name!r} do not fit its config: {missing[0]}. Either a file is damaged or "
            "belongs to another network; fetch it again"
        )
    check_finite(network.state_dict().items(), f"backbone {name!r}", BackboneError, "Remove its file and try again")
    config = own | arguments | {"model_name": architecture}
    spec = BackboneSpec("timm", name, config, size, tuple(trained["mean"]), tuple(trained["std"]), "output")
    return spec, network


def _described(timm: Any, name: str, asked: str) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """The architecture, what it was trained with, and its arguments where they are not the usual ones."""
    source, _, place = asked.partition(":")
    own: dict[str, Any] = {}
    architecture, trained = asked, {}
    if source in _SOURCES:
        try:
            trained, architecture, own = getattr(timm.models._hub, _SOURCES[source])(place)
        except Exception as error:  # whatever timm, the hub or the file system has to say
            raise BackboneError(
                f"backbone {name!r} cannot be read by timm: {type(error).__name__}: {error}. It is named timm:NAME, "
                "timm:hf-hub:OWNER/NAME, or timm:local-dir:FOLDER, where the folder has timm's config.json and weights"
            ) from error
    try:
        usual = timm.get_pretrained_cfg(architecture) if timm.is_model(architecture) else None
    except RuntimeError:  # the architecture is known, but not these weights of it
        usual = None
    if usual is None:
        raise BackboneError(f"timm has no pre-trained network {architecture!r}: timm.list_pretrained() lists them")
    return architecture, {**usual.to_dict(), **trained}, dict(own or {})


@contextmanager
def _missing_weights() -> Iterator[list[str]]:
    """What timm says, where it is not asked for its classifier, of weights that it did not find and left random."""
    found: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.getMessage().startswith("Missing keys"):
                found.append(record.getMessage().partition(")")[0] + ")")

    logger, listener = logging.getLogger("timm.models._builder"), Listener(logging.INFO)
    level = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(listener)
    try:
        yield found
    finally:
        logger.removeHandler(listener)
        logger.setLevel(level)


def build_timm(spec: BackboneSpec) -> nn.Module:
    """The untrained timm network of a description; its random weights are the same each time.

    A description may come from anywhere: it says what a network is like, and names no files to read or places to ask.
    """
    asks = sorted(_READS & spec.config.keys())
    if asks or ":" in str(spec.config.get("model_name")):
        what = asks[0] if asks else f"the model name {spec.config['model_name']!r}"
        raise BackboneError(
            f"backbone {spec.name!r} is described by {what}, which would have timm read or fetch files; take the pool "
            "from where it was made"
        )
    with seeded_torch(0, "backbone"):
        return _create(_timm(), spec.name, pretrained=False, **spec.config)


def _create(timm: Any, name: str, **arguments: Any) -> nn.Module:
    try:
        return timm.create_model(**arguments)
    except Exception as error:  # whatever timm, the hub or the file system has to say
        raise BackboneError(
            f"backbone {name!r} cannot be made by timm: {error}. Check the name, the image size (a multiple "
            "of the patch) and, for weights that are not in the local cache, the network connection"
        ) from error


def _timm() -> Any:
    try:
        import timm  # pyright: ignore[reportMissingImports]  (an extra)
    except (ImportError, RuntimeError) as error:  # RuntimeError: a torchvision made for another PyTorch
        raise BackboneError(
            f"timm cannot be imported ({error}): install it from a clone of smat with `pip install '.[timm]'`, "
            "together with the torchvision that belongs to your PyTorch"
        ) from error
    return timm
