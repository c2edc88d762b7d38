"""A dataset from any CSV file."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from kdcli.data.columns import Column, Table, read_table, sort_categories
from kdcli.data.csvfile import data_error
from kdcli.data.split import cut_test
from kdcli.data.types import Dataset, Split
from kdcli.errors import DataError


def csv_table(
    path: str,
    target: str,
    test_path: str | None = None,
    test_fraction: float = 0.2,
    seed: int = 0,
    nominal: Sequence[str] | None = None,
) -> Dataset:
    """Rows of a CSV file with a header. Numbers stay numbers; categories become their position in sorted order.

    Args:
        path: The file, CSV in UTF-8, or packed by gzip and called ``.gz``.
        target: The column of the class. Classes are sorted, as numbers where all of them are numbers.
        test_path: A file with the same columns to test on; None: a part of every class is cut off.
        test_fraction: How large that part is.
        seed: What that part is drawn by.
        nominal: Columns of categories that look like numbers, besides those that do not.

    Raises:
        DataError: A file cannot be used; the message has the line, where there is one.
    """
    table = read_table(path, {**dict.fromkeys(nominal or (), "dataset.nominal"), target: "dataset.target"})
    classes = table.columns[target].categories
    _check_classes(table, target, classes)
    names = [name for name in table.columns if name != target]
    codes = tuple(i for i, name in enumerate(names) if table.columns[name].categories)
    if test_path is None:
        whole = Split(_inputs(table, names), table.columns[target].values)
        train, test = cut_test(whole, test_fraction, seed)
    else:
        table, other = _recode(table, _read_test(test_path, table), target)
        train, test = (Split(_inputs(part, names), part.columns[target].values) for part in (table, other))
    return Dataset.of("csv", "table", classes, train, test, nominal=codes)


def _check_classes(table: Table, target: str, classes: tuple[str, ...]) -> None:
    if len(classes) == 1:
        raise DataError(
            f"all rows are of one class, {classes[0]!r}", where=str(table.path), fix="choose another dataset.target"
        )
    if len(classes) > max(10, len(table) // 2):
        raise DataError(
            f"{target!r} has {len(classes)} different values in {len(table)} rows: it is a quantity, not a class",
            where=str(table.path),
            fix="choose another dataset.target, or cut it into ranges",
        )


def _inputs(table: Table, names: Sequence[str]) -> Tensor:
    return torch.stack([table.columns[name].values.float() for name in names], dim=1)


def _read_test(path: str, train: Table) -> Table:
    nominal = [name for name, column in train.columns.items() if column.categories]
    test = read_table(path, dict.fromkeys(nominal, "dataset.test_path"), detect=False)
    if list(test.columns) != list(train.columns):
        raise DataError(
            f"the header differs from that of {train.path}", where=path, fix="use the same columns in the same order"
        )
    return test


def _recode(train: Table, test: Table, target: str) -> tuple[Table, Table]:
    """Give both tables the same codes; a class must be known from training, another category need not."""
    tables: tuple[dict[str, Column], dict[str, Column]] = ({}, {})
    for name, column in train.columns.items():
        known = column.categories
        new = set(test.columns[name].categories) - set(known)
        if new and name == target:
            raise _unknown_class(test, target, min(new))
        merged = sort_categories({*known, *new}) if new else known
        for table, columns in zip((train, test), tables, strict=True):
            columns[name] = _encode(table.columns[name], merged)
    return Table(train.path, tables[0], train.lines), Table(test.path, tables[1], test.lines)


def _encode(column: Column, categories: tuple[str, ...]) -> Column:
    """The same column with codes for other categories, among which its own are."""
    if column.categories == categories:
        return column
    rank = {category: position for position, category in enumerate(categories)}
    return Column(torch.tensor([rank[category] for category in column.categories])[column.values], categories)


def _unknown_class(test: Table, target: str, name: str) -> DataError:
    column = test.columns[target]
    row = int((column.values == column.categories.index(name)).nonzero()[0])
    return data_error(
        test.path, test.lines[row], f"class {name!r} is not in the training file", "remove it, or add it there"
    )
