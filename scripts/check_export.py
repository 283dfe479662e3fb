"""Compare exported classifiers with PyTorch on thousands of real images, and print a table for docs/export.md.

    python scripts/check_export.py [--images 10000] [--fewer 2000] [--networks mobilenet_v2@96 ...]

Each classifier is made from 5 images of each of the 10 first test classes of miniImageNet. What it is asked are images
of all domains in ../shared/data, as many of each: most are of no class of its, so that many answers are close calls.
"""

import argparse
from pathlib import Path

import torch
from jaxtyping import UInt8
from torch import Tensor

from smat.adaptation import FewShotClassifier
from smat.domains import Domain, open_domains
from smat.export import (
    Agreement,
    ExportPrecision,
    compare,
    deployed_from,
    onnx_answers,
    onnx_bytes,
    pictures,
    program_answers,
    program_bytes,
)

SHARED = Path(__file__).resolve().parents[1] / ".." / "shared"
NETWORKS = {
    "mobilenet_v2@96": "auto",
    "vit_tiny_8_64@64": "auto",
    "dinov2_small_mended@84": "auto:1",
    "dinov2_small_mended@112": "auto:1",
}
"""Backbones of ../shared/backbone at a size, with the head."""
WAY, SHOT = 10, 5


def support(domain: Domain) -> tuple[list[object], list[str]]:
    """The labelled images and their labels."""
    classes = domain.splits["test"][:WAY]
    rows = [(name, row) for name in classes for row in domain.rows(name)[:SHOT]]
    return [domain.image(row) for _, row in rows], [name for name, _ in rows]


def queries(domains: list[Domain], n: int, side: int) -> UInt8[Tensor, "n side side 3"]:
    """So many pictures, of each domain as many, or all, evenly among its images."""
    rows = [[r for classes in d.splits.values() for name in classes for r in d.rows(name)] for d in domains]
    found: list[Tensor] = []
    for place, number in enumerate(sorted(range(len(domains)), key=lambda number: len(rows[number]))):
        own = rows[number]
        wanted = min(len(own), (n - len(found)) // (len(domains) - place))
        found += [domains[number].canvas(own[k * len(own) // wanted], side).permute(1, 2, 0) for k in range(wanted)]
    return torch.stack(found)


def row(network: str, head: str, kind: str, size: int, found: Agreement) -> str:
    """A line of the table."""
    share = 100 * found.alike / found.images
    return (
        f"| {network} | {head} | {kind} | {size / 1e6:.1f} | {found.decided_alike:,} of {found.decided:,} | "
        f"{share:.2f} | {found.probability:.1g} | {found.milliseconds:.1f} |"
    )


def check(network: str, head: str, domains: list[Domain], images: int, fewer: int) -> None:
    """Export a classifier as everything that there is, and print how each compares."""
    folder, _, size = network.partition("@")
    mini = next(domain for domain in domains if domain.name == "mini_imagenet")
    labelled, labels = support(mini)
    backbone = str(SHARED / "backbone" / folder)
    classifier = FewShotClassifier(backbone, image_size=int(size), head=head, device="cpu", precision="32-true")
    classifier.fit(labelled, labels)
    deployed, about = deployed_from(classifier)
    given = queries(domains, images, deployed.side)
    ranges = pictures(classifier, labelled, deployed.side)
    precisions: list[tuple[ExportPrecision, int]] = [("float32", images), ("float16", fewer), ("int8", fewer)]
    for precision, n in precisions:
        content = onnx_bytes(deployed, about, precision=precision, pictures=ranges)
        some = given[:: max(1, len(given) // n)]
        print(
            row(network, head, f"ONNX {precision}", len(content), compare(deployed, onnx_answers(content), some)),
            flush=True,
        )
    program = program_bytes(deployed, about)
    some = given[:: max(1, len(given) // 500)]
    print(row(network, head, "torch", len(program), compare(deployed, program_answers(program), some)), flush=True)


def main() -> None:
    """Read the arguments and check each network."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=10_000, help="images that float32 is compared on")
    parser.add_argument("--fewer", type=int, default=2_000, help="images that float16 and int8 are compared on")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    options = parser.parse_args()
    torch.set_num_threads(1)
    domains = open_domains([str(file) for file in sorted((SHARED / "data").glob("*.parquet"))])
    print("| network | head | kind | MB | label alike, clear images | alike, all % | largest difference | ms |")
    print("|---|---|---|---|---|---|---|---|")
    for network in options.networks:
        check(network, NETWORKS[network], domains, options.images, options.fewer)


if __name__ == "__main__":
    main()
