"""Titles of results, and results on the screen."""

from collections.abc import Sequence

from rich.console import Console

from smat.adaptation import FineTuner
from smat.episodes import EpisodeSource, FixedSampler, VariableSampler, sampler_settings
from smat.evaluation import Comparison, EvaluationSettings, comparison_table, published_warning
from smat.heads import Head

_RULES: dict[str, str] = {
    "validation": "validation classes, or else the support set",
    "support": "the support set",
    "support-median": "the support sets of 5 episodes",
    "published": "query labels of test episodes",
}

_TUNINGS = {
    "full": "full fine-tuning",
    "lora": "LoRA",
    "weights": "fine-tuning of merge weights",
    "gates": "fine-tuning behind open gates",
}


def result_title(
    subject: str,
    head: Head | str,
    tuners: Sequence[FineTuner],
    settings: EvaluationSettings,
    sources: Sequence[EpisodeSource],
    episodes: int,
) -> str:
    """What a table shows: of what, with which head, after which kinds of fine-tuning, on which episodes."""
    source, apart = sources[0], ", ".join(name for each in sources for name in each.tracks_apart)
    sampler = source.sampler
    if isinstance(sampler, FixedSampler):
        task = f"{sampler.way}-way {sampler.shot}-shot"
    else:
        variable = isinstance(sampler, VariableSampler)
        task = "variable way and shot" if variable else f"episodes by {sampler_settings(sampler)['name']}"
    name = head if isinstance(head, str) else type(head).__name__
    with_head = "" if name == "prototype" else f", head {name}"
    tuned = ", ".join(_fine_tuning(tuner, settings) for tuner in tuners)
    return (
        f"{subject}{with_head}, {tuned}: {task}, {source.image_format.size} px, "
        f"{episodes} episodes per domain{f', tracks kept apart in {apart}' if apart else ''}"
    )


def _fine_tuning(tuner: FineTuner, settings: EvaluationSettings) -> str:
    if not tuner.trains:
        return "no fine-tuning"
    name = _TUNINGS.get(tuner.name, f"fine-tuning by {tuner.name}")
    if settings.rule == "average":
        rates = ", ".join(f"{rate:g}" for rate in tuner.learning_rates(settings.tuning))
        return f"{name} (mean over learning rates {rates} and {settings.tuning.seeds} seeds)"
    one_rate = settings.tuning.one_rate
    chosen = f"{tuner.learning_rates(settings.tuning)[0]:g}" if one_rate else f"by {_RULES[settings.rule]}"
    return f"{name} (learning rate {chosen})"


def show_results(
    comparisons: Sequence[Comparison], tuners: Sequence[FineTuner], settings: EvaluationSettings, console: Console
) -> None:
    """Print comparisons, with what must be said of the learning rates of their fine-tuning."""
    for comparison in comparisons:
        console.print(f"\n{comparison.title}", soft_wrap=True, highlight=False, markup=False)
        console.print(comparison_table(comparison, console))
    if warning := published_warning(settings.rule, tuners, settings.tuning):
        console.print(warning, soft_wrap=True, style="bold red")
