"""From image collections as their authors distribute them to domains on disk.

`list_sources` says which domains a source has, and `import_domain` writes one to a folder, which `open_domain` opens. A
kind of source of one's own is a subclass of `Kind`; `make_listing` makes a listing from rows that say an image and its
class, and `class_files`, `read_lines` and `unparsed` help to find these.
"""

from smat.domains.imported import Imported, Refused
from smat.importing.engine import import_domain
from smat.importing.files import class_files
from smat.importing.kind import Kind, Known
from smat.importing.kinds import KINDS, expected_counts, expected_images, find_kind, list_sources
from smat.importing.listing import Found, Listing, Part
from smat.importing.lists import Row, make_listing, read_lines, unparsed

__all__ = [
    "KINDS",
    "Found",
    "Imported",
    "Kind",
    "Known",
    "Listing",
    "Part",
    "Refused",
    "Row",
    "class_files",
    "expected_counts",
    "expected_images",
    "find_kind",
    "import_domain",
    "list_sources",
    "make_listing",
    "read_lines",
    "unparsed",
]
