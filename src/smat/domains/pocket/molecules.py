"""Skeletal formulas of made-up molecules: each class a graph of rings and chains, each image a drawing of it."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from smat.domains.pocket.drawing import Pixels, Rng, Sheet, paint, pose


@dataclass(frozen=True)
class Molecule:
    """A graph with its plane layout.

    Attributes:
        atoms: positions, unit coordinates.
        sizes: radius of the disc at each atom, 0 where only bonds meet.
        bonds: pairs of atoms.
        double: which bonds are drawn as two lines.
    """

    atoms: Float[np.ndarray, "atoms 2"]
    sizes: Float[np.ndarray, " atoms"]
    bonds: Int[np.ndarray, "bonds 2"]
    double: tuple[bool, ...]


def random_molecule(rng: Rng) -> Molecule:
    """One or two rings of 3 to 7 atoms joined by a chain, and up to three side chains."""
    places: list[complex] = []
    bonds: list[tuple[int, int]] = []

    def ring(size: int, join: complex, direction: complex) -> None:
        radius = 0.5 / np.sin(np.pi / size)
        start = len(places)
        spokes = -direction * np.exp(2j * np.pi * np.arange(size) / size)
        places.extend(join + direction * radius + radius * spokes)
        bonds.extend((start + k, start + (k + 1) % size) for k in range(size))

    def chain(start: int, direction: complex, length: int) -> int:
        for k in range(length):
            direction *= np.exp(1j * np.pi / 3 * (-1) ** k) if k else 1
            places.append(places[start] + direction)
            bonds.append((start, len(places) - 1))
            start = len(places) - 1
        return start

    first = int(rng.integers(3, 8))
    ring(first, -0.5 + 0j, 1 + 0j)
    centre = np.mean(places)
    corners = rng.permutation(first)
    outward = [(places[k] - centre) / abs(places[k] - centre) for k in corners]
    if rng.random() < 0.5:
        end = chain(int(corners[0]), outward[0], int(rng.integers(1, 3)))
        ring(int(rng.integers(3, 7)), places[end], outward[0])
        # The chain's end and the ring's first atom are at one place: a bond of no length joins them.
        bonds.append((end, end + 1))
    sides = int(rng.integers(0, 3)) if len(places) > first else int(rng.integers(1, 4))
    for k in range(1, min(sides, first - 1) + 1):
        chain(int(corners[k]), outward[k], int(rng.integers(1, 4)))
    atoms = np.stack([np.real(places), np.imag(places)], axis=1)
    atoms -= (atoms.max(axis=0) + atoms.min(axis=0)) / 2
    atoms /= np.linalg.norm(atoms, axis=1).max()
    sizes = rng.choice([0, 0, 0, 0.1, 0.17], len(places))
    double = tuple(bool(d) for d in rng.random(len(bonds)) < 0.25)
    return Molecule(atoms, sizes, np.array(bonds), double)


def define_molecules(rng: Rng, count: int) -> list[Molecule]:
    """Molecules of 6 to 16 atoms, of which no two have the same rings, chains and discs."""
    found: dict[tuple, Molecule] = {}
    while len(found) < count:
        molecule = random_molecule(rng)
        if 6 <= len(molecule.atoms) <= 16:
            found.setdefault((molecule.bonds.tobytes(), molecule.sizes.tobytes()), molecule)
    return list(found.values())


def draw_molecule(molecule: Molecule, rng: Rng, size: int) -> Pixels:
    """The molecule in any orientation, either side up, bonds a little bent."""
    atoms = molecule.atoms * [1, rng.choice([-1, 1])] + rng.normal(0, 0.03, molecule.atoms.shape)
    seen = pose(atoms, rng, turn=np.pi, scale=(0.75, 0.98), stretch=0.1, shift=0.1)
    sheet = Sheet(size)
    width = rng.uniform(0.05, 0.1)
    for (start, end), double in zip(molecule.bonds, molecule.double, strict=True):
        bond = seen[[start, end]]
        if double:
            along = bond[1] - bond[0]
            aside = np.array([-along[1], along[0]]) / max(float(np.hypot(*along)), 1e-6) * 0.07
            sheet.line(bond + aside, width * 0.8)
            sheet.line(bond - aside, width * 0.8)
        else:
            sheet.line(bond, width)
    for atom, radius in zip(seen, molecule.sizes.tolist(), strict=True):
        if radius:
            sheet.disc(atom, radius)
    return paint(sheet.mask(), rng)
