"""The figures of `smat reproduce`, and the numbers beside them."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from smat.episodes import EpisodeSource, sampler_settings
from smat.errors import ConfigError
from smat.evaluation import Comparison
from smat.files import write_whole
from smat.recipes.figure_style import write_figure
from smat.recipes.reproduce.courses import draw_backbones, draw_overfitting, draw_scale, gains_table, over_orders
from smat.recipes.reproduce.points import by_role, by_training, points_of, write_points
from smat.recipes.reproduce.prepared import Size
from smat.recipes.reproduce.setting import Setting
from smat.recipes.reproduce.trade_offs import draw_curves, draw_trade_off

_BY_ROLE = {"sparsity": draw_trade_off, "wise-ft": draw_curves, "overfitting": draw_overfitting}
_ID_AND_OOD = (*_BY_ROLE, "backbones")


def check_sources(what: str, sources: Sequence[tuple[str, Sequence[EpisodeSource]]]) -> None:
    """Raise a `ConfigError` unless the test episodes are such that a figure can show them.

    Args:
        what: table or figure.
        sources: the base configurations by their files, with the test episodes of each.
    """
    if what not in _ID_AND_OOD:
        return
    first, expected = sources[0][0], _tasks(sources[0][1])
    for file, found in sources:
        if missing := {"id", "ood"} - {source.domains[0].role for source in found}:
            raise ConfigError(
                f"{what} shows ID and OOD accuracy, and there are no {' or '.join(sorted(missing)).upper()} domains: "
                "give others with --domains, or their role in a splits file"
            )
        if _tasks(found) != expected:
            raise ConfigError(
                f"{first} and {file} have other test episodes: give the same domains to all by --domains, and the same "
                "episodes by --way, --shot and --query"
            )


def _tasks(sources: Sequence[EpisodeSource]) -> list[object]:
    """What makes the tasks of two networks alike, whatever the size of their images."""
    domains = [(source.domains[0], source) for source in sources]
    return [(d.name, d.fingerprint, s.split, sampler_settings(s.sampler), s.seed) for d, s in domains]


def draw(what: str, parts: Sequence[tuple[Size, Comparison]], settings: Sequence[Setting], stem: Path) -> list[Path]:
    """Draw the figure of a comparison, write its numbers, and give the files.

    Args:
        what: figure, one of `FIGURES`.
        parts: a comparison for each backbone.
        settings: what was compared.
        stem: path of the files without what they end in.

    Raises:
        ConfigError: if a file cannot be written.
    """
    (_, comparison), written = parts[0], []
    if what == "scale":
        points = points_of(comparison, settings, by_training(settings))
        means = over_orders(points)
        points += means
        figure = draw_scale(points)
        written.append(stem.with_name(f"{stem.name}-gains.md"))
        write_whole(written[0], gains_table(means), keep=True)
    elif what == "backbones":
        points = [
            point
            for size, each in parts
            for setting in settings
            for point in points_of(each, [replace(setting, point=size._asdict())], by_role)
        ]
        figure = draw_backbones(points)
    else:
        points = points_of(comparison, settings, by_role)
        figure = _BY_ROLE[what](points)
    return [*written, *write_figure(figure, stem), write_points(points, stem.with_name(f"{stem.name}-points.csv"))]
