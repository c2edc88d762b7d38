"""The size of a model, held against what a serialisation of it takes."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from sklearn.ensemble import AdaBoostClassifier, RandomForestClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from kdcli.selection.size import state_bytes

ROWS = np.random.default_rng(0).normal(size=(500, 12))
LABELS = (ROWS[:, :3].prod(1) + ROWS[:, 3] > 0).astype(np.int64)


@pytest.mark.parametrize(
    "estimator",
    [
        SVC(),
        RandomForestClassifier(20, random_state=0),
        AdaBoostClassifier(DecisionTreeClassifier(max_depth=5), n_estimators=20, random_state=0),
        KNeighborsClassifier(3),
        MLPClassifier((200,), max_iter=300, random_state=0, tol=1.0),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_it_is_that_of_a_serialisation_without_the_format_around_it(estimator: object) -> None:
    estimator.fit(ROWS, LABELS)  # type: ignore[attr-defined]
    written = len(pickle.dumps(estimator, protocol=5))
    assert 0.93 * written < state_bytes(estimator) < written


def test_arrays_numbers_and_texts_are_counted() -> None:
    assert state_bytes({"ab": np.zeros((3, 4)), "c": [1, 2.0, True, None, b"xyz"]}) == 2 + 96 + 1 + 16 + 3
    assert state_bytes(np.array(["ab", 1.5], dtype=object)) == 2 + 8
    assert state_bytes([torch.zeros(5, dtype=torch.float64), np.float32(1)]) == 40 + 4


def test_what_is_shared_is_counted_once_and_what_refers_to_itself_ends() -> None:
    numbers = np.zeros(100)
    ring: list[object] = [numbers, numbers]
    ring.append(ring)
    assert state_bytes(ring) == 800


def test_code_is_not_counted() -> None:
    assert state_bytes([pickle.dumps, DecisionTreeClassifier, len, np.float64]) == 0
