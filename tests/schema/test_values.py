"""Values out of range or of the wrong type: refused by name, with the value and what is allowed (FAULTS I1)."""

from __future__ import annotations

import math
from typing import Any

import pytest

from kdcli.errors import UsageError
from kdcli.schema import parse_config

SEEDS = "[0, 4294967295]"
# Key, value, and the range that the error must name.
REFUSED: list[tuple[str, object, str]] = [
    *[("temperature.value", value, "[0.01, 10000]") for value in (0, -1, math.nan, math.inf, 1e-8, "4x", 1e5)],
    *[("alpha.value", value, "[0, 1]") for value in (-0.5, 1.5, math.nan, math.inf, "half", None, True)],
    *[("optimizer.lr", value, "(0, 100]") for value in (0, 0.0, -0.1, math.nan, 101, "fast")],
    *[("epochs", value, "[1, 1000000]") for value in (-1, 0, 1.5, 2.0, math.nan, "many", None, True, 10**7)],
    *[("batch_size", value, "[1, 1000000]") for value in (0, -5, 1.0)],
    *[("seed", value, SEEDS) for value in (-1, 2**64, 2**32, "010", 0.5)],
    *[("data_seed", value, SEEDS) for value in (-1, 2**64)],
    ("dataset.val_seed", -1, SEEDS),
    ("dataset.val_fraction", 1.0, "[0, 0.99]"),
    ("dataset.view_pixels", 0, "[1, 16]"),
    ("transfer.fraction", 0, "(0, 1]"),
    ("transfer.fraction", 1.1, "(0, 1]"),
    ("transfer.omit", [-1], ">= 0"),
    ("loss.label_smoothing", 1.01, "[0, 1]"),
    ("early_stopping", 0, "[1, 10000000]"),
    ("optimizer.beta1", 1.0, "[0, 0.99999]"),
    ("optimizer.eps", 0, "> 0"),
    ("optimizer.weight_decay", -1e-9, ">= 0"),
    ("lr_schedule.warmup", 0, "[0.001, 0.999]"),
    ("model.hidden", [800, 0], "[1, 10000000]"),
    ("model.dropout", 1.0, "[0, 0.99]"),
    ("model.max_norm_squared", 0, "> 0"),
    ("model.init_std", -1, "> 0"),
]
ALLOWED: list[tuple[str, object]] = [
    *[("temperature.value", value) for value in (0.01, 1, 3.3, 10_000)],
    *[("alpha.value", value) for value in (0, 0.0, 1, 1.0, 0.5)],
    *[("optimizer.lr", value) for value in (1e-12, 100)],
    *[("seed", value) for value in (0, 2**32 - 1)],
    ("transfer.fraction", 1),
    ("early_stopping", None),
    ("model.hidden", []),
    ("model.max_norm_squared", None),
]


@pytest.mark.parametrize(("key", "value", "allowed"), REFUSED)
def test_refused_with_key_value_and_range(student: Any, key: str, value: object, allowed: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_config("distill-student", student({key: value}))
    what, where = caught.value.what, caught.value.where
    bad = value[-1] if isinstance(value, list) else value
    assert where is not None
    assert where.startswith(key)
    assert what.startswith(key)
    assert f"= {bad!r} " in what
    assert what.endswith(f"allowed: {allowed}")
    assert caught.value.exit_code == 2
    assert key in str(caught.value.fix)


@pytest.mark.parametrize(("key", "value"), ALLOWED)
def test_the_ends_of_the_ranges_are_allowed(student: Any, key: str, value: object) -> None:
    config: Any = parse_config("distill-student", student({key: value}))
    for step in key.split("."):
        config = getattr(config, step)
    assert config == value


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("device", "gpu", "device = 'gpu'; allowed: auto, cpu, mps, cuda, or one GPU of several, such as cuda:1"),
        ("device", "cuda:-1", "device = 'cuda:-1'; allowed: auto, cpu"),
        ("select", "newest", "select = 'newest'; allowed: 'best' or 'last'"),
        ("ensemble", "median", "ensemble = 'median'; allowed: 'arithmetic' or 'geometric'"),
        ("precision", "float16", "precision = 'float16'; allowed: 'float32' or 'bf16'"),
        ("dataset.views", "rotate", "dataset.views = 'rotate'; allowed: 'none', 'shift', 'flip', 'crop' or 'elastic'"),
        ("dataset.views", "shfit", "; did you mean 'shift'?"),
        ("select", "bset", "select = 'bset'; allowed: 'best' or 'last'; did you mean 'best'?"),
        ("loss", {"kind": "mse_logit"}, "; did you mean 'mse_logits'?"),
        ("compile", 1, "compile = 1 is not true or false"),
        ("baseline", "yes", "baseline = 'yes' is not true or false"),
        ("output_dir", 3, "output_dir = 3 is not a text"),
        ("model.hidden", "800", "model.hidden = '800' is not a list"),
        ("model.hidden", [1] * 33, "is too long; allowed: 32 values or fewer"),
        ("model", {"kind": "cnn", "channels": []}, "model.channels = [] is too short; allowed: 1 values or more"),
        ("model", 3, "model = 3 is not a group of keys"),
        ("model", {}, "model.kind is missing"),
        ("model", {"kind": "transformer"}, "model.kind = 'transformer'; allowed: 'mlp', 'lenet'"),
        ("sweep", None, "sweep = None is not a group of keys"),
        ("teacher", 5, "teacher = 5 is not a text; teacher = 5 is not a list"),
        ("teacher", {"run": "x"}, "teacher = {'run': 'x'} is not a text"),
        ("teacher", ["a", 1], "teacher.1 = 1 is not a text"),
        ("dataset", {"kind": "csv", "path": "x.csv"}, "dataset.target is missing"),
        ("output_dir", 10**90, "..."),
        ("transfer", {"kind": "munge", "p": 1.1}, "transfer.p = 1.1 is out of range; allowed: [0, 1]"),
        ("transfer", {"kind": "munge", "s": 0}, "transfer.s = 0 is out of range; allowed: > 0"),
        ("transfer", {"kind": "munge", "s": math.inf}, "transfer.s = inf is not a finite number; allowed: > 0"),
        ("transfer", {"kind": "nbe", "p": 0.5}, "unknown key 'transfer.p'"),
        ("transfer", {"kind": "nbe", "cases": 0}, "transfer.cases = 0 is out of range; allowed: [1, 10000000]"),
        ("transfer", {"kind": "gan"}, "transfer.kind = 'gan'; allowed: 'training_set', 'munge', 'random', 'nbe'"),
    ],
)
def test_other_wrong_values_are_named_too(student: Any, key: str, value: object, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_config("distill-student", student({key: value}))
    assert words in caught.value.what
    assert str(caught.value.where).startswith(key)


@pytest.mark.parametrize("kind", ["linear", "cosine", "step"])
@pytest.mark.parametrize("end", ["start", "end"])
def test_both_ends_of_a_schedule_are_checked(student: Any, kind: str, end: str) -> None:
    fine: dict[str, object] = {"kind": kind, "start": 1.0, "end": 0.5} | ({"at": 0.5} if kind == "step" else {})
    parse_config("distill-student", student({"alpha": fine, "temperature": fine}))
    for group, value in (("alpha", 1.5), ("temperature", 0.0)):
        with pytest.raises(UsageError, match=rf"{group}\.{end} = {value} is out of range"):
            parse_config("distill-student", student({group: fine | {end: value}}))


def test_alpha_has_no_exponential_schedule(student: Any) -> None:
    """Between 0 and anything there is no constant ratio; a temperature is never 0."""
    schedule = {"kind": "exponential", "start": 0.9, "end": 0.1}
    with pytest.raises(UsageError) as caught:
        parse_config("distill-student", student({"alpha": schedule}))
    assert caught.value.what == "alpha.kind = 'exponential'; allowed: 'constant', 'linear', 'cosine', 'step'"
    parse_config("distill-student", student({"temperature": schedule}))
    with pytest.raises(UsageError, match=r"temperature\.end = 0 is out of range"):
        parse_config("distill-student", student({"temperature": schedule | {"end": 0}}))


def test_all_wrong_keys_are_told_at_once(student: Any) -> None:
    with pytest.raises(UsageError) as caught:
        parse_config("distill-student", student({"epochs": 0, "alpha.value": 2, "optimizer.lr": -1}))
    assert caught.value.where == "alpha.value, optimizer.lr, epochs"
    starts = [line.partition(" is out of range")[0] for line in caught.value.what.splitlines()]
    assert starts == ["alpha.value = 2", "optimizer.lr = -1", "epochs = 0"]
    assert "'kd distill-student --cfg job' prints every key" in str(caught.value.fix)


def test_a_long_list_of_wrong_keys_is_cut(student: Any) -> None:
    with pytest.raises(UsageError) as caught:
        parse_config("distill-student", student({"model.hidden": [0] * 12}))
    assert str(caught.value.where).endswith("model.hidden.7 ...")
    assert caught.value.what.count("is out of range") == 8
