"""Where a transformers checkpoint lies and what its small files say."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import hf_hub_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)

from smat.backbones.spec import IMAGENET_MEAN, IMAGENET_STD, Triple
from smat.errors import BackboneError, SmatError
from smat.schema import Finite, Positive, from_plain, read_json
from smat.weights import Header, read_header


@dataclass(frozen=True)
class _Preprocessor:
    """What is read of `preprocessor_config.json`; one number stands for all colours."""

    do_normalize: bool | None = None
    image_mean: Triple | tuple[Finite] | Finite = IMAGENET_MEAN
    image_std: tuple[Positive, Positive, Positive] | tuple[Positive] | Positive = IMAGENET_STD


@dataclass(frozen=True)
class Checkpoint:
    """A transformers checkpoint, on the hub or in a local folder.

    Attributes:
        name: what the user asked for, for messages.
        source: the folder or hub name that transformers loads from.
    """

    name: str
    source: str

    @classmethod
    def find(cls, name: str) -> "Checkpoint":
        """The checkpoint of a local folder where there is one, otherwise of the hub.

        Raises:
            BackboneError: `name` reads as a path, but no folder is there.
        """
        folder = Path(name).expanduser()
        if folder.is_dir():
            return cls(name, str(folder))
        if name.startswith((".", "~")) or folder.is_absolute() or name.count("/") > 1 or folder.exists():
            raise BackboneError(
                f"backbone {name!r}: there is no such folder; a transformers checkpoint is a folder with "
                "config.json and model.safetensors, or a hub name such as 'facebook/dino-vits16'"
            )
        return cls(name, name)

    def config(self) -> dict[str, Any]:
        """The contents of `config.json`.

        Raises:
            BackboneError: there is no such checkpoint or file, the hub cannot be reached, or the file is not
                JSON.
        """
        found = self._json("config.json")
        if found is None:
            raise BackboneError(
                f"backbone {self.name!r} has no config.json: a transformers checkpoint needs one beside its "
                "model.safetensors; for a timm network write 'timm:NAME'"
            )
        return found

    def normalisation(self) -> tuple[Triple, Triple] | None:
        """Mean and standard deviation from `preprocessor_config.json` or the like, None without one."""
        file, values = self._preprocessor()
        if values is None:
            return None
        try:
            known = _Preprocessor.__dataclass_fields__
            given = {key: values[key] for key in known if values.get(key) is not None}
            said = from_plain(given, _Preprocessor, file, BackboneError)
        except (SmatError, AttributeError) as error:
            raise BackboneError(f"backbone {self.name!r}: {error}; fetch the file again") from error
        if said.do_normalize is False:
            return (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
        return _three(said.image_mean), _three(said.image_std)

    def header(self) -> Header | None:
        """The tensors in its safetensors files, without their numbers; None where there is no such file at hand.

        Raises:
            BackboneError: a file is damaged.
        """
        folder = Path(self.source)
        try:
            paths = sorted(folder.glob("*.safetensors")) if folder.is_dir() else [self._path("model.safetensors")]
        except BackboneError:  # not there, or in several files: transformers finds them, or says that there are none
            return None
        headers = [read_header(path, BackboneError, "Copy or download it again") for path in paths if path]
        return {name: stored for header in headers for name, stored in header.items()} or None

    def crop_size(self) -> int | None:
        """Side in pixels of the square that images are cropped to, from the same file; None where they are not."""
        _, values = self._preprocessor()
        values = values or {}
        crop = values.get("crop_size") if values.get("do_center_crop", True) else None
        sides = {crop.get("height"), crop.get("width")} if isinstance(crop, dict) else {crop}
        (side,) = sides if len(sides) == 1 else (None,)
        return side if type(side) is int and side > 0 else None

    def _preprocessor(self) -> tuple[str, dict[str, Any] | None]:
        """The file that says what is done to images, and what it says; None where there is no such file."""
        file, values = "preprocessor_config.json", self._json("preprocessor_config.json")
        if values is None:
            file = "processor_config.json"
            values = (self._json(file) or {}).get("image_processor")
        return file, values

    def _json(self, file: str) -> dict[str, Any] | None:
        path = self._path(file)
        return path and read_json(path, dict, BackboneError, "Fetch the file again")

    def _path(self, file: str) -> Path | None:
        folder = Path(self.source)
        if folder.is_dir():
            return folder / file if (folder / file).is_file() else None
        try:
            return Path(hf_hub_download(self.source, file))
        except GatedRepoError as error:
            raise BackboneError(
                f"backbone {self.name!r} is gated: accept its terms on its hub page, then log in with `hf auth login`"
            ) from error
        except RepositoryNotFoundError as error:
            raise BackboneError(
                f"backbone {self.name!r} is neither a local folder nor a name on the hub: check the spelling "
                "(names look like 'facebook/dino-vits16'); a private one needs `hf auth login`"
            ) from error
        except HFValidationError as error:
            raise BackboneError(
                f"backbone {self.name!r} is not a valid hub name ({error}), nor a local folder; names look "
                "like 'facebook/dino-vits16'"
            ) from error
        except (LocalEntryNotFoundError, OfflineModeIsEnabled) as error:
            raise BackboneError(
                f"backbone {self.name!r} is no local folder, and the hub cannot be reached (no network, or "
                "offline mode), nor is it in the local cache: connect to the network, or give a folder with "
                "config.json and model.safetensors, or use 'pocket', which is shipped with smat"
            ) from error
        except EntryNotFoundError:
            return None
        except OSError as error:
            raise BackboneError(f"backbone {self.name!r}: the hub did not give {file}: {error}; try again") from error


def _three(values: tuple[float, ...] | float) -> Triple:
    red, green, blue = [values] * 3 if isinstance(values, int | float) else values * (3 // len(values))
    return red, green, blue
