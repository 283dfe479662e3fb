"""Whether an exported classifier says what PyTorch says."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from smat.export.deployed import Deployed
from smat.export.extra import needed

Answers = tuple[Float[np.ndarray, "n way"], Float[np.ndarray, " n"]]
"""Probabilities and the score `known`."""
Runner = Callable[[np.ndarray], Answers]

CLOSE = 1e-3
"""Where the two best logits differ by less than this, another runtime may choose the other."""
_BATCH = 16


@dataclass(frozen=True)
class Agreement:
    """An exported classifier beside the one in PyTorch.

    Attributes:
        images: number of images that both answered.
        alike: number that they gave the same label.
        decided: number of images whose two best logits differ by more than `CLOSE` in PyTorch.
        decided_alike: number of these that they gave the same label.
        probability: largest difference between two probabilities.
        known: largest difference between two scores.
        milliseconds: time that the exported one took per image.
    """

    images: int
    alike: int
    decided: int
    decided_alike: int
    probability: float
    known: float
    milliseconds: float


def onnx_answers(content: bytes) -> Runner:
    """What onnxruntime answers, on the CPU, by the content of an ONNX file."""
    runtime = needed("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    session = runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])

    def answers(pictures: np.ndarray) -> Answers:
        probabilities, known = session.run(["probabilities", "known"], {"pictures": pictures})
        return probabilities, known

    return answers


@torch.inference_mode()
def compare(deployed: Deployed, other: Runner, pictures: UInt8[Tensor, "n side side 3"]) -> Agreement:
    """Both on the same pictures.

    Args:
        deployed: in PyTorch.
        other: what was exported from it.
        pictures: at least one.
    """
    own: list[tuple[Tensor, Tensor]] = []
    found: list[Answers] = []
    seconds = 0.0
    for batch in pictures.split(_BATCH):
        own.append(deployed(batch))
        start = time.perf_counter()
        found.append(other(batch.numpy()))
        seconds += time.perf_counter() - start
    probabilities, known = (torch.cat(part).double() for part in zip(*own, strict=True))
    others, others_known = (torch.from_numpy(np.concatenate(part)).double() for part in zip(*found, strict=True))
    best = (probabilities.log() * deployed.temperature).topk(2, dim=1).values
    decided = best[:, 0] - best[:, 1] > CLOSE
    alike = probabilities.argmax(1) == others.argmax(1)
    return Agreement(
        images=len(pictures),
        alike=int(alike.sum()),
        decided=int(decided.sum()),
        decided_alike=int((alike & decided).sum()),
        probability=float((probabilities - others).abs().max()),
        known=float((known - others_known).abs().max()),
        milliseconds=1000 * seconds / len(pictures),
    )
