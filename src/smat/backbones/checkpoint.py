"""Where a transformers checkpoint lies and what its small files say."""

import json
from collections.abc import Mapping
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
from smat.errors import BackboneError


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
        values = self._preprocessor()
        if values is None:
            return None
        if values.get("do_normalize") is False:
            return (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
        return _three(values.get("image_mean", IMAGENET_MEAN)), _three(values.get("image_std", IMAGENET_STD))

    def crop_size(self) -> int | None:
        """Side in pixels of the square that images are cropped to, from the same file; None where they are not."""
        values = self._preprocessor() or {}
        crop = values.get("crop_size") if values.get("do_center_crop", True) else None
        sides = {crop.get("height"), crop.get("width")} if isinstance(crop, dict) else {crop}
        (side,) = sides if len(sides) == 1 else (None,)
        return side if type(side) is int and side > 0 else None

    def _preprocessor(self) -> Mapping[str, Any] | None:
        """What is done to images, None where no file says it."""
        values = self._json("preprocessor_config.json")
        return (self._json("processor_config.json") or {}).get("image_processor") if values is None else values

    def _json(self, file: str) -> dict[str, Any] | None:
        path = self._path(file)
        if path is None:
            return None
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise BackboneError(
                f"backbone {self.name!r}: {file} is not JSON ({error}); fetch the file again"
            ) from error
        if not isinstance(values, dict):
            raise BackboneError(f"backbone {self.name!r}: {file} holds no JSON object; fetch the file again")
        return values

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


def _three(values: Any) -> Triple:
    red, green, blue = [values] * 3 if isinstance(values, int | float) else values
    return float(red), float(green), float(blue)
