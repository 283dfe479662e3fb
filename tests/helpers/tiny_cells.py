"""Stored results made up for tests."""

from collections.abc import Sequence

from smat.evaluation import Cell, CellKey

ROLES = {"birds": "id", "cars": "id", "fashion_mnist": "ood"}


def make_cell(
    method: str, domain: str, accuracies: Sequence[float], seed: int = 0, checkpoint: str = "c", first: int = 0
) -> Cell:
    """Episodes of two queries each; half of the queries right, all with a confidence of 0.6."""
    key = CellKey(method, seed, "none", "", domain, "test", {"way": 5}, "d", checkpoint)
    n = len(accuracies)
    bins = [[2.0 * n, 1.0 * n, 1.2 * n], [0.0, 0.0, 0.0]]
    return Cell(key, ROLES[domain], first, [float(a) for a in accuracies], bins, 1.5, [])


BASE = {"birds": [0.2, 0.4, 0.6], "cars": [0.5, 0.5, 0.8], "fashion_mnist": [0.9, 0.7, 0.5]}
FIRST = {"birds": [0.4, 0.5, 0.9], "cars": [0.5, 0.7, 0.6], "fashion_mnist": [0.6, 0.6, 0.3]}
SECOND = {"birds": [0.2, 0.5, 0.7], "cars": [0.7, 0.9, 0.8], "fashion_mnist": [0.8, 0.6, 0.5]}


def two_methods() -> list[Cell]:
    """`pretrained`, and `smat` with two training seeds; `fashion_mnist`, which is OOD, comes first."""
    order = list(BASE)[::-1]
    return (
        [make_cell("pretrained", name, BASE[name]) for name in order]
        + [make_cell("smat", name, FIRST[name]) for name in order]
        + [make_cell("smat", name, SECOND[name], seed=1) for name in order]
    )
