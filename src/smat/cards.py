"""Cards: the `README.md` that says what a folder holds, for whoever finds it there or on the hub."""

from collections.abc import Sequence
from typing import Any

from huggingface_hub import ModelCardData


def card(text: str, **head: Any) -> str:
    """A card in Markdown, with a head in YAML that the hub reads.

    Args:
        text: the card without its head.
        head: fields of the head over the usual ones, as `huggingface_hub.ModelCardData` takes them.
    """
    usual = {"library_name": "smat", "pipeline_tag": "image-classification", "tags": ["few-shot"]}
    data = ModelCardData(**(usual | {name: value for name, value in head.items() if value}))
    return f"---\n{data.to_yaml()}\n---\n{text}"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown; columns whose every field begins with a number are set to the right."""
    numbers = [all(_is_number(field) for field in column) for column in zip(*rows, strict=True)]
    marks = ["---:" if number else "---" for number in numbers]
    lines = [header, marks, *([escaped(field) for field in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def escaped(text: str) -> str:
    """Text that stays what it is in a line or a field of Markdown."""
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\r", " ").replace("\n", " ")


def _is_number(field: str) -> bool:
    return not field or field.lstrip("+-")[:1].isdecimal()
