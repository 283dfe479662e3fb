"""Pre-train the pocket backbone, a small vision transformer, on procedural images.

The network learns to tell their classes apart (Kataoka et al. 2020, *Pre-training without natural images*) with a
cosine classifier, the same geometry that nearest prototypes use later. `pocket_pretraining_images.py` draws the
images. The network never sees an image or a class of a pocket domain. One domain, fractals, is of the same kind as a
part of the pre-training images; contours look a little like polygons and spirographs, noise a little like textures; the
rest (glyphs, strokes, plants, mosaics, automata, molecules, faces) have nothing like them there.

    python scripts/pretrain_pocket_backbone.py --output src/smat/backbones/pocket

The shipped weights are from this command. It took 20 minutes on 2 cores that were busy with other work as well: 5 to
draw the images, 15 to train with one thread (bfloat16; a step takes 0.15 s on a free core, 3000 half of that time). The
same seed and number of threads give the same weights, on the same kind of processor. In the end the network knew 79 %
of its augmented training images among 1000 classes.
"""

import argparse
import json
import math
import time
from pathlib import Path

import numpy as np
import torch
from pocket_pretraining_images import SIZE, make_images
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import ViTConfig, ViTModel

MEAN, STD = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
PATCH, HIDDEN, DEPTH, HEADS = 8, 160, 4, 4


def augment(images: Tensor) -> Tensor:
    """Bytes to normalised images: a random affine window, colour channels in random order."""
    n = len(images)
    window = torch.eye(2, 3).repeat(n, 1, 1)
    window[:, :, :2] += torch.randn(n, 2, 2) * 0.08
    window[:, :, 2] = torch.rand(n, 2) * 0.4 - 0.2
    grid = F.affine_grid(window, [n, 3, SIZE, SIZE], align_corners=False)
    scaled = images.float() / 127.5 - 1
    moved = F.grid_sample(scaled, grid, padding_mode="reflection", align_corners=False)
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
    positions = torch.einsum("ky,lx->yxkl", waves, waves).reshape(side**2, side**2)
    vit.embeddings.position_embeddings[0, 1:, -(side**2) :] += positions


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
    parser = argparse.ArgumentParser(description="Pre-train the pocket backbone on procedural images.")
    parser.add_argument("--output", type=Path, required=True, help="folder for the weights and their configuration")
    parser.add_argument("--classes", type=int, default=1000, help="classes, all families together")
    parser.add_argument("--images", type=int, default=150, help="images per class")
    parser.add_argument("--steps", type=int, default=3000, help="optimizer steps")
    parser.add_argument("--batch", type=int, default=128, help="images per step")
    parser.add_argument("--rate", type=float, default=3e-3, help="highest learning rate")
    parser.add_argument("--seed", type=int, default=0, help="random seed of the images and of the training")
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
