"""Networks of timm, an optional dependency."""

from typing import Any

from torch import nn

from smat.backbones.spec import BackboneSpec
from smat.errors import BackboneError
from smat.rng import seeded_torch
from smat.weights import check_finite


def load_timm(name: str, image_size: int | None) -> tuple[BackboneSpec, nn.Module]:
    """A pre-trained timm network without its classifier; its output is the pooled feature.

    timm itself resizes position embeddings (bicubic, antialiased), takes safetensors files where there are
    any, and reads others as plain tensors (`weights_only=True`), so that nothing downloaded is executed.

    Args:
        name: what was asked for, `"timm:NAME"`.
        image_size: in pixels; None for the size that the network was trained with.

    Raises:
        BackboneError: timm is not installed, does not know the name, or cannot fetch the weights.
    """
    timm = _timm()
    architecture = name.removeprefix("timm:")
    try:
        found = timm.get_pretrained_cfg(architecture) if timm.is_model(architecture) else None
    except RuntimeError:  # the architecture is known, but not these weights of it
        found = None
    if found is None:
        raise BackboneError(f"timm has no pre-trained network {architecture!r}: timm.list_pretrained() lists them")
    trained = found.to_dict()
    size = image_size or int(trained["input_size"][-1])
    arguments: dict[str, Any] = {"model_name": architecture, "num_classes": 0}
    if trained.get("fixed_input_size"):
        arguments["img_size"] = size
    network = _create(timm, name, pretrained=True, **arguments)
    check_finite(network.state_dict().items(), f"backbone {name!r}", BackboneError, "Remove its file and try again")
    spec = BackboneSpec("timm", name, arguments, size, tuple(trained["mean"]), tuple(trained["std"]), "output")
    return spec, network


def build_timm(spec: BackboneSpec) -> nn.Module:
    """The untrained timm network of a description; its random weights are the same each time."""
    with seeded_torch(0, "backbone"):
        return _create(_timm(), spec.name, pretrained=False, **spec.config)


def _create(timm: Any, name: str, **arguments: Any) -> nn.Module:
    try:
        return timm.create_model(**arguments)
    except (RuntimeError, ValueError, TypeError, AssertionError, OSError) as error:
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
