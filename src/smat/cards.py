"""Cards: the `README.md` that says what a folder holds, for whoever finds it there or on the hub."""

import re
from collections.abc import Sequence
from typing import Any

from huggingface_hub import ModelCardData


def card(text: str, *, tags: Sequence[str] = (), **head: Any) -> str:
    """A card in Markdown, with a head in YAML that the hub reads.

    Args:
        text: the card without its head.
        tags: tags besides the usual one.
        head: fields of the head over the usual ones, as `huggingface_hub.ModelCardData` takes them; what is empty is
            left out.
    """
    usual: dict[str, Any] = {"library_name": "smat", "pipeline_tag": "image-classification"}
    fields = usual | {name: value for name, value in head.items() if value}
    data = ModelCardData(**fields, tags=["few-shot", *tags])
    return f"---\n{data.to_yaml()}\n---\n{text}"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown: columns of numbers are set to the right, and those without any entry are left out."""
    columns = [[name, *fields] for name, *fields in zip(header, *rows, strict=True) if any(fields)]
    marked = [[name, "---:" if all(map(_is_number, fields)) else "---", *fields] for name, *fields in columns]
    return "".join(f"| {' | '.join(map(escaped, line))} |\n" for line in zip(*marked, strict=True))


def escaped(text: str) -> str:
    """Text that stays what it is in a line or a field of Markdown."""
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\r", " ").replace("\n", " ")


def _is_number(field: str) -> bool:
    return not field or re.fullmatch(r"[+-]?[0-9.]+( ± [0-9.]+)?", field) is not None
