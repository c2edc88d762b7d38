"""A table in the formats that other programs read: Markdown, CSV, LaTeX."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from kdcli.report.tables import Cells, Column
from kdcli.report.text import clean

_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    **{mark: f"\\{mark}" for mark in "&%$#_{}"},
}


def markdown(columns: Sequence[Column], rows: Sequence[Cells]) -> str:
    """A table in Markdown; columns without a single value are left out."""
    columns, rows = _filled(columns, rows)
    rule = [":--" if column.text else "--:" for column in columns]
    lines = [[_markdown(column.title) for column in columns], rule]
    lines += [[_markdown(cell or "") for cell in row] for row in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def _markdown(cell: str) -> str:
    safe = clean(cell).replace("&", "&amp;").replace("<", "&lt;").replace("\\", "\\\\")
    return "".join("\\" + mark if mark in "|[]`*_" else mark for mark in safe)


def latex(columns: Sequence[Column], rows: Sequence[Cells]) -> str:
    """A tabular with booktabs' rules; columns without a single value are left out."""
    columns, rows = _filled(columns, rows)
    head = " & ".join(_latex(column.title) for column in columns)
    body = "".join(f"{' & '.join(_latex(cell or '') for cell in row)} \\\\\n" for row in rows)
    kinds = "".join("l" if column.text else "r" for column in columns)
    rules = f"\\toprule\n{head} \\\\\n\\midrule\n{body}\\bottomrule\n"
    return f"% needs \\usepackage{{booktabs}}\n\\begin{{tabular}}{{{kinds}}}\n{rules}\\end{{tabular}}\n"


def _latex(cell: str) -> str:
    return "".join(_LATEX.get(mark, mark) for mark in clean(cell))


def csv_text(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """CSV with a header; numbers in full precision, None as an empty cell."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([clean(name) for name in header])
    writer.writerows([[clean(cell) if isinstance(cell, str) else cell for cell in row] for row in rows])
    return file.getvalue()


def _filled(columns: Sequence[Column], rows: Sequence[Cells]) -> tuple[list[Column], list[Cells]]:
    kept = [index for index in range(len(columns)) if any(row[index] for row in rows)]
    return [columns[index] for index in kept], [[row[index] for index in kept] for row in rows]
