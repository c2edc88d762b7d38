from __future__ import annotations

import math
import statistics
from typing import Any

import pytest

from kdcli.report.sweep import Numbers, Reference, SweepRow, gains, margin, rank, reference_lines, why_unranked
from kdcli.report.sweep_table import sweep_table


def numbers(top1: float | None, nll: float | None = 0.1, **others: Any) -> Numbers:
    given = {"test_errors": None if top1 is None else round(1e4 * (1 - top1)), "test_top1": top1, "test_n": 10_000}
    return Numbers(val_top1=top1, val_nll=nll, val_n=None if top1 is None else 6000, **(given | others))


def job(label: str, top1: float | None, nll: float | None = 0.1, status: str = "finished", **settings: str) -> SweepRow:
    return SweepRow(label, settings, status, numbers(top1, nll), dataset="mnist")


def unranked(label: str, errors: int, **settings: str) -> SweepRow:
    return SweepRow(label, settings, "finished", Numbers(test_errors=errors, test_n=10_000))


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
        SweepRow("0", {"temperature": "1"}, "finished", numbers(0.97, test_errors=1)),
        SweepRow("1", {"temperature": "2"}, "finished", numbers(0.98, test_errors=999)),
    ]
    assert rank(rows)[0].overrides == {"temperature": "2"}


def test_equals_share_a_rank_and_the_next_one_is_left_out() -> None:
    tops = {"1": (0.98, 0.1), "2": (0.97, 0.2), "4": (0.98, 0.1), "8": (0.98, 0.2), "20": (0.97, 0.2)}
    groups = rank([job(key, *value, temperature=key) for key, value in tops.items()])
    assert [(group.overrides["temperature"], group.rank) for group in groups] == [
        ("1", 1),
        ("4", 1),
        ("8", 3),
        ("2", 4),
        ("20", 4),
    ]


def test_seeds_make_one_group_with_mean_and_standard_deviation() -> None:
    tops = [0.97, 0.98, 0.995]
    rows = [job(str(seed), top1, temperature="4", seed=str(seed)) for seed, top1 in enumerate(tops)]
    (group,) = rank([*rows, job("3", None, None, "failed", temperature="8")])
    assert group.values("val_top1") == tops
    mean = sum(tops) / 3
    deviation = math.sqrt(sum((top1 - mean) ** 2 for top1 in tops) / 2)
    cells = sweep_table(rows, width=120).split("\n")[1].split()
    assert cells[:6] == ["1", "4", "3", f"{100 * mean:.2f}", "±", f"{100 * deviation:.2f}"]
    assert "seeds" in sweep_table(rows, width=120).split("\n")[0]


def test_the_same_training_twice_is_no_second_seed() -> None:
    (group,) = rank([job(str(number), 0.97, temperature="4", seed="0") for number in range(2)])
    assert group.values("val_top1") == [0.97]


def test_a_single_seed_has_no_column_of_seeds() -> None:
    assert "seeds" not in sweep_table([job("0", 0.97, temperature="4"), job("1", 0.98, temperature="8")], width=120)


def test_the_mean_over_seeds_decides_not_the_luckiest_seed() -> None:
    lucky = [job("a", top1, temperature="1", seed=str(top1)) for top1 in (0.99, 0.90)]
    steady = [job("b", top1, temperature="2", seed=str(top1)) for top1 in (0.96, 0.96)]
    assert rank(lucky + steady)[0].overrides == {"temperature": "2"}


def test_without_validation_the_grid_order_stays_and_nobody_is_best() -> None:
    rows = [unranked("0", 150, temperature="1"), unranked("1", 90, temperature="2")]
    groups = rank(rows)
    assert [group.rank for group in groups] == [None, None]
    assert [group.overrides["temperature"] for group in groups] == ["1", "2"]
    assert "rank" not in sweep_table(rows, width=80)
    assert why_unranked(rows) == "there is no validation part to rank by"
    assert "some jobs" in str(why_unranked([*rows, job("2", 0.9, temperature="4")]))


@pytest.mark.parametrize(("dataset", "examples"), [("letter", 6000), ("mnist", 12_000)])
def test_different_validation_parts_are_not_ranked_against_each_other(dataset: str, examples: int) -> None:
    first = SweepRow("0", {"dataset": "mnist"}, "finished", Numbers(0.98, 0.1, 6000), "mnist")
    other = SweepRow("1", {"dataset": "other"}, "finished", Numbers(0.90, 0.1, examples), dataset)
    assert [group.rank for group in rank([first, other])] == [None, None]
    assert "different validation parts" in str(why_unranked([first, other]))


def test_jobs_that_did_not_finish_are_listed_with_their_reason() -> None:
    rows = [
        job("0", 0.97, temperature="1"),
        SweepRow("01 temperature=2", {"temperature": "2"}, "diverged", reason="not finite in epoch 2"),
        SweepRow("02 temperature=4", {"temperature": "4"}, "interrupted"),
    ]
    text = sweep_table(rows, width=80)
    assert "2 of 3 jobs did not finish:\n  01 temperature=2  diverged: not finite in epoch 2\n" in text
    assert text.endswith("  02 temperature=4  interrupted")


def test_a_sweep_in_which_all_failed_lists_the_failures_alone() -> None:
    text = sweep_table([SweepRow("00", {}, "failed", reason="no such file")], width=80)
    assert text == "1 of 1 jobs did not finish:\n  00  failed: no such file"


def test_a_large_sweep_shows_its_best_and_says_how_many_there_are_more() -> None:
    rows = [job(str(k), 0.9 + k / 10_000, temperature=str(k)) for k in range(100)]
    rows += [SweepRow(f"lost {k}", {"temperature": f"-{k}"}, "failed") for k in range(100)]
    text = sweep_table(rows, width=80)
    assert text.split("\n")[1].split()[:2] == ["1", "99"]
    assert "60 settings more" in text
    assert "and 88 more" in text
    assert len(text.split("\n")) < 70


def taught(label: str, baseline: int, teacher: str = "t", top1: float = 0.98, **settings: str) -> SweepRow:
    without = Reference(f"baselines/{baseline:02}", numbers(0.9 + baseline / 100))
    return SweepRow(
        label, settings, "finished", numbers(top1), "mnist", without, Reference(teacher, Numbers(test_errors=70))
    )


def test_baselines_and_teacher_stand_below_as_lines_to_compare_with() -> None:
    rows = [taught("j", seed, temperature=t, seed=str(seed)) for t in ("1", "4") for seed in (0, 1)]
    baseline, teacher = reference_lines(rows)
    assert (baseline.kind, baseline.overrides, baseline.values("val_top1")) == ("baseline", {}, [0.9, 0.91])
    assert (teacher.kind, teacher.overrides, teacher.values("test_errors")) == ("teacher", {}, [70])
    last = [line.split() for line in sweep_table(rows, width=120).split("\n")[-2:]]
    assert last[0][:5] == ["baseline", "2", "90.50", "±", "0.71"]
    assert last[1] == ["teacher", "70"]


def test_each_network_has_its_own_baseline_and_the_line_says_whose_it_is() -> None:
    rows = [
        taught("j", number, model=model, temperature=t)
        for number, model in enumerate(("mlp_30", "mlp_100"))
        for t in ("1", "4")
    ]
    lines = [(line.kind, line.overrides) for line in reference_lines(rows)]
    assert lines == [("baseline", {"model": "mlp_30"}), ("baseline", {"model": "mlp_100"}), ("teacher", {})]


def test_a_baseline_that_did_not_finish_is_no_line_and_does_not_stand_for_the_others() -> None:
    lost = SweepRow("j", {"lr": "9"}, "finished", numbers(0.1), "mnist", Reference("baselines/01", status="diverged"))
    rows = [taught("j", 0, lr="1"), lost]
    shown = [line.split() for line in sweep_table(rows, width=120).split("\n") if "baseline" in line]
    assert [cells[:2] for cells in shown] == [["baseline", "1"]]


def test_the_gain_of_each_seed_is_over_its_own_baseline() -> None:
    (group,) = rank([taught("j", seed, top1=0.97 + seed / 50, t="1", seed=str(seed)) for seed in (0, 1)])
    assert gains(group) == pytest.approx([0.97 - 0.90, 0.99 - 0.91])
    assert gains(rank([job("0", 0.97)])[0]) is None


def test_what_lies_within_chance_is_a_deviation_over_seeds_or_a_standard_error() -> None:
    tops = [0.97, 0.98, 0.99]
    (group,) = rank([job(str(k), top1, seed=str(k)) for k, top1 in enumerate(tops)])
    assert margin(group) == pytest.approx(statistics.stdev(tops))
    (alone,) = rank([job("0", 0.97)])
    assert margin(alone) == pytest.approx(math.sqrt(0.97 * 0.03 / 6000))


@pytest.mark.parametrize("width", [40, 80, 160])
def test_swept_keys_stay_where_measures_must_go(width: int) -> None:
    rows = [job(str(k), 0.97, temperature=str(k), alpha="0.9") for k in range(3)]
    heading = sweep_table(rows, width=width).split("\n")[0]
    assert heading.split()[:3] == ["rank", "temperature", "alpha"]
    assert len(heading) <= width


def test_hostile_values_are_inert(hostile: str) -> None:
    rows = [job(hostile, 0.97, key=hostile), SweepRow(hostile, {"key": hostile}, "failed", reason=hostile)]
    assert all(line.isprintable() for line in sweep_table(rows, width=80).split("\n"))
