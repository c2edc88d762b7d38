"""UCI Letter Recognition (Slate 1991), which ships with the package, and two binary problems made of it."""

from __future__ import annotations

import string
from collections.abc import Collection
from pathlib import Path

import torch

from kdcli.data.columns import read_table
from kdcli.data.types import Dataset, Split

LETTERS = tuple(string.ascii_uppercase)
SHIPPED = Path(__file__).parent / "files" / "letter-recognition.csv.gz"


def letter() -> Dataset:
    """All 26 letters: the first 16,000 rows train and the last 4,000 test, as its author has it."""
    rows = _rows()
    return Dataset.of("letter", "table", LETTERS, rows.subset(torch.arange(16_000)), rows.subset(_range(16_000, 4_000)))


def letter_p1() -> Dataset:
    """The letter O (3 %) against the rest: letter.p1 of Bucila 2006."""
    return _binary("letter_p1", ("other", "O"), "O")


def letter_p2() -> Dataset:
    """A to M (half of the letters) against N to Z: letter.p2 of Bucila 2006."""
    return _binary("letter_p2", ("N-Z", "A-M"), LETTERS[:13])


def _binary(name: str, classes: tuple[str, str], positive: Collection[str]) -> Dataset:
    """The paper's 4,000 training, 1,000 validation and 14,000 test rows, in order: its own draw is not published."""
    rows = _rows()
    is_positive = torch.tensor([int(letter in positive) for letter in LETTERS])
    binary = Split(rows.inputs, is_positive[rows.labels])
    train, test = binary.subset(torch.arange(5_000)), binary.subset(_range(5_000, 14_000))
    return Dataset.of(name, "table", classes, train, test, validation=_range(4_000, 1_000))


def _rows() -> Split:
    columns = read_table(SHIPPED).columns
    attributes = [column.values for name, column in columns.items() if name != "letter"]
    return Split(torch.stack(attributes, dim=1), columns["letter"].values)


def _range(start: int, length: int) -> torch.Tensor:
    return torch.arange(start, start + length)
