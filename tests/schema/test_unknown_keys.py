"""Unknown keys are refused wherever they stand, and the nearest known one is named."""

from __future__ import annotations

from typing import Any

import pytest

from kdcli.errors import CheckpointError, UsageError
from kdcli.schema import parse_config

NEAREST = [
    ("temprature", "temperature"),
    ("epoch", "epochs"),
    ("batchsize", "batch_size"),
    ("optimizer.l_r", "lr"),
    ("model.dropuot", "dropout"),
    ("model.hiden", "hidden"),
    ("loss.label_smooting", "label_smoothing"),
    ("transfer.frac", "fraction"),
    ("dataset.view", "views"),
    ("sweep.fused", "fuse"),
    ("alpha.valu", "value"),
]


@pytest.mark.parametrize(("key", "nearest"), NEAREST)
def test_the_nearest_key_is_named(student: Any, key: str, nearest: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_config("distill-student", student({key: 1}))
    assert caught.value.what == f"unknown key {key!r}; did you mean {nearest!r}?"
    assert caught.value.where == key


@pytest.mark.parametrize(
    ("key", "known"),
    [
        ("loss.bogus", "kind, label_smoothing"),
        ("sweep.bogus", "fuse, members_max"),
        ("temperature.bogus", "kind, value"),
        ("optimizer.learning_rate", "kind, lr, beta1, beta2, eps, weight_decay"),
    ],
)
def test_where_nothing_is_near_the_known_keys_are_listed(student: Any, key: str, known: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_config("distill-student", student({key: 1}))
    assert caught.value.what == f"unknown key {key!r}; known here: {known}"


def test_keys_of_another_option_are_unknown(student: Any) -> None:
    """Known is what the chosen option has, not what any option of the group has."""
    with pytest.raises(UsageError, match="unknown key 'optimizer.momentum'"):
        parse_config("distill-student", student({"optimizer.momentum": 0.9}))
    with pytest.raises(UsageError, match="unknown key 'temperature.start'"):
        parse_config("distill-student", student({"temperature.start": 8.0}))


@pytest.mark.parametrize("key", ["members", "members_data"])
def test_keys_of_the_other_command_are_unknown(student: Any, key: str) -> None:
    with pytest.raises(UsageError, match=f"unknown key '{key}'"):
        parse_config("distill-student", student({key: 1}))


@pytest.mark.parametrize("where", ["", "model.", "dataset.", "optimizer."])
def test_targets_of_instantiation_are_unknown_keys(student: Any, where: str) -> None:
    with pytest.raises(UsageError, match="unknown key"):
        parse_config("distill-student", student({f"{where}_target_": "os.system"}))


def test_a_missing_key_is_named(student: Any) -> None:
    data = student()
    del data["optimizer"]["lr"]
    del data["epochs"]
    with pytest.raises(UsageError) as caught:
        parse_config("distill-student", data)
    assert caught.value.what == "optimizer.lr is missing\nepochs is missing"
    assert caught.value.where == "optimizer.lr, epochs"


@pytest.mark.parametrize("data", [None, [], "text", 3])
def test_what_is_not_a_mapping_is_refused(data: Any) -> None:
    with pytest.raises(UsageError, match=r"\(top level\) = .* is not a group of keys"):
        parse_config("distill-student", data)


def test_a_configuration_of_a_run_is_rejected_as_such(student: Any) -> None:
    """What a run holds passes through the same door, with another error and the file's name."""
    with pytest.raises(CheckpointError) as caught:
        parse_config("distill-student", student({"epochs": 0}), error=CheckpointError, where="run/config.yaml")
    assert caught.value.where == "run/config.yaml: epochs"
    assert caught.value.exit_code == 4
