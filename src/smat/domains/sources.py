"""What a source is, by its path or name: an import, parquet files, class folders or a data set of the hub."""

import re
from pathlib import Path

from smat.domains.columns import ColumnNames
from smat.domains.folders import Scan, printable
from smat.domains.imported import is_imported
from smat.domains.parquet import parquet_files, parquet_table
from smat.domains.tables import ImageTable, folder_table, hub_table, imported_table
from smat.errors import ConfigError, DataError


def open_table(
    source: str | Path, columns: ColumnNames, *, verify: bool = False
) -> tuple[ImageTable, Path | None, str]:
    """The table of a source, its path where there is one, and the name of its domain unless it is given another.

    Args:
        source: as for `open_domain`.
        columns: columns of the images and the labels.
        verify: compare the content with its hash.

    Raises:
        DataError: no such source, or nothing in it that can be used.
        ConfigError: columns of a source that has none.
    """
    path = Path(source)
    name = printable(path.resolve().name if path.is_dir() else path.stem)
    if path.is_file() or (path.is_dir() and _is_sharded(path)):
        return parquet_table(path, columns, verify=verify), path, name
    if path.is_dir():
        if columns != ColumnNames():
            raise ConfigError(f"'{source}' has no columns: leave out --image-column and --label-column")
        return imported_table(path, verify=verify) if is_imported(path) else folder_table(path), path, name
    if origin := hub_name(source):
        return hub_table(origin, columns), None, origin.rpartition("/")[2]
    raise DataError(
        f"there is no file or folder '{source}'; give a parquet file, a folder of class folders, or hub:owner/name"
    )


def hub_name(source: str | Path) -> str | None:
    """The name of a data set on the hub; None for a file or folder, or where it cannot be such a name."""
    path = Path(source)
    if path.is_file() or path.is_dir() or path.suffix == ".parquet":
        return None
    hub = re.fullmatch(r"hub:([\w.-]+(?:/[\w.-]+)?)|([\w-][\w.-]*/[\w.-]+)", str(source))
    return (hub[1] or hub[2]) if hub else None


def _is_sharded(folder: Path) -> bool:
    """Whether a folder holds the parquet files of one table, and no images."""
    if is_imported(folder) or not parquet_files(folder):
        return False
    tree = Scan(folder).tree(folder)
    return not (tree.images or tree.populated())
