"""A page to make classifiers on: photos into classes, train, try, take along."""

from smat.app.doubts import Doubt
from smat.app.keeping import Export, Report, Writers
from smat.app.networks import Networks
from smat.app.serving import Server, check_gradio
from smat.app.session import Session
from smat.app.training import Estimate, Stopped
from smat.app.trying import Tried
from smat.app.uploads import Limits, Upload

__all__ = [
    "Doubt",
    "Estimate",
    "Export",
    "Limits",
    "Networks",
    "Report",
    "Server",
    "Session",
    "Stopped",
    "Tried",
    "Upload",
    "Writers",
    "check_gradio",
]
