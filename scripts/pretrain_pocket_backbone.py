"""Pre-train the pocket backbone, a small vision transformer, on images made by formulas.

The network learns to tell classes of made-up images apart (Kataoka et al. 2020, *Pre-training without natural images*)
with a cosine classifier, the same geometry that nearest prototypes use later. Four families of formulas:

- fractals: iterated function systems, of the kind of the pocket domain of that name, but other systems;
- contours: nested closed curves (after Kataoka et al. 2022, *Replacing labeled real-image datasets with auto-generated
  contours*);
- islands: level sets and level lines of a few plane waves;
- noise: octaves of smooth noise.

The other ten pocket domains have no family of their own here, and the backbone never sees any pocket domain's images.
Colours, grounds and noise are put on by the same code as in the pocket domains.

    python scripts/pretrain_pocket_backbone.py --output src/smat/backbones/pocket

MEASURED
"""

import argparse
import json
import math
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import ViTConfig, ViTModel

from smat.episodes.pocket.drawing import Mask, Pixels, Rng, Sheet, finish, paint, palette, pose
from smat.episodes.pocket.fractals import define_fractals, draw_fractal
from smat.rng import numpy_generator

SIZE = 32
MEAN, STD = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
ANGLES = np.linspace(0, 2 * np.pi, 97)
GRID = np.stack(np.meshgrid(np.linspace(-1, 1, SIZE), np.linspace(-1, 1, SIZE)), axis=-1).reshape(-1, 2)


@dataclass(frozen=True)
class Contour:
    """Radius 1 + sum of waves[k] around the centre, drawn `rings` times smaller and smaller, each one turned."""

    waves: np.ndarray
    rings: int
    gap: float
    turn: float
    filled: bool


def define_contours(rng: Rng, count: int) -> list[Contour]:
    found = []
    for _ in range(count):
        orders = rng.choice(np.arange(1, 12), int(rng.integers(1, 4)), replace=False)
        waves = np.stack([orders, rng.uniform(0.08, 0.45, len(orders)), rng.uniform(0, 2 * np.pi, len(orders))], 1)
        filled = bool(rng.random() < 0.4)
        rings = int(rng.integers(1, 4))
        found.append(Contour(waves, rings, rng.uniform(0.45, 0.75), rng.uniform(-0.6, 0.6), filled))
    return found


def draw_contour(contour: Contour, rng: Rng, size: int) -> Pixels:
    radius = np.ones_like(ANGLES)
    for order, height, phase in contour.waves:
        radius += height * rng.uniform(0.75, 1.25) * np.cos(order * ANGLES + phase + rng.normal(0, 0.15))
    radius /= np.abs(radius).max()
    rings = []
    for k in range(contour.rings):
        angles = ANGLES + contour.turn * k
        rings.append(contour.gap**k * radius[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1))
    seen = pose(np.concatenate(rings), rng, turn=0.5, scale=(0.6, 1.0))
    sheet = Sheet(size)
    width = rng.uniform(0.05, 0.16)
    for k, ring in enumerate(np.split(seen, contour.rings)):
        if contour.filled:
            sheet.polygon(ring, tone=255 if k % 2 == 0 else 0)
        else:
            sheet.line(ring, width)
    return paint(sheet.mask(), rng)


@dataclass(frozen=True)
class Island:
    """A sum of plane waves in a round window: where it is above a level, or near it (`line`)."""

    waves: np.ndarray
    amplitudes: np.ndarray
    phases: np.ndarray
    level: float
    line: bool


def define_islands(rng: Rng, count: int) -> list[Island]:
    found = []
    for _ in range(count):
        n = int(rng.integers(4, 10))
        waves = rng.normal(0, rng.uniform(2, 5), (2, n))
        amplitudes = rng.uniform(0.3, 1, n) / math.sqrt(n)
        found.append(
            Island(waves, amplitudes, rng.uniform(0, 2 * np.pi, n), rng.uniform(-0.2, 0.3), bool(rng.random() < 0.5))
        )
    return found


def draw_island(island: Island, rng: Rng, size: int) -> Pixels:
    places = pose(GRID, rng, turn=0.4, scale=(0.9, 1.5), shift=0.25)
    phases = island.phases + rng.normal(0, 0.3, len(island.phases))
    field = np.cos(places @ island.waves + phases) @ island.amplitudes
    window = np.hypot(*places.T)
    height = field - 2 * np.maximum(window - 0.8, 0) - island.level
    if island.line:
        shade = np.exp(-((height / rng.uniform(0.1, 0.25)) ** 2)) * (window < 1.1)
    else:
        shade = 1 / (1 + np.exp(-12 * height))
    return paint(shade.reshape(size, size).astype(np.float32), rng)


@dataclass(frozen=True)
class Octaves:
    """Layers of smooth noise: cells along x and y, and weights; then what becomes of their sum."""

    cells: np.ndarray
    weights: np.ndarray
    fold: int


def define_octaves(rng: Rng, count: int) -> list[Octaves]:
    found = []
    for index in range(count):
        n = int(rng.integers(1, 4))
        cells = np.exp(rng.uniform(math.log(2), math.log(24), (n, 2))).astype(int)
        found.append(Octaves(cells, rng.uniform(0.4, 1, n), index % 3))
    return found


def draw_octaves(octaves: Octaves, rng: Rng, size: int) -> Pixels:
    field = np.zeros((size, size))
    zoom = rng.uniform(0.85, 1.2)
    for cells, weight in zip(octaves.cells, octaves.weights, strict=True):
        field += weight * stretched_noise(rng, size, np.maximum(np.round(cells * zoom), 2).astype(int))
    field = (field - field.mean()) / (field.std() + 1e-6)
    shade = (
        np.clip(0.5 + 0.25 * field, 0, 1),
        1 / (1 + np.exp(-8 * field)),
        np.exp(-3 * field**2),
    )[octaves.fold]
    low, high = palette(rng, 2, contrast=0.3)
    return finish(low + (high - low) * shade[..., None], rng)


def stretched_noise(rng: Rng, size: int, cells: np.ndarray) -> Mask:
    """Smooth noise with different numbers of cells along x and y."""
    coarse = torch.from_numpy(rng.standard_normal((1, 1, cells[1], cells[0]), dtype=np.float32))
    return F.interpolate(coarse, (size, size), mode="bicubic", align_corners=False)[0, 0].numpy()


FAMILIES: dict[str, tuple[float, Callable[[Rng, int], list[Any]], Callable[[Any, Rng, int], Pixels]]] = {
    # share of the classes, define, draw
    "fractals": (0.3, define_fractals, draw_fractal),
    "contours": (0.25, define_contours, draw_contour),
    "islands": (0.3, define_islands, draw_island),
    "noise": (0.15, define_octaves, draw_octaves),
}


def draw_class(job: tuple[str, int, Any, int, int]) -> np.ndarray:
    """All images of one class, uint8 [images, size, size, 3]."""
    torch.set_num_threads(1)
    name, index, parameters, images, seed = job
    draw = FAMILIES[name][2]
    rngs = (numpy_generator(seed, f"pretraining/{name}/images", index, i) for i in range(images))
    return np.stack([draw(parameters, rng, SIZE) for rng in rngs])


def make_images(classes: int, images: int, seed: int, workers: int) -> Tensor:
    """The training images, uint8 [classes, images, 3, size, size]."""
    jobs = []
    for name, (share, define, _) in FAMILIES.items():
        parameters = define(numpy_generator(seed, f"pretraining/{name}/classes"), round(share * classes))
        jobs += [(name, index, p, images, seed) for index, p in enumerate(parameters)]
    data = torch.empty(len(jobs), images, 3, SIZE, SIZE, dtype=torch.uint8)
    with ProcessPoolExecutor(workers) as pool:
        for place, drawn in enumerate(pool.map(draw_class, jobs, chunksize=4)):
            data[place] = torch.from_numpy(drawn).permute(0, 3, 1, 2)
    return data


def augment(images: Tensor) -> Tensor:
    """Bytes to normalised images: a random affine window, colour channels in random order."""
    n = len(images)
    window = torch.eye(2, 3).repeat(n, 1, 1)
    window[:, :, :2] += torch.randn(n, 2, 2) * 0.08
    window[:, :, 2] = torch.rand(n, 2) * 0.4 - 0.2
    places = F.affine_grid(window, [n, 3, SIZE, SIZE], align_corners=False)
    scaled = images.float() / 127.5 - 1
    moved = F.grid_sample(scaled, places, padding_mode="reflection", align_corners=False)
    order = torch.rand(n, 3).argsort(dim=1)[:, :, None, None].expand_as(moved)
    return moved.gather(1, order)


def network() -> ViTModel:
    config = ViTConfig(
        image_size=SIZE,
        patch_size=PATCH,
        hidden_size=HIDDEN,
        num_hidden_layers=DEPTH,
        num_attention_heads=HEADS,
        intermediate_size=4 * HIDDEN,
        initializer_range=0.05,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    vit = ViTModel(config, add_pooling_layer=False)
    # On CPU the plain formula trains twice as fast as PyTorch's fused attention; saved weights work with either.
    vit.set_attn_implementation("eager")
    start_with_cosines(vit)
    return vit


@torch.no_grad()
def start_with_cosines(vit: ViTModel) -> None:
    """Begin with patches as cosine transforms of their luminance and positions as cosines: much is learned sooner."""
    ticks = (torch.arange(PATCH) + 0.5) * math.pi / PATCH
    waves = torch.cos(torch.arange(PATCH)[:, None] * ticks) * math.sqrt(2 / PATCH)
    waves[0] /= math.sqrt(2)
    basis = torch.einsum("ky,lx->klyx", waves, waves).flatten(0, 1)
    coarse_first = torch.arange(PATCH)[:, None].add(torch.arange(PATCH)).flatten().argsort(stable=True)
    kernel = vit.embeddings.patch_embeddings.projection.weight
    kernel[: PATCH**2] += basis[coarse_first, None] / 3
    side = SIZE // PATCH
    ticks = (torch.arange(side) + 0.5) * math.pi / side
    waves = torch.cos(torch.arange(side)[:, None] * ticks)
    places = torch.einsum("ky,lx->yxkl", waves, waves).reshape(side**2, side**2)
    vit.embeddings.position_embeddings[0, 1:, -(side**2) :] += places


PATCH, HIDDEN, DEPTH, HEADS = 8, 160, 4, 4


def train(data: Tensor, steps: int, batch: int, rate: float) -> ViTModel:
    """Descend the cosine classifier's cross-entropy; learning rates warm up, then go down a cosine to 0.

    The transformer blocks' matrices are trained by Muon (Jordan et al. 2024), everything else by AdamW.
    """
    classes, images = data.shape[:2]
    vit = network()
    keys = nn.Parameter(torch.randn(classes, HIDDEN))
    # Without centring, cosines of a fresh network's features are all near 1 and nothing is learned for a long time.
    centre = nn.BatchNorm1d(HIDDEN, affine=False)
    matrices = [p for p in vit.layers.parameters() if p.ndim == 2]
    chosen = {id(p) for p in matrices}
    others = [keys, *(p for p in vit.parameters() if id(p) not in chosen)]
    optimizers = (
        torch.optim.Muon(matrices, lr=rate, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=rate, betas=(0.9, 0.98), weight_decay=0.0),
    )
    warm_up = max(1, steps // 40)

    def schedule(step: int) -> float:
        return min((step + 1) / warm_up, 0.5 + 0.5 * math.cos(math.pi * step / steps))

    schedulers = [torch.optim.lr_scheduler.LambdaLR(optimizer, schedule) for optimizer in optimizers]
    flat = data.flatten(0, 1)
    order, start = torch.randperm(len(flat)), 0
    losses, hits, began = [], [], time.perf_counter()
    for step in range(steps):
        if start + batch > len(order):
            order, start = torch.randperm(len(flat)), 0
        rows, start = order[start : start + batch], start + batch
        labels = rows // images
        with torch.autocast("cpu", dtype=torch.bfloat16):
            features = vit(pixel_values=augment(flat[rows])).last_hidden_state[:, 0]
        scores = 16 * F.normalize(centre(features.float()), dim=1) @ F.normalize(keys, dim=1).T
        loss = F.cross_entropy(scores, labels, label_smoothing=0.05)
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_([*vit.parameters(), keys], 1.0)
        for optimizer, scheduler in zip(optimizers, schedulers, strict=True):
            optimizer.step()
            scheduler.step()
        losses.append(loss.item())
        hits.append((scores.argmax(1) == labels).float().mean().item())
        if (step + 1) % 100 == 0 or step + 1 == steps:
            seconds = time.perf_counter() - began
            print(
                f"step {step + 1}/{steps}  loss {np.mean(losses[-100:]):.3f}  accuracy {np.mean(hits[-100:]):.3f}  "
                f"{seconds:.0f} s, {seconds / (step + 1) * (steps - step - 1):.0f} s to go",
                flush=True,
            )
    fold(centre, vit.layernorm)
    return vit.eval()


@torch.no_grad()
def fold(centre: nn.BatchNorm1d, norm: nn.LayerNorm) -> None:
    """Give the last layer norm the centring and scaling that follow it in training."""
    statistics = dict(centre.named_buffers())
    scale = (statistics["running_var"] + centre.eps).rsqrt()
    norm.bias.copy_((norm.bias - statistics["running_mean"]) * scale)
    norm.weight.mul_(scale)


def save(vit: ViTModel, folder: Path) -> None:
    """Half-precision weights, the architecture, and how images are to be normalised."""
    folder.mkdir(parents=True, exist_ok=True)
    vit.half().save_pretrained(folder)
    processor = {
        "do_normalize": True,
        "image_mean": MEAN,
        "image_std": STD,
        "size": {"height": SIZE, "width": SIZE},
        "image_processor_type": "ViTImageProcessor",
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(processor, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description="Pre-train the pocket backbone on images made by formulas.")
    parser.add_argument("--output", type=Path, required=True, help="folder for the weights and their configuration")
    parser.add_argument("--classes", type=int, default=1000, help="formula classes, all families together")
    parser.add_argument("--images", type=int, default=150, help="images a class")
    parser.add_argument("--steps", type=int, default=3000, help="optimizer steps")
    parser.add_argument("--batch", type=int, default=128, help="images a step")
    parser.add_argument("--rate", type=float, default=3e-3, help="highest learning rate")
    parser.add_argument("--seed", type=int, default=0, help="seed of the formulas and of the training")
    parser.add_argument("--workers", type=int, default=2, help="processes that draw the images")
    parser.add_argument("--threads", type=int, default=1, help="threads that train; another number, other roundings")
    options = parser.parse_args()
    began = time.perf_counter()
    data = make_images(options.classes, options.images, options.seed, options.workers)
    print(f"drew {data.shape[0]} classes of {data.shape[1]} images in {time.perf_counter() - began:.0f} s", flush=True)
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    vit = train(data, options.steps, options.batch, options.rate)
    save(vit, options.output)
    print(f"wrote {options.output} ({sum(p.numel() for p in vit.parameters()):,} parameters)")


if __name__ == "__main__":
    main()
