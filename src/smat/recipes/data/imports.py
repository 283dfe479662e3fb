"""`smat data import`: image collections, as their authors distribute them, become domains on disk."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from smat.domains import MAX_PIXELS, SPLITS, RangeOption
from smat.domains.imported import DESCRIPTION, Imported, by_reason
from smat.errors import ConfigError, DataError, Interrupted, NothingImportedError
from smat.importing import Kind, find_kind, import_domain, list_sources
from smat.importing.csv_lists import Csv
from smat.left_out import leave_out
from smat.options import dashed
from smat.schema import Count, Processes, checked_arguments

_SHOWN = 20


@checked_arguments
def data_import(
    kind: str,
    source: str,
    out: str,
    *,
    max_side: Count = 256,
    keep: bool = False,
    processes: Processes | None = None,
    range: RangeOption = None,
    max_pixels: Count = MAX_PIXELS,
    image_column: str | None = None,
    label_column: str | None = None,
    split_column: str | None = None,
    image_folder: str | None = None,
    suffix: str | None = None,
) -> list[Imported]:
    """Read a source's files into a folder per domain, which all commands take.

    Images keep their bytes unless they are larger than `max_side` or of more than 8 bits; what cannot be read is left
    out and listed. After an interruption the same command goes on where it was; when all is done, it does nothing.

    Example: smat data import cifar downloads/cifar-100-python data/

    Args:
        kind: metadataset, metadataset-h5, folder, csv, cifar, mnist, gtsrb, coco, domainnet, pets, cars, food, flowers,
            dtd, aircraft, cub, omniglot, quickdraw, ilsvrc, fungi, miniimagenet, tieredimagenet, cifar-fs, fc100,
            cropdisease, eurosat, isic or chestx (docs/data.md walks through each), or the import path of a kind of your
            own, such as my_lab.kinds.Plankton.
        source: folder of the source's files, unpacked; of kind csv also the CSV file.
        out: folder in which a folder is made for each domain.
        max_side: longest side in pixels; larger images are made smaller once, as JPEG of quality 95.
        keep: leave images as large as they are.
        processes: number of processes that read and decode; as many as there are processor cores by default; 0: only
            this one.
        range: values LOW and HIGH that are black and white in grey images of more than 8 bits, such as 0 4095, or
            `auto`: from all such images of a domain; images of 8 bits have no other range. By default as each says, or
            it is refused.
        max_pixels: most pixels that an image is decoded to.
        image_column: of kind csv, column of the images' paths; `file` by default.
        label_column: of kind csv, column of the class names; `label` by default.
        split_column: of kind csv, column that says train, val or test; `split` by default, if there is one.
        image_folder: of kind csv, folder of the images; that of the CSV file by default.
        suffix: of kind csv, ending that the paths in the CSV file lack, such as .jpg.

    Returns:
        What was imported, one entry per domain.

    Raises:
        SmatError: nothing can be imported, a domain's folder cannot be written to or has another import, or an option
            is of another kind.
    """
    console = Console()
    columns = {"image_column": image_column, "label_column": label_column, "split_column": split_column}
    columns |= {"image_folder": image_folder, "suffix": suffix}
    with console.status(f"finding the classes and images of '{escape(source)}'"):
        found = _with_options(find_kind(kind), {name: value for name, value in columns.items() if value is not None})
        listings = list_sources(found, source)
    console.print(found.summary, markup=False)
    processes = (os.cpu_count() or 1) if processes is None else processes
    before = {listing.name for listing in listings if (Path(out) / listing.name / DESCRIPTION).exists()}
    imported: list[Imported] = []
    failed: list[DataError] = []
    with _progress(console) as bar:
        tasks = [bar.add_task(listing.name, total=sum(part.images for part in listing.parts)) for listing in listings]
        for listing, task in zip(listings, tasks, strict=True):
            try:
                imported.append(
                    import_domain(
                        listing,
                        out,
                        max_side=max_side,
                        keep=keep,
                        processes=processes,
                        progress=_follow(bar, task),
                        range=range,
                        max_pixels=max_pixels,
                    )
                )
                bar.update(task, completed=sum(part.images for part in listing.parts))
            except DataError as error:
                failed.append(error)
            except KeyboardInterrupt:
                raise Interrupted("Run the same command again: it goes on where it was", imported) from None
    for domain in imported:
        _report(console, domain, Path(out), "finished before, nothing to do" if domain.name in before else "imported")
    if failed and (not imported or not all(isinstance(error, NothingImportedError) for error in failed)):
        raise DataError("\n".join(map(str, failed)))
    for error in failed:
        console.print(f"[bold red]Not imported:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
    paths = " ".join(str(Path(out) / domain.name) for domain in imported)
    console.print(
        f"\nLook for what is wrong:  smat data doctor {out}\nUse as any domain:       smat evaluate CHECKPOINT {paths}",
        soft_wrap=True,
        markup=False,
        highlight=False,
    )
    return imported


def _with_options(kind: Kind, given: dict[str, str]) -> Kind:
    """The kind with options of its own.

    Raises:
        ConfigError: it has none.
    """
    if given and not isinstance(kind, Csv):
        raise ConfigError(f"--{dashed(next(iter(given)))} is an option of kind csv, not of {kind.name}: leave it out")
    return replace(kind, **given) if isinstance(kind, Csv) else kind


class _Speed(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.0f} images/s")


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        _Speed(),
        TimeRemainingColumn(),
        console=console,
        refresh_per_second=2,
    )


def _follow(bar: Progress, task: TaskID) -> Callable[[int], None]:
    """Moves the bar; images of an earlier run are not counted in the speed."""
    started = False

    def show(done: int) -> None:
        nonlocal started
        if not started:
            bar.reset(task, completed=done)
        bar.update(task, completed=done)
        started = True

    return show


def _report(console: Console, domain: Imported, out: Path, how: str) -> None:
    """What was written, and where."""
    used = {name for names in domain.splits.values() for name in names}
    table = Table(title=f"{domain.name}, {how}: {out / domain.name}", title_justify="left")
    for heading in ("split", "classes", "images", "images per class"):
        table.add_column(heading, justify="left" if heading == "split" else "right")
    for split in (split for split in SPLITS if split in domain.splits):
        counts = [domain.classes[name] for name in domain.splits[split]]
        spread = f"{min(counts)} to {max(counts)}" if min(counts) < max(counts) else f"{counts[0]}"
        table.add_row(split, f"{len(counts):,}", f"{sum(counts):,}", spread)
    table.add_row("refused", f"{len(domain.classes) - len(used):,}", f"{len(domain.refused):,} reasons", "")
    console.print()
    console.print(table)
    for note in domain.notes[:_SHOWN]:
        console.print(f"note: {note}", soft_wrap=True, markup=False, highlight=False)
    if len(domain.notes) > _SHOWN:
        console.print(f"note: {len(domain.notes) - _SHOWN:,} more: {out / domain.name / DESCRIPTION}", soft_wrap=True)
    if domain.refused:
        where = f"refused: {len(domain.refused):,}, listed one by one in {out / domain.name / DESCRIPTION}"
        console.print(where, soft_wrap=True, markup=False, highlight=False)
    for reason, places in by_reason(domain.refused).items():
        leave_out("item", reason, [f"{domain.name}: {place}" for place in places])
