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
        kind: as `Hierarchy.kind`.
        members: of each group, the places of its classes among those of the split.
    """

    kind: Kind
    members: tuple[Int[np.ndarray, "_"], ...]


@dataclass(frozen=True)
class Hierarchy:
    """Which classes lie together (Triantafillou et al. 2020, section 3.2).

    Attributes:
        kind: `groups`: an episode draws one group, such as an alphabet, and then classes of it; `graph`: it draws a
            node of a graph, such as WordNet, and then classes of the leaves that the node spans.
        groups: by split, then by the group's or node's name: names of its classes.
    """

    kind: Kind
    groups: Mapping[str, Mapping[str, tuple[str, ...]]]

    def within(self, classes: Sequence[str]) -> ClassGroups:
        """The groups cut down to some classes, such as those of a split.

        A group is what has one name in any split, so that classes may be divided otherwise than the source divides
        them. Groups that lose all their classes are left out; two that have the same classes both count, as in the
        authors' code.

        Args:
            classes: names, each once.
        """
        places = {name: place for place, name in enumerate(classes)}
        groups: dict[str, list[str]] = {}
        for of_split in self.groups.values():
            for group, names in of_split.items():
                groups.setdefault(group, []).extend(names)
        found = ([places[name] for name in dict.fromkeys(names) if name in places] for names in groups.values())
        return ClassGroups(self.kind, tuple(np.array(members, dtype=np.int64) for members in found if members))
