"""`smat quickstart`: the whole way, on images made by formulas, without any download."""

from importlib.resources import files
from pathlib import Path

from rich.console import Console

from smat.domains.pocket import pocket_domains
from smat.errors import ConfigError
from smat.metatuning.run_config import TrainConfig, load_config
from smat.recipes.evaluate import evaluate
from smat.recipes.predict import predict
from smat.recipes.train import train

PHOTO_DOMAIN, PHOTO_CLASSES, PHOTO_SHOTS, PHOTO_QUERIES = "molecules", 4, 5, 15


def shipped_config(name: str, *overrides: str) -> TrainConfig:
    """A configuration of the package by name, with overrides as on the command line (`--tuning.tasks=100`)."""
    return load_config([str(files("smat") / "configs" / f"{name}.yaml")], *overrides)


def quickstart(*, out: str = "runs/quickstart", tasks: int | None = None, episodes: int = 40) -> dict[str, Path]:
    """Meta-tune a small network, evaluate it against the untouched one, and label a folder of images with it.

    Everything is made on the spot: the images by formulas, six families to tune on and five foreign ones.

    Args:
        out: the folder for all results; it must not hold a run yet.
        tasks: number of training tasks; the shipped configuration's by default.
        episodes: evaluation episodes a domain.

    Returns:
        Where everything lies, by name.

    Raises:
        ConfigError: the folder holds a run already.
    """
    console, folder = Console(), Path(out)
    if (folder / "training").exists():
        raise ConfigError(f"{folder} holds a quickstart already: remove it, or choose another folder with --out")
    overrides = [] if tasks is None else [f"--tuning.tasks={tasks}", f"--tuning.validate_every={tasks}"]
    places = {
        "meta-tuned pool": folder / "training" / "best",
        "training log": folder / "training" / "log.jsonl",
        "accuracies": folder / "evaluation.json",
        "labelled images": folder / "images" / "labelled",
        "images to label": folder / "images" / "unlabelled",
        "predictions": folder / "predictions.csv",
    }
    console.rule("1/3  meta-tune on six families of images")
    train(shipped_config("pocket", *overrides), out=str(folder / "training"))

    console.rule("2/3  classify tasks of unseen classes, in those families and in five foreign ones")
    evaluate(
        str(places["meta-tuned pool"]),
        ["pocket"],
        episodes=episodes,
        workers=0,
        output=str(places["accuracies"]),
    )

    console.rule(f"3/3  label a folder of images of {PHOTO_CLASSES} new classes, given {PHOTO_SHOTS} of each")
    write_images(places["labelled images"], places["images to label"])
    predict(
        str(places["meta-tuned pool"]),
        support=str(places["labelled images"]),
        query=str(places["images to label"]),
        output=str(places["predictions"]),
    )
    console.rule("where everything lies")
    for name, place in places.items():
        console.print(f"{name:>16}  {place}", highlight=False)
    console.print(
        "\nWith your own images: smat predict "
        f"{places['meta-tuned pool']} --support FOLDER_OF_CLASS_FOLDERS --query FOLDER",
        highlight=False,
    )
    return places


def write_images(labelled: Path, unlabelled: Path) -> None:
    """Write a few labelled images in class folders, and others to label, in class folders too so that it is scored."""
    (domain,) = (d for d in pocket_domains() if d.name == PHOTO_DOMAIN)
    for name in domain.classes("test")[:PHOTO_CLASSES]:
        rows = domain.rows(name)[: PHOTO_SHOTS + PHOTO_QUERIES].tolist()
        for place, chosen in ((labelled, rows[:PHOTO_SHOTS]), (unlabelled, rows[PHOTO_SHOTS:])):
            (place / name).mkdir(parents=True, exist_ok=True)
            for row in chosen:
                domain.image(row).save(place / name / f"{row}.png")
