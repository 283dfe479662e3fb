"""Collections of images by class: from files, folders, imports and the hub, or made on the spot."""

from smat.domains.catalogue import DataOptions, DomainConfig, one_by_one, open_domains
from smat.domains.domain import SPLITS, Domain, Role, Split
from smat.domains.folders import list_images
from smat.domains.grey import GreyRange, RangeOption
from smat.domains.image_domain import BadImage, ImageDomain, check_images, open_domain
from smat.domains.images import ImageSource, canvas, find_range, load_image
from smat.domains.layout import read_class_folders
from smat.domains.opening import MAX_PIXELS

__all__ = [
    "MAX_PIXELS",
    "SPLITS",
    "BadImage",
    "DataOptions",
    "Domain",
    "DomainConfig",
    "GreyRange",
    "ImageDomain",
    "ImageSource",
    "RangeOption",
    "Role",
    "Split",
    "canvas",
    "check_images",
    "find_range",
    "list_images",
    "load_image",
    "one_by_one",
    "open_domain",
    "open_domains",
    "read_class_folders",
]
