"""The commands: which function of `smat.recipes` each is, and what its help says."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Command:
    """A command.

    Attributes:
        function: `module:name` in `smat.recipes`; only that of the command that is used is imported.
        summary: what it does, in a line.
        example: how it is used.
        basic: options that `--help` shows, in its order, where there are more than a dozen; `--help-all` shows all.
    """

    function: str
    summary: str
    example: str
    basic: tuple[str, ...] = ()


COMMANDS = {
    "quickstart": Command(
        "quickstart:quickstart",
        "meta-tune and evaluate a small network on procedural images: no download, a few minutes",
        "smat quickstart",
    ),
    "train": Command(
        "train:train",
        "meta-tune a backbone on several domains",
        "smat train --config src/smat/configs/real_small.yaml --out runs/first\n"
        "  smat train --config src/smat/configs/real_small.yaml --method pmf --out runs/pmf\n"
        "  smat train --config runs/first/config.yaml --out runs/first --resume\n"
        "  smat train --config src/smat/configs/real_small.yaml --find-lr --out runs/own-rate\n"
        "  smat train --config src/smat/configs/pocket.yaml --tuning.tasks 200 --out runs/short",
        basic=(
            "config",
            "method",
            "out",
            "resume",
            "find_lr",
            "domains",
            "backbone",
            "image_size",
            "episodes.way",
            "episodes.shot",
            "pool.experts",
            "tuning.tasks",
            "tuning.target_sparsity",
            "tuning.seed",
            "workers",
        ),
    ),
    "evaluate": Command(
        "evaluate:evaluate",
        "measure checkpoints, and their frozen backbone, on few-shot tasks of domains",
        "smat evaluate runs/first/best ../shared/data/flowers.parquet ../shared/data/cars.parquet --output two.json\n"
        "  smat evaluate smat=runs/smat/best pmf=runs/pmf/best pocket-ood --episodes 100 --against pmf --tables both",
        basic=(
            "method",
            "against",
            "head",
            "adapt",
            "way",
            "shot",
            "sampler",
            "split",
            "episodes",
            "episodes_from",
            "seed",
            "output",
            "tables",
            "card",
            "workers",
        ),
    ),
    "fit": Command(
        "fit:fit",
        "make a classifier of a few labelled images, as a folder to keep and use",
        "smat fit facebook/dinov2-small --support photos/labelled --out birds\n"
        "  smat fit --support photos/labelled --out birds --reject 0.05 --thumbnails",
        basic=("support", "out", "reject", "thumbnails", "download", "adapt", "head", "skip_bad", "device"),
    ),
    "grow": Command(
        "fit:grow",
        "add images or classes to such a classifier, remove or rename a class",
        "smat grow birds --add photos/more\n  smat grow birds --rename 'barn owl' --to owl --out birds2",
    ),
    "predict": Command(
        "predict:predict",
        "label a folder of images with a saved classifier, or given a few labelled ones",
        "smat predict birds/ --query photos/new --output labels.csv --sort sorted/ --report labels.html\n"
        "  smat predict runs/first/best --support photos/labelled --query photos/new --adapt lora",
        basic=("query", "support", "output", "sort", "report", "reject", "adapt", "head", "skip_bad", "device"),
    ),
    "review": Command(
        "review:review",
        "list labelled images of a saved classifier that may be wrong: labels, duplicates, odd ones out",
        "smat review birds/\n  smat review birds/ --report review.html",
    ),
    "export": Command(
        "export:export",
        "write a classifier as what runs without smat: ONNX, PyTorch, a web page, or for transformers",
        "smat export birds/ --to onnx --out birds.onnx\n"
        "  smat export birds/ --to onnx --out small.onnx --precision int8 --check photos/new\n"
        "  smat export birds/ --to web --out birds-web",
    ),
    "app": Command(
        "app:app",
        "open a page on this machine to make a classifier from photos, try it, and take it along",
        "smat app\n  smat app birds/",
    ),
    "reproduce": Command(
        "reproduce.run:reproduce",
        "train and evaluate what a comparison of the paper needs, on the same tasks, and make its tables",
        "smat reproduce table1 src/smat/configs/real_small.yaml --out runs/compare --workers 0\n"
        "  smat reproduce table2 src/smat/configs/real_small.yaml --checkpoint [smat=runs/first/best]\n"
        "  smat reproduce overfitting src/smat/configs/pocket.yaml --domains [pocket] --episodes 50",
        basic=(
            "out",
            "methods",
            "checkpoint",
            "seeds",
            "adapt",
            "domains",
            "episodes",
            "way",
            "shot",
            "workers",
            "device",
        ),
    ),
    "analyse": Command(
        "analyse.run:analyse",
        "show what the experts of a meta-tuned pool learned: a page, its figures, and tables",
        "smat analyse runs/first --out runs/first-analysis\n"
        "  smat analyse runs/first ../shared/data/omniglot.parquet ../shared/data/flowers.parquet --out analysis\n"
        "  smat analyse runs/first pocket-ood --against runs/second --support photos/mine --out both",
        basic=(
            "out",
            "against",
            "support",
            "tasks",
            "grid_tasks",
            "gradient_tasks",
            "way",
            "shot",
            "split",
            "seed",
            "workers",
            "device",
        ),
    ),
    "pack": Command(
        "pack:pack",
        "pack a trained pool for use: the same networks at a fraction of the size",
        "smat pack runs/first/best small\n  smat pack runs/first/best smaller --lossy",
    ),
    "publish": Command(
        "publish:publish",
        "put a pool on the Hugging Face hub, or show what would be there",
        "smat publish runs/first/best me/experts --licence apache-2.0 --dry-run\n"
        "  smat predict me/experts --support photos/labelled --query photos/new",
    ),
    "import-checkpoint": Command(
        "import_checkpoint:import_checkpoint",
        "make a pool of a checkpoint of the authors' code, or of a vision transformer that was tuned",
        "smat import-checkpoint downloads/experiments/smat runs/authors\n"
        "  smat import-checkpoint pmf.pth runs/pmf --pretrained facebook/dino-vits16",
    ),
    "import-delta": Command(
        "import_delta:import_delta",
        "make a pool of networks that others have tuned from one: an expert of each",
        "smat import-delta facebook/dino-vits16 birds.safetensors cars.pt --out runs/experts\n"
        "  smat import-delta facebook/dinov2-small birds/ cars/ --out runs/experts --routing prototypes \\\n"
        "      --domains [data/birds.parquet,data/cars.parquet]",
        basic=("out", "peft", "routing", "domains", "tasks", "image_size", "way", "shot", "split", "seed", "workers"),
    ),
    "export-delta": Command(
        "export_delta:export_delta",
        "write each expert of a pool as a task vector and as a whole network, for other tools",
        "smat export-delta runs/first/best vectors",
    ),
    "methods": Command("methods:methods", "list the systems that can be trained and compared", "smat methods"),
    "networks": Command(
        "networks:networks",
        "list the networks on this machine: what each is good for, how large, and how fast",
        "smat networks\n  smat networks runs/first ../shared/backbone --speed false\n  smat networks --hub",
    ),
    "bench": Command(
        "bench.run:bench",
        "time training tasks, evaluation episodes and the interpolation against plain eager code",
        "smat bench --output bench.json\n  smat bench data --help",
        basic=("what", "precision", "backbone", "image_size", "experts", "repeats", "threads", "device", "output"),
    ),
    "bench data": Command(
        "bench.data:bench_data",
        "time reading episodes of images from disk, against one HDF5 file per class",
        "smat bench data --output bench_data.json",
    ),
    "data import": Command(
        "data.imports:data_import",
        "bring in Meta-Dataset and other image collections as they are on disk",
        "smat data import metadataset /data/records data/\n"
        "  smat data import cifar downloads/cifar-100-python data/\n"
        "  smat data import folder photos/birds data/ --max-side 512",
    ),
    "data doctor": Command(
        "data.doctor:data_doctor",
        "look for what is wrong with a domain, and say how to mend it",
        "smat data doctor data/cifar100",
    ),
    "data show": Command(
        "data.show:data_show",
        "a contact sheet of a domain's classes, or of an episode as the network sees it",
        "smat data show data/cifar100 --output sheet.png\n  smat data show data/cifar100 --episode 3",
        basic=("episode", "output", "split", "classes", "images", "way", "shot", "sampler", "image_size", "seed"),
    ),
    "data episodes": Command(
        "data.episodes:data_episodes",
        "write down which images episodes are made of, so that two systems see the same tasks",
        "smat data episodes data/cifar100 --episodes 600 --output cifar100.jsonl\n"
        "  smat evaluate runs/first/best data/cifar100 --episodes-from cifar100.jsonl",
        basic=("output", "episodes", "way", "shot", "query", "sampler", "split", "seed"),
    ),
}

GROUPS = {
    "": "Few-shot image classification with sparse interpolated experts. Begin with: smat quickstart",
    "data": "Image collections: from their authors' files to domains that episodes are drawn from.",
}


def command_of(arguments: list[str]) -> tuple[str | None, str | None]:
    """The command that arguments begin with, and its group (the first word of a command of two): None for neither."""
    first, two = " ".join(arguments[:1]), " ".join(arguments[:2])
    if first and (first in GROUPS or (two != first and two in COMMANDS)):
        return two if two in COMMANDS else None, first
    return next((a for a in arguments if a in COMMANDS), None), None
