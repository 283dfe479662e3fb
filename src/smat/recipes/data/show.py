"""`smat data show`: a sheet of pictures of a domain's classes, or of one episode."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float
from PIL import Image
from rich.console import Console
from torch import Tensor

from smat.backbones import ImageFormat
from smat.backbones.spec import Pixels
from smat.domains import Domain, open_domains
from smat.domains.wordnet import wordnet_names
from smat.episodes import EpisodeOptions, EpisodeSource
from smat.errors import ConfigError
from smat.files import check_writable, write_whole
from smat.recipes.data.contact_sheet import Row, contact_sheet, letters_missing
from smat.rng import numpy_generator
from smat.schema import Count, Number, checked_arguments

_SUPPORT, _QUERY = 5, 10  # pictures of an episode next to each other, at most


@checked_arguments
def data_show(
    path: str,
    *,
    episode: Number | None = None,
    output: str = "sheet.png",
    classes: Count = 20,
    images: Count = 10,
    varied: bool = False,
    image_size: Pixels = 224,
    tile: Pixels = 96,
    options: EpisodeOptions = EpisodeOptions(),
) -> Path:
    """Draw classes of a domain with some of their images, or an episode's support and query images with their labels.

    An episode is that of `smat evaluate` of the same number, sampler and seed, and its images are shown as the network
    gets them. Images of classes are shown whole.

    Example: smat data show data/cu_birds --episode 0 --output episode.png

    Args:
        path: parquet file, folder of class folders, hub data set, or pocket domain. Classes called by numbers of
            WordNet get the words of a `words.txt` or `LOC_synset_mapping.txt` there or in a folder around it.
        episode: number of the episode to show; by default classes are shown.
        output: PNG file to write.
        classes: largest number of classes on the sheet, taken evenly from all of the split.
        images: largest number of images per class, taken at random.
        varied: whether an episode's images are shown augmented, as in training.
        image_size: side of the network's images in pixels.
        tile: side of the pictures on the sheet in pixels.
        options: which episodes are drawn, and how their images are cut; the seed also chooses images of classes.

    Returns:
        The PNG file.

    Raises:
        SmatError: a domain or setting that does not fit, or a file that cannot be written.
    """
    if tile < 16:
        raise ConfigError(f"tile is {tile}; give 16 or more")
    file = check_writable(output)
    domains = open_domains([path], **options.opening())
    if len(domains) > 1:
        raise ConfigError(f"'{path}' is {len(domains)} domains; give one: {', '.join(d.name for d in domains)}")
    (domain,) = domains
    words, _ = wordnet_names(Path(path), domain.classes(options.split))
    if episode is None:
        sheet = _classes(domain, words, options.split, classes, images, tile, options.seed)
    else:
        source = EpisodeSource(
            [domain],
            options.split,
            options.build_sampler(),
            image_format=ImageFormat(image_size),  # in 0..1, as images are before a network's own normalisation
            train=varied,
            transforms=options.transforms(),
            seed=options.seed,
            tracks=options.tracks,
        )
        sheet = _episode(source, words, episode, tile)
    write_whole(file, lambda path: sheet.save(path, "PNG"), keep=True)
    console = Console()
    console.print(f"{sheet.width} x {sheet.height} pixels: {file}", soft_wrap=True, markup=False)
    missing = letters_missing("".join(domain.classes(options.split)))
    if missing:
        shown = f"{missing[:20]}{'...' if len(missing) > 20 else ''}"
        advice = "they are drawn as boxes; install a font that has them, such as Noto"
        console.print(
            f"no font of this machine has {shown} of the class names: {advice}",
            soft_wrap=True,
            markup=False,
        )
    return file


def _classes(
    domain: Domain, words: Mapping[str, str], split: str, classes: int, images: int, tile: int, seed: int
) -> Image.Image:
    names = domain.classes(split)
    rows = {name: domain.rows(name) for name in names}
    indices = np.unique(np.linspace(0, len(names) - 1, min(classes, len(names))).round().astype(int)).tolist()
    shown = []
    for index in indices:
        of_class = rows[names[index]]
        rng = numpy_generator(seed, f"show/{domain.name}/{split}", index)
        chosen = rng.choice(of_class, min(images, len(of_class)), replace=False).tolist()
        pictures = [domain.image(row) for row in chosen]
        shown.append(Row(words.get(names[index], names[index]), _counted(len(of_class), "image"), [pictures]))
    total = sum(map(len, rows.values()))
    part = "" if len(indices) == len(names) else f", {len(indices)} of them here"
    facts = f"{split} split: {_counted(len(names), 'class', 'classes')}{part}, {_counted(total, 'image')}"
    return contact_sheet(domain.name, facts, shown, columns=[max(len(row.groups[0]) for row in shown)], tile=tile)


def _episode(source: EpisodeSource, words: Mapping[str, str], number: int, tile: int) -> Image.Image:
    episode = source.episode(number)
    plan, rows = episode.plan, []
    for label, name in enumerate(plan.classes):
        groups = [
            _pictures(episode.support[episode.support_labels == label]),
            _pictures(episode.query[episode.query_labels == label]),
        ]
        rows.append(Row(words.get(name, name), f"{len(groups[0])} support, {len(groups[1])} query", groups, chip=label))
    side = source.transforms.canvas_size(source.image_format.size)
    seen = "augmented as in training" if source.train else f"the centre of {side}"
    facts = (
        f"{plan.way}-way: {_counted(len(plan.support_rows), 'support image')}, "
        f"{_counted(len(plan.query_rows), 'query image')}; {source.image_format.size} pixels, {seen}"
    )
    most = [max(len(row.groups[part]) for row in rows) for part in (0, 1)]
    lines = [math.ceil(count / limit) for count, limit in zip(most, (_SUPPORT, _QUERY), strict=True)]
    columns = [math.ceil(count / of) for count, of in zip(most, lines, strict=True)]
    return contact_sheet(plan.id, facts, rows, columns=columns, tile=tile, headings=["support", "query"])


def _pictures(images: Float[Tensor, "n 3 size size"]) -> Sequence[Image.Image]:
    pixels = (images * 255).round().byte().permute(0, 2, 3, 1).numpy()
    return [Image.fromarray(picture) for picture in pixels]


def _counted(count: int, one: str, many: str | None = None) -> str:
    return f"{count:,} {one if count == 1 else many or one + 's'}"
