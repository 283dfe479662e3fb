"""A comparison that is small enough to be made within a test."""

from typing import Any

from smat.recipes.reproduce.episodes import EpisodeOverrides

DOMAINS = ["pocket:polygons", "pocket:molecules"]  # ID with validation classes, OOD without
SMALL: dict[str, Any] = {
    "domains": DOMAINS,
    "episodes": 4,
    "options": EpisodeOverrides(query=3),
    "workers": 0,
    "device": "cpu",
    "precision": "32-true",
}
