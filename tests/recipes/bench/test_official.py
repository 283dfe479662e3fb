"""The authors' code beside ours, with a stand-in for their repository: its layout, names and ways, and little else."""

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from smat.cli.parser import build_parser
from smat.errors import ConfigError
from smat.recipes.bench import run
from smat.recipes.bench.official import OfficialExperts
from smat.recipes.bench.run import bench
from smat.recipes.bench.workload import OFFICIAL, Problem, Workload

SMALL: dict[str, Any] = {"backbone": "vit-tiny", "image_size": 16, "experts": 2, "way": 2, "support": 2, "query": 4}
UTILS = """
import logging

def get_logger(name):
    logger = logging.getLogger(name)
    logger.addHandler(logging.StreamHandler())
    return logger
"""
VIT = """
import torch.nn as nn
from src.utils import get_logger

class VisionTransformer(nn.Module):
    def __init__(self, args):
        super().__init__()
        self.encoder = self._get_backbone(args)
        self.head = nn.Linear(self.encoder.config.hidden_size, 1, bias=args.base_learner.bias)

    def forward(self, images):
        return self.encoder(images, interpolate_pos_encoding=True).last_hidden_state[:, 0]
"""
LEARNER = """
import torch
import torch.nn as nn
from src.utils import get_logger

logger = get_logger(__name__)

class SparseInterpolatedExperts(nn.Module):
    def __init__(self, net, args):
        from src.learners.base_learners.vit import VisionTransformer
        super().__init__()
        self._devices = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
        self.output_device = self._devices[-1]
        self.net = net
        self.experts = nn.Parameter(torch.ones(args.meta_learner.sparsity.num_experts))
        self.lagrangian_multiplier = torch.ones(1, device=self.output_device).requires_grad_(True)
        logger.warning("made")

    def forward(self, x_s, y_s, x_q, y_q, **kwargs):
        support, query = self.net(x_s), self.net(x_q)
        prototypes = torch.stack([support[y_s == c].mean(0) for c in range(int(y_s.max()) + 1)])
        logits = self.experts.mean() * query @ prototypes.T
        if y_q is None:
            return {"y_q_pred": [logits.detach()]}
        loss = nn.functional.cross_entropy(logits, y_q)
        return {"outer_loss": {"query_ce": loss, "lagrangian": self.lagrangian_multiplier.sum()}}
"""


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A stand-in for a clone of their repository."""
    files = {
        "configs/md_smat_vits_dino.yaml": "meta_learner: {sparsity: {num_experts: 8}}\nbase_learner: {bias: false}\n",
        "src/__init__.py": "raise RuntimeError('needs libraries that nobody has')",
        "src/learners/__init__.py": "import no_such_library",
        "src/utils.py": UTILS,
        "src/learners/base_learners/vit.py": VIT,
        "src/learners/meta_learners/sparse_interpolated_experts.py": LEARNER,
    }
    for name, text in files.items():
        (tmp_path / "clone" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "clone" / name).write_text(text)
    return tmp_path / "clone"


def made(clone: Path) -> OfficialExperts:
    return Workload(Problem(**SMALL, threads=1, official=str(clone))).official


def test_a_task_and_an_episode_around_the_same_frozen_network(
    clone: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = ModuleType("src")
    monkeypatch.setitem(sys.modules, "src", mine)
    before = {str(file) for file in clone.rglob("*")}
    theirs = made(clone)
    assert {name for name in sys.modules if name.split(".")[0] == "src"} == {"src"}
    assert sys.modules["src"] is mine
    assert {str(file) for file in clone.rglob("*")} == before, "nothing is written into the clone"
    assert len(theirs.learner.experts) == SMALL["experts"]
    loss, parameters = theirs.task(), [*theirs.learner.parameters(), theirs.learner.lagrangian_multiplier]
    assert loss.isfinite()
    assert theirs.learner.experts.grad is not None
    assert theirs.learner.lagrangian_multiplier.grad is not None
    theirs.clear()
    assert all(parameter.grad is None for parameter in parameters)
    episode, pool = theirs.episode, Workload(Problem(**SMALL, threads=1)).pool
    logits = theirs.evaluate()
    assert logits.shape == (SMALL["query"], SMALL["way"])
    with torch.no_grad():
        support, query = (pool.network(pool.pretrained)(images) for images in (episode.support, episode.query))
    prototypes = torch.stack([support[episode.support_labels == c].mean(0) for c in range(2)])
    torch.testing.assert_close(logits, query @ prototypes.T)
    assert "made" not in capsys.readouterr().err


def test_what_takes_part_in_the_benchmark(
    clone: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run, "_peak_memory", lambda *_: 0.5)
    settings: dict[str, Any] = {"precision": ["32-true"], "repeats": 1, "threads": 1, "device": "cpu"}
    report = bench(**SMALL, **settings, what=["evaluate", "merge"], against=("official", str(clone)))
    rows = report["results"]["evaluate"]
    assert list(rows)[:2] == ["eager", OFFICIAL]
    ratio = rows[OFFICIAL]["median_seconds"] / rows["32-true"]["median_seconds"]
    assert rows["32-true"]["times_faster_than_official"] == pytest.approx(ratio)
    assert OFFICIAL not in report["results"]["merge"]
    assert report["problem"]["official"] == str(clone)
    assert "authors'" in capsys.readouterr().out


def test_the_memory_of_their_code_is_without_ours(clone: Path) -> None:
    workload = Workload(Problem(**SMALL, threads=1, official=str(clone)))
    workload.keep_alone(OFFICIAL)
    assert not workload.pool.update.parameter_vectors()
    workload.run("train", OFFICIAL)()
    assert workload.official.learner.experts.grad is None


def test_it_is_given_on_the_command_line() -> None:
    given = build_parser("bench").parse_args(["bench", "--against", "official", "some clone", "--repeats", "2"])[
        "bench"
    ]
    assert given["against"] == ("official", "some clone")
    assert given["repeats"] == 2


def test_what_is_no_clone_or_cannot_be_imported_is_said(clone: Path) -> None:
    with pytest.raises(ConfigError, match=r"has no configs.*give the folder of a clone of the authors' repository"):
        made(clone / "src")
    (clone / "src" / "utils.py").write_text("import no_such_library")
    with pytest.raises(ConfigError, match=r"cannot be imported: No module named 'no_such_library'.*installed"):
        made(clone)
    assert not [name for name in sys.modules if name.split(".")[0] == "src"]
    (clone / "src" / "learners" / "base_learners" / "vit.py").unlink()
    with pytest.raises(ConfigError, match="cannot be imported"):
        bench(**SMALL, against=("official", str(clone)))
