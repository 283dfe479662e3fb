"""What an analysis depends on: settings, versions, the pools and the data."""

import platform
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from smat.domains import Domain
from smat.plugins import plain
from smat.process import versions
from smat.recipes.analyse.parts import Part, Table
from smat.recipes.analyse.subjects import Subject
from smat.recipes.run_folder import backbone_fingerprint


def facts_of(subjects: Sequence[Subject]) -> list[tuple[str, str]]:
    """What stands below the heading of the page."""
    facts = []
    for subject in subjects:
        config, spec = subject.pool.config, subject.pool.backbone.spec
        which = f" of {subject.name}" if len(subjects) > 1 else ""
        facts += [
            (f"method{which}", config.method),
            (f"experts{which}", f"{config.experts}, numbered from 0" if config.experts > 1 else "1"),
        ]
        if subject is subjects[0]:
            facts += [
                ("network", f"{spec.name}, {spec.image_size} px"),
                ("parameters", f"{subject.pool.layout.size:,}"),
            ]
    return facts


def record_part(subjects: Sequence[Subject], domains: Sequence[Domain], config: Mapping[str, Any]) -> Part:
    """The last part of the page: how to make it again.

    Args:
        subjects: the pools.
        domains: where tasks were drawn from.
        config: settings of the command.
    """
    rows = [
        *(("setting", name, str(plain(value))) for name, value in config.items()),
        *(("version", name, number) for name, number in _versions()),
        *(row for subject in subjects for row in _pool(subject)),
        *(("data", domain.name, f"{domain.role or 'no role'}, fingerprint {domain.fingerprint}") for domain in domains),
    ]
    table = Table("settings", "Settings, versions, and fingerprints of pools and data", ["what", "name", "value"], rows)
    return Part(
        "How this was made", "The same command on the same pools and data makes the same numbers.", tables=[table]
    )


def _versions() -> Iterator[tuple[str, str]]:
    yield from versions("torch", "transformers", "numpy", "scipy", "matplotlib", "datasets", "pillow").items()
    yield "python", platform.python_version()


def _pool(subject: Subject) -> Iterator[tuple[str, str, str]]:
    yield "pool", subject.name, f"{subject.path}, fingerprint {subject.pool.fingerprint()}"
    yield (
        "backbone",
        subject.name,
        f"{subject.pool.backbone.spec.name}, fingerprint {backbone_fingerprint(subject.pool)}",
    )
    for name, value in subject.pool.config.to_dict().items():
        if not isinstance(value, dict):
            yield f"pool {subject.name}", name, str(value)
