"""Groups of classes that an episode's classes are drawn from together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Int

Kind = Literal["groups", "graph"]


@dataclass(frozen=True)
class ClassGroups:
    """Which classes of one split lie together, as a sampler needs it.

    Attributes:
        kind: kind of the hierarchy, as `Hierarchy.kind`.
        members: indices of each group's classes among those of the split.
    """

    kind: Kind
    members: tuple[Int[np.ndarray, "_"], ...]


@dataclass(frozen=True)
class Hierarchy:
    """Which classes lie together (Triantafillou et al. 2020, section 3.2).

    Attributes:
        kind: `groups`: an episode draws one group, such as an alphabet, and then classes of it; `graph`: it draws a
            node of a graph, such as WordNet, and then classes of the leaves that the node spans.
        groups: names of the classes of each group or node, by split and name.
    """

    kind: Kind
    groups: Mapping[str, Mapping[str, tuple[str, ...]]]

    def within(self, classes: Sequence[str]) -> ClassGroups:
        """The groups cut down to some classes, such as those of a split.

        A group is what has one name in any split, so that the splits need not be those of the source. Groups that lose
        all their classes are left out. Two groups of the same classes both count, as in the authors' code.

        Args:
            classes: class names, each once.
        """
        index = {name: number for number, name in enumerate(classes)}
        groups: dict[str, list[str]] = {}
        for of_split in self.groups.values():
            for group, names in of_split.items():
                groups.setdefault(group, []).extend(names)
        found = ([index[name] for name in dict.fromkeys(names) if name in index] for names in groups.values())
        return ClassGroups(self.kind, tuple(np.array(members, dtype=np.int64) for members in found if members))
