"""`smat quickstart`: the whole way, on procedural images, without any download."""

from importlib.resources import files
from pathlib import Path

from rich.console import Console

from smat.domains.pocket import pocket_domains
from smat.errors import ConfigError, Interrupted
from smat.files import writing
from smat.metatuning.run_config import TrainConfig, load_config
from smat.recipes.evaluate import evaluate
from smat.recipes.predict import predict
from smat.recipes.train import train
from smat.schema import Count, checked_arguments

PHOTO_DOMAIN, PHOTO_CLASSES, PHOTO_SHOTS, PHOTO_QUERIES = "molecules", 4, 5, 15


def shipped_config(name: str, *overrides: str) -> TrainConfig:
    """A configuration of the package by name, with overrides as on the command line (`--tuning.tasks=100`)."""
    return load_config([str(files("smat") / "configs" / f"{name}.yaml")], *overrides)


@checked_arguments
def quickstart(*, out: str = "runs/quickstart", tasks: Count | None = None, episodes: Count = 40) -> dict[str, Path]:
    """Meta-tune a small network, compare it with the pre-trained one, and label a folder of images with it.

    All images are procedural, made on the spot: six families to tune on, and five out-of-distribution ones.

    Args:
        out: folder for all results, which must not hold a finished quickstart; one that was stopped goes on.
        tasks: number of training tasks; by default that of the shipped configuration.
        episodes: number of evaluation episodes per domain.

    Returns:
        The files and folders of the results, by name.

    Raises:
        ConfigError: if the folder holds a finished quickstart, or one with other settings.
        Interrupted: after an interruption; the same call goes on from there.
    """
    console, folder = Console(), Path(out)
    if (folder / "predictions.csv").exists():
        raise ConfigError(f"{folder} holds a quickstart already: remove it, or choose another folder with --out")
    overrides = [] if tasks is None else [f"--tuning.tasks={tasks}", f"--tuning.validate_every={tasks}"]
    results = {
        "meta-tuned pool": folder / "training" / "best",
        "training log": folder / "training" / "log.jsonl",
        "accuracies": folder / "evaluation.json",
        "labelled images": folder / "images" / "labelled",
        "images to label": folder / "images" / "unlabelled",
        "predictions": folder / "predictions.csv",
    }
    console.rule("1/3  meta-tune on six families of images")
    try:
        train(shipped_config("pocket", *overrides), out=str(folder / "training"), resume=True)
    except KeyboardInterrupt as interruption:
        raise Interrupted("What is tuned is kept: the same command goes on from there") from interruption

    console.rule("2/3  classify tasks of unseen classes, in those families and in five out-of-distribution ones")
    evaluate(
        str(results["meta-tuned pool"]),
        ["pocket"],
        episodes=episodes,
        workers=0,
        output=str(results["accuracies"]),
    )

    console.rule(f"3/3  label a folder of images of {PHOTO_CLASSES} new classes, given {PHOTO_SHOTS} of each")
    write_images(results["labelled images"], results["images to label"])
    predict(
        str(results["meta-tuned pool"]),
        support=str(results["labelled images"]),
        query=str(results["images to label"]),
        output=str(results["predictions"]),
    )
    console.rule("where everything lies")
    for name, path in results.items():
        console.print(f"{name:>16}  {path}", highlight=False)
    console.print(
        "\nWith your own images: smat predict "
        f"{results['meta-tuned pool']} --support FOLDER_OF_CLASS_FOLDERS --query FOLDER",
        highlight=False,
    )
    return results


def write_images(labelled: Path, unlabelled: Path) -> None:
    """Write a few labelled images in class folders, and others to label: in class folders too, for the accuracy."""
    (domain,) = (d for d in pocket_domains() if d.name == PHOTO_DOMAIN)
    for name in domain.classes("test")[:PHOTO_CLASSES]:
        rows = domain.rows(name)[: PHOTO_SHOTS + PHOTO_QUERIES].tolist()
        for path, chosen in ((labelled, rows[:PHOTO_SHOTS]), (unlabelled, rows[PHOTO_SHOTS:])):
            with writing(path):
                (path / name).mkdir(parents=True, exist_ok=True)
                for row in chosen:
                    domain.image(row).save(path / name / f"{row}.png")
