"""Comparisons as files: pages in Markdown, tables in LaTeX, and every number in CSV."""

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from smat.evaluation.comparison import Comparison
from smat.evaluation.sheet import Field, make_sheet
from smat.files import check_writable, write_whole

_MOST = 16  # methods that have columns on a page; more of them become rows, with averages only
_NAMES = ("domain", "role", "method")  # headings of columns of text


def table_paths(stem: str | Path) -> list[Path]:
    """The files that `write_tables` writes.

    Raises:
        ConfigError: if one of them cannot be written.
    """
    return [check_writable(f"{stem}{end}") for end in (".md", ".csv", ".tex")]


def write_tables(comparisons: Sequence[Comparison], stem: str | Path) -> list[Path]:
    """Write comparisons as `stem`.md, .csv and .tex, and give these files.

    Raises:
        ConfigError: if one of them cannot be written.
    """
    texts = (
        "\n".join(map(comparison_markdown, comparisons)),
        comparison_csv(comparisons),
        "\n".join(map(comparison_latex, comparisons)),
    )
    paths = table_paths(stem)
    for path, text in zip(paths, texts, strict=True):
        write_whole(path, text, keep=True)
    return paths


def comparison_markdown(comparison: Comparison) -> str:
    """A page with a table of accuracies, of paired differences and of calibration errors; the best in bold."""
    text = f"### {comparison.title}\n"
    for title, header, sections in _tables(comparison):
        marks = ["---" if heading in _NAMES else "---:" for heading in header]
        body = [_marked(row, _markdown, "**{}**") for rows in sections for row in rows]
        text += f"\n{title[0].upper()}{title[1:]}:\n\n"
        text += "".join(f"| {' | '.join(row)} |\n" for row in [list(map(_markdown, header)), marks, *body])
    return text


def comparison_latex(comparison: Comparison) -> str:
    """The same tables as tabulars for the package booktabs."""
    text = f"% {comparison.title}\n"
    for title, header, sections in _tables(comparison):
        columns = "".join("l" if heading in _NAMES else "r" for heading in header)
        body = "\\midrule\n".join(
            "".join(_latex_row(_marked(row, _latex, r"\textbf{{{}}}")) for row in rows) for rows in sections
        )
        text += (
            f"% {title}\n\\begin{{tabular}}{{{columns}}}\n\\toprule\n{_latex_row(list(map(_latex, header)))}"
            f"\\midrule\n{body}\\bottomrule\n\\end{{tabular}}\n"
        )
    return text


def _tables(comparison: Comparison) -> Iterator[tuple[str, list[str], list[list[list[Field]]]]]:
    """Title, header and rows of a table for each kind of number; with methods as rows if there are too many."""
    for part in make_sheet(comparison, _MOST).parts():
        (title,) = part.titles.values()
        methods = [column.method for column in part.columns]
        if len(comparison.methods) > _MOST:
            rows = [row for rows in part.sections for row in rows]
            turned = [[Field(c.method), *(row.fields.get(c, Field()) for row in rows)] for c in part.columns]
            yield title, ["method", *(row.name for row in rows)], [turned]
        else:
            names, sections = part.grid()
            yield title, [*names, *methods], sections


def _marked(row: Sequence[Field], escape: Callable[[str], str], bold: str) -> list[str]:
    return [bold.format(escape(field.text)) if field.best else escape(field.text) for field in row]


def _markdown(text: str) -> str:
    return text.replace("|", r"\|")


def _latex(text: str) -> str:
    for special in "&%#_":
        text = text.replace(special, f"\\{special}")
    return text.replace(" ± ", r" $\pm$ ")


def _latex_row(fields: Sequence[str]) -> str:
    return " & ".join(fields) + " \\\\\n"


CSV_HEADER = (
    "table",
    "row",
    "role",
    "method",
    "episodes",
    "accuracy",
    "half_width",
    "seeds",
    "spread",
    "against",
    "difference",
    "difference_half_width",
    "difference_p_holm",
    "calibration_error",
)


def comparison_csv(comparisons: Sequence[Comparison]) -> str:
    """Every number, a line for each row and method; shares, not per cent."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CSV_HEADER)
    for comparison in comparisons:
        for line in [*comparison.lines, *comparison.averages]:
            for method, entry in line.entries.items():
                difference = entry.difference
                writer.writerow(
                    (
                        comparison.title,
                        line.name,
                        line.role,
                        method,
                        line.episodes,
                        entry.accuracy.mean,
                        entry.accuracy.half_width,
                        len(entry.by_seed),
                        "" if entry.spread is None else entry.spread,
                        comparison.baselines[method] if difference else "",
                        difference.mean if difference else "",
                        difference.half_width if difference else "",
                        "" if entry.p_value is None else entry.p_value,
                        entry.calibration_error,
                    )
                )
    return text.getvalue()
