"""What is known of a pool besides its numbers: how it was made, how good it is, what its experts learned.

It lies as `card.json` beside the weights; the folder's `README.md` is made from it (`smat.experts.card_text`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from smat.errors import ConfigError
from smat.left_out import leave_out
from smat.schema import Count, Finite, NotNegative, Number, Seed, Share, check_setting

CARD, README, FIGURES = "card.json", "README.md", "figures"

TunedRole = Literal["training", "validation"]


@dataclass(frozen=True)
class TunedDomain:
    """A domain that a pool was tuned on, or chosen by.

    Attributes:
        name: its name.
        role: whether tasks of it were trained on, or it only chose the best checkpoint.
        classes: number of classes that these tasks were of.
        fingerprint: hash of its images, labels and splits.
        hub: name of the data set on the Hugging Face hub; None for images from elsewhere.
    """

    name: str
    role: TunedRole
    classes: Count
    fingerprint: str
    hub: str | None = None


@dataclass(frozen=True)
class Training:
    """How a pool was made.

    Attributes:
        domains: what it was tuned on.
        tasks: number of tasks that the training was planned for.
        settings: settings that matter, and all others that are not the default, by their names in a configuration.
        versions: versions of Python, smat and other packages.
        backbone: hash of the frozen parameters.
        licence: licence of the frozen parameters, where smat knows it.
    """

    domains: list[TunedDomain]
    tasks: Count
    settings: dict[str, Any]
    versions: dict[str, str]
    backbone: str
    licence: str | None = None


@dataclass(frozen=True)
class Validation:
    """Accuracies on validation classes, by which a training chooses its best checkpoint.

    Attributes:
        tasks: training tasks that the pool had seen.
        episodes: number of episodes per domain.
        accuracies: mean accuracy by domain, 0..1.
    """

    tasks: Number
    episodes: Count
    accuracies: Annotated[dict[str, Share], Field(min_length=1)]

    @property
    def mean(self) -> float:
        """The mean over domains."""
        return sum(self.accuracies.values()) / len(self.accuracies)


@dataclass(frozen=True)
class Result:
    """The accuracy of a pool in episodes of one domain.

    Attributes:
        checkpoint: fingerprint of the pool that was evaluated.
        smat_version: version of smat that evaluated it.
        method: name of the method, with the strengths of its networks where there are some, as in `smat@0@1`.
        head: what classified the features.
        adapt: fine-tuning on each support set; `none` without.
        learning_rate: rule that chose its learning rate; `""` without fine-tuning.
        domain: name of the domain.
        role: `id`, `ood`, `validation`, or `""` where that is not said.
        data: fingerprint of the domain.
        split: split whose classes the episodes are of.
        sampler: name of the sampler.
        way: number of classes of an episode; None where it varies.
        shot: number of support images per class; None where it varies.
        query: number of query images per class; None where it varies.
        seed: seed of the episodes.
        episodes: their number.
        accuracy: mean accuracy, 0..1.
        half_width: half width of its 95 % interval; None of a single episode.
        difference: mean difference to the pre-trained backbone with the same head, and the same fine-tuning, on the
            same episodes; None where that was not evaluated.
        difference_half_width: half width of its 95 % interval.
    """

    checkpoint: str
    smat_version: str
    method: str
    head: str
    adapt: str
    learning_rate: str
    domain: str
    role: Literal["id", "ood", "validation", ""]
    data: str
    split: str
    sampler: str
    way: Count | None
    shot: Count | None
    query: Count | None
    seed: Seed
    episodes: Count
    accuracy: Share
    half_width: NotNegative | None = None
    difference: Finite | None = None
    difference_half_width: NotNegative | None = None

    @property
    def of(self) -> tuple[Any, ...]:
        """What it is a result of: a newer one of the same takes its place."""
        numbers = ("smat_version", "episodes", "accuracy", "half_width", "difference", "difference_half_width")
        return tuple(value for name, value in vars(self).items() if name not in numbers)


@dataclass(frozen=True)
class Figure:
    """A figure in the folder `figures`.

    Attributes:
        file: name of the file, a PNG or an SVG.
        caption: what it shows, in Markdown.

    Raises:
        ConfigError: another kind of file, or a path.
    """

    file: str
    caption: str

    def __post_init__(self) -> None:
        if Path(self.file).name != self.file or Path(self.file).suffix not in (".png", ".svg"):
            raise ConfigError(f"figure file is {self.file!r}; give the name of a PNG or SVG file, without a folder")


@dataclass(frozen=True)
class Analysis:
    """What the experts of a pool learned.

    Attributes:
        checkpoint: fingerprint of the pool.
        findings: sentences in Markdown.
        figures: what shows them.
    """

    checkpoint: str
    findings: list[str] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)


@dataclass(frozen=True)
class Said:
    """The keys of `card.json`, besides its format; see `Card`."""

    base_model: str | None = None
    tasks: Number = 0
    training: Training | None = None
    validation: Validation | None = None
    results: list[Result] = field(default_factory=list)
    analysis: Analysis | None = None
    metadata: dict[str, str | list[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if found := {"eval_results", "model-index"} & self.metadata.keys():
            raise ConfigError(f"metadata has {', '.join(found)}, which is made from the results: leave it out")


@dataclass(frozen=True)
class Card(Said):
    """What is known of a pool besides its numbers.

    Attributes:
        base_model: name of the backbone on the Hugging Face hub; None where it is not from there.
        tasks: number of training tasks that the pool has seen.
        training: how it was made.
        validation: accuracies on validation classes.
        results: accuracies that `smat evaluate --card` found.
        analysis: what its experts learned.
        metadata: fields of the README's head over those that smat gives, such as `license`; `tags` are added.
        files: contents of further files by their paths in the folder: figures, and a README with a text of one's own.
    """

    files: dict[str, bytes] = field(default_factory=dict, repr=False)

    def with_metadata(self, given: Mapping[str, Any]) -> "Card":
        """The card with fields of the README's head; raises a `ConfigError` for what is no text or list of texts."""
        for name, value in given.items():
            check_setting(f"model_card_kwargs {name}", value, str | list[str])
        return replace(self, metadata=self.metadata | dict(given))

    def with_results(self, found: Sequence[Result]) -> "Card":
        """The card with results, which take the place of earlier ones of the same."""
        new = {result.of for result in found}
        return replace(self, results=[result for result in self.results if result.of not in new] + list(found))

    def of_same(self, before: str, after: str) -> "Card":
        """The card of a pool that makes the same networks from other numbers: what was found of the one holds for it.

        Args:
            before: fingerprint of the one.
            after: fingerprint of the other.
        """
        results = [replace(r, checkpoint=after) if r.checkpoint == before else r for r in self.results]
        analysis = self.analysis
        if analysis and analysis.checkpoint == before:
            analysis = replace(analysis, checkpoint=after)
        return replace(self, results=results, analysis=analysis)

    def of_pool(self, tasks: int, fingerprint: Callable[[], str], before: "Card | None" = None) -> "Card":
        """The card of a pool as it is now: what was found of other numbers than these is left out, with a word.

        Args:
            tasks: number of training tasks that the pool has seen.
            fingerprint: gives the pool's fingerprint, which takes a while.
            before: card in the folder that the pool is saved to; what it has of the same pool is kept.
        """
        before = before or Card()
        card = replace(self, tasks=tasks)
        if self.validation and self.validation.tasks != tasks:
            card = replace(card, validation=None)
        if not (self.results or self.analysis or before.results or before.analysis):
            return card
        current = fingerprint()
        stale = [f"results on {result.domain}" for result in self.results if result.checkpoint != current]
        own = [result for result in self.results if result.checkpoint == current]
        kept = replace(card, results=[result for result in before.results if result.checkpoint == current])
        analysis, files = self.analysis, self.files
        if analysis and analysis.checkpoint != current:
            stale, analysis, files = [*stale, "analysis"], None, without_figures(files)
        if not analysis and before.analysis and before.analysis.checkpoint == current:
            analysis, files = before.analysis, files | before.files
        reason = "they are of other numbers than the pool has now; find them anew"
        leave_out("entry of the card", reason, list(dict.fromkeys(stale)))
        return replace(kept.with_results(own), analysis=analysis, files=files)


def without_figures(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """The files of a card, but for its figures."""
    return {path: content for path, content in files.items() if not path.startswith(f"{FIGURES}/")}
