"""CSV files, row by row, with the line of everything that is wrong."""

from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from kdcli.errors import DataError

MAX_LINE = 1 << 20
MAX_TEXT = 1 << 30
MAX_RATIO = 250
"""Tables shrink by 10 or 20, a file made to fill a memory by 1000."""

_ANY_RATIO = 1 << 24
_CHUNK = 1 << 20


def data_error(path: Path, line: int, what: str, fix: str) -> DataError:
    """An error about a line of a CSV file."""
    return DataError(f"line {line}: {what}", where=str(path), fix=fix)


def read_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The header, then the rows, each with the number of the line it ends on; blank lines are left out.

    Cells lose the blanks around them. Files called ``.gz`` are unpacked as they are read.

    Raises:
        DataError: The file cannot be read, is not UTF-8, or has a row with another number of cells than the header.
    """
    try:
        with _open(path) as file:
            reader = csv.reader(_lines(file, path), strict=True, skipinitialspace=True)
            width = None
            for cells in reader:
                width = width or len(cells)
                if cells and len(cells) != width:
                    what = f"{len(cells)} cells, the header has {width}"
                    raise data_error(path, reader.line_num, what, "give every line the same number of cells")
                if cells:
                    yield reader.line_num, [cell.strip() for cell in cells]
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"cannot read the CSV file: {error}", where=str(path), fix="check that it is a CSV file in UTF-8"
        ) from error


def _open(path: Path) -> TextIO:
    if path.suffix == ".gz":
        _check_ratio(path)
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")


def _check_ratio(path: Path) -> None:
    """Unpack a file, keeping nothing, up to where no table's would end."""
    limit = max(_ANY_RATIO, MAX_RATIO * path.stat().st_size)
    unpacked = 0
    with gzip.open(path) as file:
        while chunk := file.read(_CHUNK):
            unpacked += len(chunk)
            if unpacked > limit:
                raise DataError(
                    f"it unpacks to more than {MAX_RATIO} times its size",
                    where=str(path),
                    fix="if it is no trap, unpack it and name the unpacked file",
                )


def _lines(file: TextIO, path: Path) -> Iterator[str]:
    """The lines of a file, while they are of the size of a table: a small ``.gz`` may unpack to anything."""
    total = 0
    for number, line in enumerate(iter(lambda: file.readline(MAX_LINE + 1), ""), start=1):
        total += len(line)
        if len(line) > MAX_LINE or total > MAX_TEXT:
            what = f"a line of more than {MAX_LINE:,} or a file of more than {MAX_TEXT:,} characters"
            raise data_error(path, number, what, "use a smaller table")
        yield line
