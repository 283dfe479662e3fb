"""`smat publish`: a pool on the Hugging Face hub, after a look at what that shows of its maker."""

import json
import re
import tempfile
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from smat.errors import ConfigError, one_line
from smat.experts import SparseInterpolatedExperts, pack
from smat.experts.card import without_figures
from smat.experts.storage import CHECKSUMS, CONFIG, WEIGHTS, checksum
from smat.left_out import leave_out
from smat.schema import checked_arguments

_TEXTS = (".md", ".json", ".svg")
_PATHS = re.compile(
    r"(?<![\w:/.])(?:(?:/(?:home|Users|root|mnt|media|tmp|private|scratch|work)|~|\.\.)/|file://|[A-Za-z]:\\\\?)[^\s\"'<>)|`]+"
)


@dataclass(frozen=True)
class Published:
    """What is, or would be, on the hub.

    Attributes:
        repository: name of the repository.
        files: size of each file in bytes.
        packed: whether it is packed for use.
        licence: its licence; None where none is said.
        commit: hash of the commit, to have just this version (`OWNER/NAME@COMMIT`); None after a dry run.
    """

    repository: str
    files: dict[str, int]
    packed: bool
    licence: str | None
    commit: str | None = None


@checked_arguments
def publish(
    checkpoint: str,
    repository: str,
    *,
    dry_run: bool = False,
    packing: Literal["exact", "lossy", "none"] = "exact",
    licence: str | None = None,
    private: bool = False,
    revision: str | None = None,
    figures: bool = False,
    allow_imports: Collection[str] = (),
) -> Published:
    """Publish a pool on the Hugging Face hub: packed for use, with its card.

    Log in first: `hf auth login`. Nothing is uploaded that has a path of this machine in its text, and no figures,
    which may show your images, unless `figures` says so. Whoever uses the pool has its files compared with their
    hashes.

    Example: smat publish runs/first/best me/experts --licence apache-2.0 --dry-run

    Args:
        checkpoint: folder of a checkpoint.
        repository: name on the hub, OWNER/NAME; it is made if it is not there.
        dry_run: show what would be uploaded, and upload nothing.
        packing: kind of packing (`smat pack`): `exact`, the same networks from fewer bytes, unless the experts are of a
            kind that cannot be packed; `lossy`, with rounded numbers; or `none`, so that the pool can be tuned further.
        licence: licence of the pool, such as apache-2.0; by default the one on its card.
        private: make the repository visible to you alone, if it is new.
        revision: branch to upload to, which is made if it is not there; by default main.
        figures: publish the figures of the card too.
        allow_imports: packages whose code may be imported where the checkpoint names classes outside smat.

    Returns:
        What is on the hub now, or would be.

    Raises:
        SmatError: if there is no such checkpoint, it cannot be packed so, a text has a path of this machine, or the hub
            refuses it.
    """
    pool = _ready(SparseInterpolatedExperts.from_pretrained(checkpoint, allow_imports=allow_imports), packing, figures)
    head = {"license": licence} if licence else {}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "pool"
        pool.save_pretrained(folder, model_card_kwargs=head)
        sums = {name: checksum(folder / name) for name in (CONFIG, WEIGHTS)}
        (folder / CHECKSUMS).write_text(json.dumps(sums, indent=1) + "\n", encoding="utf-8")
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        sizes = {path.relative_to(folder).as_posix(): path.stat().st_size for path in files}
        said = pool.card.metadata.get("license")
        found = Published(repository, sizes, bool(pool.config.packed), str(said) if said else None)
        _show(found, private)
        _check_texts(folder, files)
        if not dry_run:
            found = replace(found, commit=_upload(folder, repository, private, revision))
    console = Console()
    if found.commit is None:
        console.print("a dry run: nothing was uploaded")
    else:
        console.print(f"published: {repository}@{found.commit}", soft_wrap=True, highlight=False)
    return found


def _ready(pool: SparseInterpolatedExperts, packing: str, figures: bool) -> SparseInterpolatedExperts:
    """The pool as it is published."""
    if packing != "none" and not pool.config.packed:
        try:
            pool = pack(pool, lossy=packing == "lossy")
        except ConfigError as error:
            if packing == "lossy":
                raise ConfigError(f"it cannot be packed: {error}. Give --packing none") from error
            Console().print(f"not packed: {error}", soft_wrap=True, markup=False, highlight=False)
    spec = pool.backbone.spec
    if spec.name.startswith((".", "/", "~")) or spec.name.count("/") > 1:  # where it lies here is of no use elsewhere
        pool.backbone.spec = replace(spec, name=Path(spec.name).name)
    if pool.card.analysis and pool.card.analysis.figures and not figures:
        names = [figure.file for figure in pool.card.analysis.figures]
        leave_out("figure", "figures may show your images; look at them, and publish them by --figures", names)
        shown = replace(pool.card.analysis, figures=[])
        pool.card = replace(pool.card, analysis=shown, files=without_figures(pool.card.files))
    return pool


def _check_texts(folder: Path, files: Collection[Path]) -> None:
    """Raise a `ConfigError` if a text has paths of this machine in it."""
    own = {str(Path.home()), str(Path.cwd())} - {"/"}
    for path in (path for path in files if path.suffix in _TEXTS):
        text = path.read_text(encoding="utf-8", errors="replace")
        found = [match[0] for match in _PATHS.finditer(text)] + [name for name in own if name in text]
        if found:
            name = path.relative_to(folder).as_posix()
            raise ConfigError(
                f"{name} would show paths of this machine: {', '.join(sorted(set(found))[:3])}. Nothing was uploaded. "
                "Take them out of the text (README.md), or of the settings (pool.card)"
            )


def _upload(folder: Path, repository: str, private: bool, revision: str | None) -> str:
    api = HfApi()
    try:
        api.create_repo(repository, private=private, exist_ok=True)
        if revision:
            api.create_branch(repository, branch=revision, exist_ok=True)
        done = api.upload_folder(
            repo_id=repository, folder_path=folder, revision=revision, commit_message="Pool of experts, by smat publish"
        )
    except OfflineModeIsEnabled as error:
        raise ConfigError("nothing was uploaded: offline mode is on (unset HF_HUB_OFFLINE)") from error
    except HFValidationError as error:
        raise ConfigError(f"{repository!r} is no name on the hub: give OWNER/NAME") from error
    except (HfHubHTTPError, OSError) as error:
        status = getattr(getattr(error, "response", None), "status_code", None)
        advice = "log in by `hf auth login`, with a token that may write there" if status in (401, 403) else "try again"
        raise ConfigError(f"the hub refused {repository}: {one_line(error)[:300]}; {advice}") from error
    return done.oid


def _show(found: Published, private: bool) -> None:
    table = Table("file", "MB", title=f"{escape(found.repository)}{' (private)' if private else ''}")
    table.columns[1].justify = "right"
    for name, size in found.files.items():
        table.add_row(escape(name), f"{size / 1e6:.2f}")
    console = Console()
    console.print(table)
    licence = found.licence or "none is said: give --licence, or nobody may use it"
    console.print(f"licence: {licence}", soft_wrap=True, markup=False, highlight=False)
