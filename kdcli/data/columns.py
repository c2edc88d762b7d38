"""The columns of a CSV file: numbers, or codes of categories."""

from __future__ import annotations

import itertools
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import torch
from torch import Tensor

from kdcli.data.csvfile import data_error, read_rows
from kdcli.errors import DataError

MISSING = frozenset({"", "?", "na", "n/a", "nan", "null"})
_CHUNK = 4096


@dataclass(frozen=True, eq=False)
class Column:
    """One column: ``values`` float32 ``(N,)``, or int64 ``(N,)`` positions in ``categories``, which are sorted."""

    values: Tensor
    categories: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Table:
    """A CSV file in memory; row ``i`` ends on line ``lines[i]`` of ``path``."""

    path: Path
    columns: dict[str, Column]
    lines: Sequence[int]

    def __len__(self) -> int:
        return len(self.lines)


def read_table(path: str | Path, nominal: Mapping[str, str] | None = None, *, detect: bool = True) -> Table:
    """Read a CSV file with a header.

    Args:
        path: A CSV file, or one packed by gzip and called ``.gz``.
        nominal: Columns whose cells are categories even if they look like numbers, each with the configuration key
            that says so.
        detect: Whether a column that begins with something else than a number holds categories too.

    Raises:
        DataError: A value is missing, is not finite, or is no number in a column of numbers; or see ``read_rows``.
    """
    path, nominal = Path(path), nominal or {}
    rows = read_rows(path)
    header = _header(path, rows, nominal)
    first = next(rows, None)
    if first is None:
        raise DataError("the CSV file has a header and no rows", where=str(path), fix="add rows below the header")
    builders: list[_Numbers | _Categories] = [
        _Categories(name in nominal) if name in nominal or (detect and not _is_number(cell)) else _Numbers()
        for name, cell in zip(header, first[1], strict=True)
    ]
    lines = array("q")
    for chunk in _chunks(itertools.chain([first], rows)):
        numbers = [line for line, _ in chunk]
        columns = zip(*(cells for _, cells in chunk), strict=True)
        for name, builder, cells in zip(header, builders, columns, strict=True):
            if not builder.extend(cells):
                raise _fault(path, name, builder, cells, numbers)
        lines.extend(numbers)
    return Table(path, {name: builder.finish() for name, builder in zip(header, builders, strict=True)}, lines)


def sort_categories(categories: Iterable[str]) -> tuple[str, ...]:
    """Sort categories: as numbers if all of them are numbers, else as text."""
    categories = list(categories)
    if all(map(_is_number, categories)):
        return tuple(sorted(categories, key=lambda category: (float(category), category)))
    return tuple(sorted(categories))


def _header(path: Path, rows: Iterator[tuple[int, list[str]]], nominal: Mapping[str, str]) -> list[str]:
    line, header = next(rows, (1, []))
    fix = "let the first line name every column, each by another name"
    if all(map(_is_number, header)):
        raise data_error(path, line, "there is no header" if header else "the CSV file is empty", fix)
    repeated = sorted({name for name in header if header.count(name) > 1})
    if repeated or "" in header:
        what = f"the header has {repeated[0]!r} twice" if repeated else "a column has no name"
        raise data_error(path, line, what, fix)
    if len(header) == 1:
        what = f"there is one column only, {header[0]!r}"
        raise data_error(path, line, what, "separate columns by commas; one is the class, the others its attributes")
    for name, key in nominal.items():
        if name not in header:
            close = get_close_matches(name, header, n=1)
            fix = f"did you mean {close[0]!r}?" if close else f"the columns are {', '.join(header[:20])}"
            raise DataError(f"{path} has no column {name!r}", where=key, fix=fix)
    return header


def _chunks(rows: Iterator[tuple[int, list[str]]]) -> Iterator[list[tuple[int, list[str]]]]:
    while chunk := list(itertools.islice(rows, _CHUNK)):
        yield chunk


class _Numbers:
    """A column of finite numbers while it is read."""

    def __init__(self) -> None:
        self._parts: list[Tensor] = []

    def extend(self, cells: Sequence[str]) -> bool:
        """Take cells, or say that one of them is not a finite number."""
        try:
            part = torch.tensor(list(map(float, cells)), dtype=torch.float32)
        except ValueError:
            return False
        self._parts.append(part)
        return bool(part.isfinite().all()) and not any("_" in cell for cell in cells)

    def finish(self) -> Column:
        return Column(torch.cat(self._parts))


class _Categories:
    """A column of categories while it is read."""

    def __init__(self, numbers: bool) -> None:
        self._numbers = numbers
        self._codes: dict[str, int] = {}
        self._values = array("q")

    def extend(self, cells: Sequence[str]) -> bool:
        """Take cells, or say that one of them is missing, or a number where none was expected."""
        distinct = set(cells)
        if any(cell.lower() in MISSING or (not self._numbers and _is_number(cell)) for cell in distinct):
            return False
        self._values.extend([self._codes.setdefault(cell, len(self._codes)) for cell in cells])
        return True

    def finish(self) -> Column:
        categories = sort_categories(self._codes)
        rank = {category: position for position, category in enumerate(categories)}
        positions = torch.tensor([rank[category] for category in self._codes])
        return Column(positions[torch.tensor(self._values)], categories)


def _fault(
    path: Path, name: str, builder: _Numbers | _Categories, cells: Sequence[str], lines: Sequence[int]
) -> DataError:
    """The error about the first of ``cells`` that the column's builder does not take."""
    at = next(i for i, cell in enumerate(cells) if not builder.extend([cell]))
    if cells[at].lower() in MISSING:
        return data_error(path, lines[at], f"no value for {name!r}", "fill in the value, or remove the line")
    found = "not a finite number, as the others are" if isinstance(builder, _Numbers) else "a number among text"
    fix = "correct the value, or name the column in dataset.nominal"
    return data_error(path, lines[at], f"{cells[at]!r} of {name!r} is {found}", fix)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell  # Python reads 1_2 as 12
