"""`smat methods`: the systems that can be trained or compared."""

from rich.console import Console
from rich.table import Table

from smat.metatuning.methods import METHODS, Method


def methods() -> dict[str, Method]:
    """List the systems that can be trained and compared: what each is, and who proposed it.

    Example: smat methods

    Returns:
        Each of them, by name.
    """
    table = Table("method", "what it is", "proposed by", "trained")
    table.columns[0].no_wrap = True  # names are to be copied
    for name, method in METHODS.items():
        table.add_row(name, method.summary, method.paper, "smat train --method" if method.trained else "-")
    Console().print(table)
    return dict(METHODS)
