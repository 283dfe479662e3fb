"""FGVCx Fungi 2018: annotations of training and validation images, which are joined."""

from pathlib import Path

from smat.domains.imported import Refused
from smat.importing.class_splits import META_DATASET
from smat.importing.coco import by_id, read_tables
from smat.importing.files import shown
from smat.importing.kind import Kind, Known
from smat.importing.listing import Listing
from smat.importing.lists import Row, make_listing

_LISTS = ("train.json", "val.json")


class Fungi(Kind):
    """All labelled images, divided by classes as Meta-Dataset does."""

    name = "fungi"
    summary = "FGVCx Fungi"
    files = "images, train.json and val.json"
    landmarks = ("train.json", "val.json")
    known = (Known(("fungi",), "FGVCx Fungi", 1394, 89_760, splits=(994, 200, 200)),)
    splits = META_DATASET["fungi"]

    def list_domains(self, root: Path) -> list[Listing]:
        """One domain, whose classes have Meta-Dataset's names: `0226.Cortinarius malicorius`."""
        refused: list[Refused] = []
        rows: list[Row] = []
        names: dict[int, str] = {}
        lists = [root / name for name in _LISTS if (root / name).is_file()]
        for path in lists:
            tables = read_tables(root, path)
            place = shown(path, root)
            categories = by_id(tables["categories"], "name", f"{place}, category", refused)
            names |= {number: f"{number:04d}.{name}" for number, name in categories.items()}
            files = by_id(tables["images"], "file_name", f"{place}, image", refused)
            for position, entry in enumerate(tables["annotations"]):
                image, category = (
                    (entry.get("image_id"), entry.get("category_id")) if isinstance(entry, dict) else (None, None)
                )
                where = f"{place}, annotation {position}"
                if type(image) is not int or image not in files:
                    refused.append(Refused(where, f"its image {image!r:.40} is none of those listed"))
                elif type(category) is not int or category not in names:
                    refused.append(Refused(where, f"its category {category!r:.40} is none of those listed"))
                else:
                    rows.append(Row(where, files[image], names[category]))
        present = {row.label for row in rows}
        classes = [name for _, name in sorted(names.items()) if name in present]
        notes = [f"there is no {name}: its images are missing" for name in _LISTS if root / name not in lists]
        return [make_listing(self, root, rows, classes, refused, lists, notes=notes)]
