"""The image and the label column of a table."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
from datasets import ClassLabel, Features
from jaxtyping import Int

from smat.errors import DataError


@dataclass(frozen=True)
class ColumnNames:
    """Which columns are used.

    Attributes:
        image: image column; None: the one that is declared as images, or is called `image` or `img`.
        label: label column; None: the one that is called `label`, or is declared as class labels, or is called `labels`
            or `class`.
    """

    image: str | None = None
    label: str | None = None

    def choose(self, features: Mapping[str, Any], origin: str) -> tuple[str, str]:
        """The image and the label column.

        Args:
            features: what each column is declared to be, as a feature of `datasets`; None: nothing is said.
            origin: what an error calls the table.

        Raises:
            DataError: there is none, or there are several.
        """
        images = [name for name, feature in features.items() if isinstance(feature, datasets.Image)]
        images = images or [name for name in ("image", "img") if name in features]
        labels = [name for name, feature in features.items() if isinstance(feature, ClassLabel)]
        named = [name for name in ("labels", "class") if name in features]
        labels = ["label"] if "label" in features else labels or named
        return _one("image", self.image, images, features, origin), _one("label", self.label, labels, features, origin)


def _one(what: str, given: str | None, found: list[str], features: Mapping[str, Any], origin: str) -> str:
    if given is not None:
        if given not in features:
            raise DataError(f"'{origin}' has no column '{given}'; it has {list(features)}: correct --{what}-column")
        return given
    if len(found) != 1:
        raise DataError(
            f"'{origin}' has {'several' if found else 'no'} {what} columns among {list(features)}; "
            f"say which one it is with --{what}-column ({what}_column), or call it '{what}'"
        )
    return found[0]


def declared_features(schema: pa.Schema) -> dict[str, Any]:
    """What `datasets` wrote of each column in a schema; None where it says nothing that can be used."""
    try:
        said = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, ValueError, TypeError):
        said = {}
    return {name: _feature(said.get(name) if isinstance(said, dict) else None) for name in schema.names}


def _feature(said: Any) -> Any:
    if not isinstance(said, dict) or said.get("_type") not in ("Image", "ClassLabel"):
        return None
    try:
        return Features.from_dict({"column": said})["column"]
    except Exception:  # of whatever a damaged file says
        return None


def read_labels(column: pa.ChunkedArray, feature: Any, origin: str) -> tuple[Int[np.ndarray, " rows"], tuple[str, ...]]:
    """Labels as numbers, with -1 where there is none, and the class names.

    Args:
        column: class names, as strings or as a dictionary of these (pandas' categories, of which those that no row has
            are no classes); whole numbers; or truth values.
        feature: what it is declared to be, as a feature of `datasets`; only a `ClassLabel` has a meaning.
        origin: what an error calls the table.

    Raises:
        DataError: no rows, or labels of another type.
    """
    if not len(column):
        raise DataError(f"'{origin}' has no rows; give a file with images")
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if isinstance(feature, ClassLabel) and pa.types.is_integer(column.type):
        return column.fill_null(-1).to_numpy().astype(np.int64), tuple(feature.names)
    if pa.types.is_boolean(column.type):
        column = pa.chunked_array(
            [[None if value is None else str(value) for value in column.to_pylist()]], pa.string()
        )
    if not _is_text(column.type) and not pa.types.is_integer(column.type):
        raise DataError(
            f"'{origin}' has labels of type {column.type}; expected class names, whole numbers or truth values: give "
            "another column (--label-column), or convert this one"
        )
    encoded = column.combine_chunks().dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.unify_dictionaries().combine_chunks()
    values = encoded.dictionary.to_pylist()
    order = sorted(range(len(values)), key=values.__getitem__)
    rank = np.empty(len(values) + 1, dtype=np.int64)
    rank[order] = np.arange(len(values))
    rank[-1] = -1  # where fill_null(-1) below points
    return rank[encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)], tuple(str(values[i]) for i in order)


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
