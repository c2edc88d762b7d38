from __future__ import annotations

import pytest

from kdcli.report.sweep import SweepRow, rank, sweep_table


def job(label: str, top1: float | None, nll: float | None, status: str = "finished", **overrides: str) -> SweepRow:
    return SweepRow(label, overrides, status, top1, nll, test_errors=None if top1 is None else round(1e4 * (1 - top1)))


def test_jobs_are_ranked_by_validation_top1_then_nll() -> None:
    rows = [
        job("0", 0.97, 0.10, temperature="1"),
        job("1", 0.98, 0.09, temperature="2"),
        job("2", 0.98, 0.08, temperature="4"),
    ]
    groups = rank(rows)
    assert [group.overrides["temperature"] for group in groups] == ["4", "2", "1"]
    assert [group.rank for group in groups] == [1, 2, 3]


def test_the_test_set_has_no_say_in_the_rank() -> None:
    rows = [
        SweepRow("0", {"temperature": "1"}, "finished", 0.97, 0.1, test_errors=1),
        SweepRow("1", {"temperature": "2"}, "finished", 0.98, 0.1, test_errors=999),
    ]
    assert rank(rows)[0].overrides == {"temperature": "2"}


def test_seeds_make_one_group_with_mean_and_standard_deviation() -> None:
    rows = [job(seed, 0.97 + 0.01 * int(seed), 0.1, temperature="4", seed=seed) for seed in ("0", "1", "2")]
    (group,) = rank(rows)
    assert group.values("val_top1") == [0.97, 0.98, 0.99]
    text = sweep_table(rows, width=120)
    assert "98.00 ± 1.00 (3)" in text
    assert "200.0 ± 100.0 (3)" in text
    assert "Mean ± standard deviation (number of seeds)" in " ".join(text.split())
    assert "seed  " not in text


def test_the_mean_over_seeds_decides_not_the_luckiest_seed() -> None:
    lucky = [job("a", top1, 0.1, temperature="1", seed=str(top1)) for top1 in (0.99, 0.90)]
    steady = [job("b", top1, 0.1, temperature="2", seed=str(top1)) for top1 in (0.96, 0.96)]
    assert rank(lucky + steady)[0].overrides == {"temperature": "2"}


def test_without_validation_the_grid_order_stays_and_nobody_is_best() -> None:
    rows = [
        SweepRow("0", {"temperature": "1"}, "finished", test_errors=150),
        SweepRow("1", {"temperature": "2"}, "finished", test_errors=90),
    ]
    groups = rank(rows)
    assert [group.rank for group in groups] == [None, None]
    assert [group.overrides["temperature"] for group in groups] == ["1", "2"]
    text = sweep_table(rows, width=80)
    assert "rank" not in text
    assert "none is best" in text


def test_jobs_that_did_not_finish_are_listed_with_their_reason() -> None:
    rows = [
        job("0", 0.97, 0.1, temperature="1"),
        SweepRow("01 temperature=2", {"temperature": "2"}, "diverged", reason="not finite in epoch 2"),
        SweepRow("02 temperature=4", {"temperature": "4"}, "interrupted"),
    ]
    text = sweep_table(rows, width=80)
    assert "2 of 3 jobs did not finish:\n  01 temperature=2  diverged: not finite in epoch 2\n" in text
    assert text.endswith("  02 temperature=4  interrupted")


def test_a_sweep_in_which_all_failed_lists_the_failures_alone() -> None:
    text = sweep_table([SweepRow("00", {}, "failed", reason="no such file")], width=80)
    assert text == "1 of 1 jobs did not finish:\n  00  failed: no such file"


@pytest.mark.parametrize("width", [40, 80, 160])
def test_swept_keys_stay_where_measures_must_go(width: int) -> None:
    rows = [job(str(k), 0.97, 0.1, temperature=str(k), alpha="0.9") for k in range(3)]
    heading = sweep_table(rows, width=width).split("\n")[0]
    assert heading.split()[:3] == ["rank", "temperature", "alpha"]
    assert len(heading) <= width


def test_hostile_values_are_inert(hostile: str) -> None:
    rows = [job(hostile, 0.97, 0.1, key=hostile), SweepRow(hostile, {"key": hostile}, "failed", reason=hostile)]
    assert all(line.isprintable() for line in sweep_table(rows, width=80).split("\n"))
