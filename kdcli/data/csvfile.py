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
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")


def _lines(file: TextIO, path: Path) -> Iterator[str]:
    """The lines of a file, while they are of the size of a table: a small ``.gz`` may unpack to anything."""
    total = 0
    for number, line in enumerate(iter(lambda: file.readline(MAX_LINE + 1), ""), start=1):
        total += len(line)
        if len(line) > MAX_LINE or total > MAX_TEXT:
            what = f"a line of more than {MAX_LINE:,} or a file of more than {MAX_TEXT:,} characters"
            raise data_error(path, number, what, "use a smaller table")
        yield line
