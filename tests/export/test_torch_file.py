"""Programs of PyTorch: whatever their tensors looked like in memory, they are saved whole."""

import io
from pathlib import Path

import torch

from smat.adaptation import FewShotClassifier
from smat.export import compare, deployed_from, pictures, program_answers, program_bytes
from smat.heads import LinearClassifier
from tiny_checkpoint import save_checkpoint
from tiny_images import labelled


def test_tensors_that_are_turned_or_parts_of_others_are_saved(tmp_path: Path) -> None:
    classifier = FewShotClassifier(save_checkpoint(tmp_path), device="cpu", precision="32-true", head="ridge")
    deployed, about = deployed_from(classifier.fit(*labelled(2)))
    head = deployed.members[0].classifier
    assert isinstance(head, LinearClassifier)
    whole = torch.cat([head.weight.T, head.weight.T])
    head.weight = whole[: len(whole) // 2].T
    content = program_bytes(deployed, about)
    saved = torch.export.load(io.BytesIO(content)).state_dict
    assert all(tensor.is_contiguous() for tensor in saved.values())
    given = pictures(classifier, labelled(2, start=100)[0], deployed.side)
    found = compare(deployed, program_answers(content), given)
    assert found.alike == 6
    assert found.probability < 1e-6
