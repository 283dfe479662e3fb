"""Every kind of network, head and classifier as an ONNX file: two here, all where tests may take minutes."""

from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from smat.adaptation import FewShotClassifier
from smat.backbones import load
from smat.export import compare, deployed_from, onnx_answers, onnx_bytes, pictures, program_answers, program_bytes
from smat.heads import HeadName
from tiny_checkpoint import save_checkpoint
from tiny_checkpoints import FAMILIES, OTHERS, save
from tiny_images import labelled

NOT_LOADED = {"vit_mae", "videomae", "hgnet_v2"}  # as tests of backbones say
QUICK = {"dinov2_registers", "mobilenet_v2"}


def assert_alike(classifier: FewShotClassifier, images: list[np.ndarray]) -> None:
    deployed, about = deployed_from(classifier)
    given = pictures(classifier, images, deployed.side)
    for answers in (onnx_answers(onnx_bytes(deployed, about)), program_answers(program_bytes(deployed, about))):
        found = compare(deployed, answers, given)
        assert found.decided_alike == found.decided
        assert found.probability < 1e-5
        assert found.known < 0.01  # the logarithm of a distance that is nearly 0, as these are labelled images


@pytest.mark.parametrize(
    "family",
    [
        pytest.param(name, marks=() if name in QUICK else pytest.mark.slow)
        for name in [*FAMILIES, *OTHERS]
        if name not in NOT_LOADED
    ],
)
def test_every_family(family: str, tmp_path: Path) -> None:
    save(family, tmp_path)
    backbone = load(str(tmp_path), image_size=64 if family == "levit" else 32)
    classifier = FewShotClassifier(backbone, device="cpu", precision="32-true", head="ridge:2")
    assert_alike(classifier.fit(*labelled(2)), labelled(3, start=100)[0])


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        *({"head": head} for head in get_args(HeadName)),
        {"head": "auto:4", "strengths": (0.0, 1.0)},
        {"head": "knn", "strengths": (0.0, 1.0)},
        {"adapt": "full", "learning_rate": "average", "steps": 1},
    ],
    ids=str,
)
def test_every_head_and_several_networks(settings: dict[str, Any], tmp_path: Path) -> None:
    checkpoint = save_checkpoint(tmp_path)
    classifier = FewShotClassifier(checkpoint, device="cpu", precision="32-true", **settings)
    assert_alike(classifier.fit(*labelled(3)), labelled(3, start=100)[0])
