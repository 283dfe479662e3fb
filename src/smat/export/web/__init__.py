"""A classifier as a web page that runs it in the browser."""

from smat.export.web.folder import export_web, write_web
from smat.export.web.runtime import PACKAGE, VERSION

__all__ = ["PACKAGE", "VERSION", "export_web", "write_web"]
