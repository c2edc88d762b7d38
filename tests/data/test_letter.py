from __future__ import annotations

import csv
import gzip

import pytest
import torch

from kdcli.data import load
from kdcli.data.letter import SHIPPED


@pytest.fixture(scope="module")
def rows() -> list[list[str]]:
    with gzip.open(SHIPPED, "rt") as file:
        return list(csv.reader(file))[1:]


def test_letter_is_the_file_in_its_order(rows: list[list[str]]) -> None:
    dataset = load("letter", {})
    assert (dataset.kind, dataset.input_shape, len(dataset.classes)) == ("table", (16,), 26)
    assert (len(dataset.train), len(dataset.test)) == (16_000, 4_000)
    for split, start in ((dataset.train, 0), (dataset.test, 16_000)):
        for at in (0, 1, 1_234, 3_999):
            assert dataset.classes[split.labels[at]] == rows[start + at][0]
            assert split.inputs[at].tolist() == [float(cell) for cell in rows[start + at][1:]]


@pytest.mark.parametrize(
    ("name", "positive", "class_name"), [("letter_p1", "O", "O"), ("letter_p2", "ABCDEFGHIJKLM", "A-M")]
)
def test_bucilas_problems_have_the_papers_sizes(
    rows: list[list[str]], name: str, positive: str, class_name: str
) -> None:
    dataset = load(name, {})
    assert (len(dataset.train), len(dataset.test)) == (5_000, 14_000)
    assert dataset.validation is not None
    assert dataset.validation.tolist() == list(range(4_000, 5_000))
    assert dataset.classes[1] == class_name
    wanted = [int(row[0] in positive) for row in rows]
    assert dataset.train.labels.tolist() == wanted[:5_000]
    assert dataset.test.labels.tolist() == wanted[5_000:19_000]
    assert dataset.test.inputs[-1].tolist() == [float(cell) for cell in rows[18_999][1:]]


def test_letter_p1_has_the_share_of_positives_of_the_paper() -> None:
    dataset = load("letter_p1", {})
    labels = torch.cat([dataset.train.labels, dataset.test.labels])
    assert 0.03 <= labels.double().mean() < 0.04  # 3 % in the paper
