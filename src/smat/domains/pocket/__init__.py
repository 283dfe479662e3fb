"""Pocket domains: procedural images, for trying everything out without a download.

Six families to meta-tune on and five out-of-distribution ones, all different in kind. Hues, poses, pens, grounds and
noise vary from image to image and say nothing about the class: the class is in the form.
"""

from collections.abc import Sequence
from typing import Any

from smat.domains.domain import Domain, Role
from smat.domains.pocket.automata import define_automata, draw_automaton
from smat.domains.pocket.domain import Family, PocketDomain
from smat.domains.pocket.faces import define_faces, draw_face
from smat.domains.pocket.fractals import define_fractals, draw_fractal
from smat.domains.pocket.glyphs import define_glyphs, draw_glyph
from smat.domains.pocket.molecules import define_molecules, draw_molecule
from smat.domains.pocket.mosaics import define_mosaics, draw_mosaic
from smat.domains.pocket.plants import define_plants, draw_plant
from smat.domains.pocket.polygons import define_polygons, draw_polygon
from smat.domains.pocket.spirographs import define_spirographs, draw_spirograph
from smat.domains.pocket.strokes import define_strokes, draw_strokes
from smat.domains.pocket.textures import define_textures, draw_texture

__all__ = ["POCKET_ID", "POCKET_OOD", "PocketDomain", "pocket_domains"]

ID_COUNTS = {"train": 40, "val": 10, "test": 14}
OOD_COUNTS = {"test": 20}

ID_FAMILIES = (
    Family("glyphs", define_glyphs, draw_glyph, flip=False),
    Family("strokes", define_strokes, draw_strokes, flip=False),
    Family("textures", define_textures, draw_texture, flip=False),
    Family("polygons", define_polygons, draw_polygon, flip=False),
    Family("fractals", define_fractals, draw_fractal, flip=False),
    Family("plants", define_plants, draw_plant, flip=True),
)
OOD_FAMILIES = (
    Family("spirographs", define_spirographs, draw_spirograph, flip=True),
    Family("mosaics", define_mosaics, draw_mosaic, flip=False),
    Family("automata", define_automata, draw_automaton, flip=False),
    Family("molecules", define_molecules, draw_molecule, flip=True),
    Family("faces", define_faces, draw_face, flip=True),
)

POCKET_ID = tuple(family.name for family in ID_FAMILIES)
POCKET_OOD = tuple(family.name for family in OOD_FAMILIES)


def pocket_domains(image_size: int = 32, images_per_class: int = 1000, seed: int = 0) -> list[Domain]:
    """All pocket domains: those to meta-tune on (`POCKET_ID`), then the out-of-distribution ones (`POCKET_OOD`).

    Args:
        image_size: side of the images in pixels, 16 or more.
        images_per_class: number of images per class; they are drawn when asked for.
        seed: random seed; another one gives other classes and images.

    Returns:
        Domains of role `"id"` with 40 training, 10 validation and 14 test classes each, and of role `"ood"` with 20
        test classes each.

    Raises:
        DataError: an image size or a number of images that is too small.
    """

    def drawn(role: Role, families: Sequence[Family], counts: dict[str, int]) -> list[Domain]:
        options: dict[str, Any] = {
            "role": role,
            "image_size": image_size,
            "images_per_class": images_per_class,
            "seed": seed,
        }
        return [PocketDomain(family, counts, **options) for family in families]

    return drawn("id", ID_FAMILIES, ID_COUNTS) + drawn("ood", OOD_FAMILIES, OOD_COUNTS)
