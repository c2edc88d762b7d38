"""The report of ``kd evaluate``."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

from kdcli.report.evaluation_page import evaluation_page
from kdcli.schema.results import Evaluation

Make = Callable[..., Evaluation]


def test_runs_stand_side_by_side_and_their_costs_are_drawn(evaluation: Make, tmp_path: Path) -> None:
    text = evaluation_page(evaluation(), tmp_path / "figures", "kd evaluate 'run=[a,b]'")
    assert "mlp_1200 gets 99.26 % of 10,000 test examples of mnist right: 74 errors, the fewest of 2 runs" in text
    assert "kd evaluate &#x27;run=[a,b]&#x27;" in text
    with (tmp_path / "figures/tradeoff.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [round(float(row["ms for one example"]), 9) for row in rows] == [0.21, 0.21]
    assert text.count("<img") == 2


def test_without_latency_three_costs_are_drawn(evaluation: Make, tmp_path: Path) -> None:
    both = evaluation()
    runs = [run.model_copy(update={"latency": []}) for run in both.runs]
    evaluation_page(both.model_copy(update={"runs": runs}), tmp_path / "figures", "kd evaluate")
    header = (tmp_path / "figures/tradeoff.csv").read_text().splitlines()[0]
    assert "bytes" in header
    assert "ms for one example" not in header


def test_the_costs_of_one_run_are_not_drawn(evaluation: Make, tmp_path: Path) -> None:
    text = evaluation_page(evaluation(("mlp_1200",)), tmp_path / "figures", "kd evaluate")
    assert "74 errors." in text
    assert not (tmp_path / "figures/tradeoff.csv").exists()


def test_the_confidence_of_each_run_is_drawn(evaluation: Make, tmp_path: Path) -> None:
    evaluation_page(evaluation(), tmp_path / "figures", "kd evaluate")
    with (tmp_path / "figures/reliability.csv").open(newline="") as file:
        drawn = [row for row in csv.DictReader(file) if row["examples"] != "0"]
    assert [(row["network"], row["confidence"], row["accuracy"]) for row in drawn] == [
        ("1: mlp_1200", "0.985", "0.991"),
        ("2: mlp_800", "0.985", "0.991"),
    ]


def test_hostile_names_are_inert(evaluation: Make, tmp_path: Path, hostile_names: tuple[str, ...]) -> None:
    for name in hostile_names:
        text = evaluation_page(evaluation((name,), (name, "7", "9")), tmp_path / "figures", name)
        assert "<script" not in text
        assert text.encode()
