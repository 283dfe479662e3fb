"""`smat app`: the page on which classifiers are made, tried and taken along."""

from pathlib import Path
from typing import Annotated

from rich.console import Console

from smat.adaptation import Device, is_classifier
from smat.app import Export, Limits, Networks, Server, Tried, Writers, check_gradio
from smat.errors import ConfigError
from smat.files import write_whole
from smat.recipes.export import export
from smat.recipes.label_files import label_file
from smat.recipes.prediction_report import prediction_report
from smat.recipes.predictions import predictions_of
from smat.schema import Count, Range, checked_arguments

Port = Annotated[int, Range(0, 65535)]


@checked_arguments
def app(
    classifier: list[str] = [],  # noqa: B006
    *,
    model: str | None = None,
    port: Port = 7860,
    share: bool = False,
    device: Device = "auto",
    photos: Count = Limits.photos,
    file_mb: Count = Limits.file_mb,
    max_pixels: Count = Limits.pixels,
    runtime: str | None = None,
) -> None:
    """Open a page on this machine on which anybody makes, tries and takes along a classifier.

    It can be reached at the address that is shown, by browsers on this machine alone unless `--share` is given. Nothing
    is sent anywhere. Photos lie in the temporary folder until their page is closed, or this command ends (Ctrl-C).

    Example: smat app

    Args:
        classifier: folder of a classifier that `smat fit` made, to try and to go on with.
        model: network to begin with, by folder or hub name; by default the best one on this machine.
        port: port of this machine; 0 for one that is free.
        share: whether the page can also be reached from elsewhere, for three days at most: through servers of Gradio's
            makers, which photos then pass.
        device: device to compute on: `auto`, `cpu` or `cuda`.
        photos: most photos of each person on the page.
        file_mb: size of one file, such as a zip archive, in MB at most.
        max_pixels: most pixels that a photo is decoded to.
        runtime: onnxruntime-web for the web page of a classifier: the folder of the package or the file that `npm pack`
            makes; by default npm fetches it once, when it is first needed.

    Raises:
        SmatError: there is no such classifier or network, the port is taken, or the package for the page is missing.
    """
    check_gradio()
    opened = _opened(classifier)
    limits = Limits(photos=photos, file_mb=file_mb, pixels=max_pixels)
    server = Server(
        Networks.here(model, device), _Writers(limits, runtime), limits=limits, opened=opened, port=port, share=share
    )
    try:
        Console().print(f"The page is at {server.url} until you press Ctrl-C", soft_wrap=True)
        server.wait()
    finally:
        server.end()


def _opened(classifier: list[str]) -> Path | None:
    """The classifier to begin with."""
    if len(classifier) > 1:
        raise ConfigError(f"{len(classifier)} classifiers were given; give the folder of one, or none")
    if not classifier:
        return None
    if not is_classifier(classifier[0]):
        raise ConfigError(f"'{classifier[0]}' is no classifier that `smat fit` made; give its folder, or none")
    return Path(classifier[0])


class _Writers(Writers):
    """Writes files as the commands do."""

    def __init__(self, limits: Limits, runtime: str | None) -> None:
        self.limits, self.runtime = limits, runtime

    def labels(self, out: Path, tried: Tried) -> None:
        """The labels as `smat predict` writes them."""
        names = [Path(photo.name) for photo in tried.photos]
        found = predictions_of(tried.classes, names, tried.labels, tried.probabilities, tried.known, tried.unknown)
        if out.suffix != ".html":
            write_whole(out, label_file(out, found))
            return
        paths = [photo.path for photo in tried.photos if photo.path]
        write_whole(
            out, prediction_report(found, paths[0].parent, [Path(p.name) for p in paths], None, self.limits.pixels)
        )

    def export(self, folder: Path, to: Export, out: Path) -> None:
        """The classifier as `smat export` writes it."""
        export(str(folder), to=to, out=str(out), runtime=self.runtime if to == "web" else None)
