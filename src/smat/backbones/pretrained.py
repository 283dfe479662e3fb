"""The weights of a checkpoint of transformers: read into its network, and compared with what the network needs."""

import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
import transformers
from transformers import PretrainedConfig, PreTrainedModel
from transformers.utils import logging

from smat.backbones.attention import with_attention
from smat.backbones.checkpoint import Checkpoint
from smat.errors import BackboneError, one_line
from smat.weights import Header, bounded, check_finite


def read_weights(
    checkpoint: Checkpoint,
    network_class: Any,
    config: PretrainedConfig,
    arguments: Mapping[str, Any],
) -> tuple[PreTrainedModel, dict[str, Any], Header]:
    """The network, what transformers says of how its weights fit, and the header of their file."""
    too_large = BackboneError("config.json makes a network of more parameters than there are weights")
    try:
        header = checkpoint.header() or {}
        with quiet(), bounded(header, too_large) if header else nullcontext():
            network, report = network_class.from_pretrained(
                checkpoint.source,
                config=config,
                use_safetensors=True,  # the other format is pickle, which can run code
                dtype=torch.float32,
                output_loading_info=True,
                **arguments,
            )
    except Exception as error:  # whatever transformers does with values and weights that make no network
        raise BackboneError(
            f"the weights of backbone {checkpoint.name!r} cannot be loaded: {one_line(error)}. They must be whole "
            "safetensors files (model.safetensors) that fit config.json; weights in another format "
            "(pytorch_model.bin) are not read: open them with transformers where you trust them, and "
            "save_pretrained writes safetensors"
        ) from error
    return with_attention(network).eval(), report, header


def check_numbers(checkpoint: Checkpoint, network: PreTrainedModel, header: Header) -> None:
    """transformers casts weights of any type in silence, and takes NaN for a number."""
    prefix, known = f"{network.base_model_prefix}.", dict(network.named_parameters())
    whole = [n for n, stored in header.items() if not stored.floating and n.removeprefix(prefix) in known]
    if whole:
        raise BackboneError(
            f"the weights of backbone {checkpoint.name!r} are of type {header[whole[0]].dtype} in {whole[0]}: give a "
            "checkpoint with floating-point weights"
        )
    where, advice = f"backbone {checkpoint.name!r}", "Copy or download it again"
    check_finite([*known.items(), *network.named_buffers()], where, BackboneError, advice)


def check_fit(
    checkpoint: Checkpoint, network: PreTrainedModel, report: dict[str, Any], missing: Collection[str]
) -> None:
    """transformers fills missing weights with random numbers and drops surplus layers: here both are errors.

    Surplus weights of other parts (a classifier, the text half) are fine: they have names that the network
    has not, even when the numbers of layers are disregarded.
    """
    own = {_without_numbers(name) for name, _ in network.named_parameters()}
    prefix = f"{network.base_model_prefix}."
    surplus = [n for n in report["unexpected_keys"] if _without_numbers(n.removeprefix(prefix)) in own]
    problems = [
        f"{len(names)} {what}, such as {sorted(map(str, names))[0]}"
        for what, names in (
            ("missing", missing),
            ("in surplus", surplus),
            ("of another shape", list(report["mismatched_keys"])),
        )
        if names
    ]
    if problems:
        raise BackboneError(
            f"the weights of backbone {checkpoint.name!r} do not fit its config.json: {'; '.join(problems)}. "
            "Either a file is damaged or belongs to another network, or the weights have names that "
            f"transformers {transformers.__version__} does not know: use the major version that saved them "
            f"({getattr(network.config, 'transformers_version', None) or 'not recorded'})"
        )


def _without_numbers(name: str) -> str:
    return re.sub(r"\d+", "#", name)


@contextmanager
def quiet() -> Iterator[None]:
    """No progress bar and no table of missing weights: `check_fit` says in an error what matters."""
    verbosity, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bar:
            logging.enable_progress_bar()
