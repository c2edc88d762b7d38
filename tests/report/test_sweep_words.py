from __future__ import annotations

import math
import statistics

import pytest

from kdcli.report.sweep import Numbers, Reference, SweepRow
from kdcli.report.sweep_words import sweep_lead, sweep_remarks, table_note


def student(
    errors: int, baseline: int | None = 146, val: float | None = 0.98, p: float | None = 1e-6, **settings: str
) -> SweepRow:
    """A job with so many test errors of 10,000 beside its baseline's."""
    own = Numbers(val, None if val is None else 0.1, None if val is None else 6000, errors, 1 - errors / 1e4, 10_000)
    without = None
    if baseline is not None:
        without = Reference("baselines/00", Numbers(test_errors=baseline, test_top1=1 - baseline / 1e4))
    return SweepRow("j", settings, "finished", own, "mnist", without, Reference("t", Numbers(test_errors=70)), p)


def network(errors: int, val: float, **settings: str) -> SweepRow:
    return SweepRow("j", settings, "finished", Numbers(val, 0.1, 6000, errors, 1 - errors / 1e4, 10_000), "mnist")


def test_the_lead_says_which_is_best_and_what_it_gained_over_its_baseline() -> None:
    rows = [student(120, val=0.97, temperature="1"), student(98, temperature="4")]
    assert sweep_lead(rows) == (
        "temperature=4 is the best of 2 settings on validation, and on test it gains 0.48 points of top-1 against the "
        "same student without a teacher: 98 instead of 146 errors of 10,000 (p < 0.0001)."
    )


def test_over_seeds_the_gain_has_its_standard_deviation() -> None:
    errors, baselines = [98, 110, 90], [146, 150, 160]
    pairs = zip(errors, baselines, strict=True)
    rows = [student(own, other, temperature="4", seed=str(seed)) for seed, (own, other) in enumerate(pairs)]
    points = [(other - own) / 100 for own, other in zip(errors, baselines, strict=True)]
    mean = sum(points) / 3
    deviation = math.sqrt(sum((point - mean) ** 2 for point in points) / 2)
    lead = sweep_lead([*rows, student(140, val=0.9, temperature="1")])
    assert f"gains {mean:.2f} ± {deviation:.2f} points" in lead
    assert f"{sum(errors) / 3:.1f} instead of {sum(baselines) / 3:.1f} errors of 10,000 (means over 3 seeds)." in lead


def test_what_made_it_worse_is_said() -> None:
    lead = sweep_lead([student(200, temperature="1"), student(300, val=0.9, temperature="4")])
    assert "it loses 0.54 points of top-1 against the same student without a teacher: 200 instead of 146" in lead


def test_a_gain_that_the_test_set_or_the_seeds_cannot_tell_is_called_noise() -> None:
    alone = sweep_lead([student(145, p=0.93, temperature="1"), student(150, val=0.9, temperature="4")])
    assert "it makes 145 instead of 146 errors of 10,000: +0.01 points" in alone
    assert "within the noise (p = 0.93)." in alone
    errors = [100, 180]
    seeds = sweep_lead([student(own, temperature="1", seed=str(own)) for own in errors])
    deviation = statistics.stdev([(146 - own) / 100 for own in errors])
    assert f"+0.06 ± {deviation:.2f} points" in seeds
    assert "within the noise (means over 2 seeds)." in seeds


def test_without_a_baseline_the_gain_is_unknown() -> None:
    lead = sweep_lead([student(98, None, p=None, temperature="1"), student(99, None, 0.9, None, temperature="4")])
    assert lead.endswith("it gets 99.02 % right: 98 errors of 10,000; there is no baseline, so what distillation gained is unknown.")  # fmt: skip  # noqa: E501


def test_a_sweep_of_networks_says_how_good_the_best_is() -> None:
    lead = sweep_lead([network(150, 0.97, model="mlp_30"), network(120, 0.99, model="mlp_800")])
    assert lead == (
        "model=mlp_800 is the best of 2 settings on validation, and on test it gets 98.80 % right: "
        "120 errors of 10,000."
    )


def test_over_seeds_alone_nothing_is_best() -> None:
    rows = [student(98, seed="0"), student(90, seed="1")]
    assert sweep_lead(rows).startswith("On test the student gains 0.52 ± 0.06 points")
    assert "Ranked" not in table_note(rows)
    assert sweep_lead([network(98, 0.9, seed="0"), network(100, 0.9, seed="1")]).startswith("On test the network gets")


def test_equals_are_named() -> None:
    rows = [student(98, temperature="1"), student(99, temperature="2"), student(150, val=0.9, temperature="4")]
    assert sweep_lead(rows).startswith("temperature=1, level with 1 other, is the best of 3 settings on validation")


def test_without_validation_none_is_best_and_the_test_set_does_not_step_in() -> None:
    rows = [student(98, val=None, temperature="1"), student(140, val=None, temperature="2")]
    assert sweep_lead(rows) == "No setting is called best: there is no validation part to rank by."
    assert table_note(rows) == "In the order of the grid."
    assert any("dataset.val_fraction=0.1" in said for said in sweep_remarks(rows, smoke=False))


def test_what_finished_alone_is_not_called_the_best() -> None:
    rows = [student(98, temperature="1"), SweepRow("j", {"temperature": "2"}, "diverged")]
    assert sweep_lead(rows).startswith("temperature=1 is the only setting that finished, and on test it gains 0.48")
    assert sweep_lead(rows[1:] * 2) == "None of the 2 jobs finished."


def remarks(rows: list[SweepRow], *, smoke: bool = False) -> str:
    return " ".join(sweep_remarks(rows, smoke=smoke))


def test_it_is_said_how_many_settings_might_be_the_best_as_well() -> None:
    error = 100 * math.sqrt(0.98 * 0.02 / 6000)
    tops = {"1": 0.98, "2": 0.9785, "4": 0.9781, "8": 0.97}
    said = remarks([student(98, val=top1, temperature=t) for t, top1 in tops.items()])
    assert f"1 of the other 3 settings is within {error:.2f} points of the best on validation" in said
    assert "the standard error of 6,000 examples" in said
    seeds = [student(98, val=top1, t="1", seed=str(top1)) for top1 in (0.97, 0.99)]
    others = [student(98, val=0.97, t="2"), student(98, val=0.9655, t="4"), student(98, val=0.9, t="8")]
    said = remarks([*seeds, *others])
    assert "1 of the other 3 settings is within 1.41 points of the best on validation, its standard deviation" in said


def test_a_setting_that_lost_seeds_is_not_passed_over() -> None:
    rows = [student(98, t="1", seed="0"), student(98, t="1", seed="1"), student(98, t="2", seed="0")]
    assert "some settings have fewer than others" in table_note([*rows, SweepRow("j", {"t": "2"}, "diverged")])
    assert "some settings have fewer" not in table_note(rows[:2])


def test_baselines_without_a_result_are_named_with_what_they_leave_unknown() -> None:
    lost = SweepRow("j", {"lr": "9"}, "finished", baseline=Reference("baselines/01", status="diverged"))
    said = remarks([student(98, lr="1"), lost])
    assert "Without a result: baselines/01 (diverged); what was gained at lr=9 is unknown." in said


def test_the_formula_stands_in_sweeps_of_students_and_a_smoke_run_is_called_one() -> None:
    assert "total = (1 - alpha) * hard + alpha * soft" in remarks([student(98, t="1")])
    assert "alpha" not in remarks([network(98, 0.9, model="a")])
    assert "smoke run" in remarks([student(98, t="1")], smoke=True)
    assert "smoke run" not in remarks([student(98, t="1")])


def test_hostile_settings_are_inert(hostile: str) -> None:
    rows = [student(98, **{hostile: hostile}), student(99, val=0.9, **{hostile: "1"})]
    assert sweep_lead(rows).isprintable()


@pytest.mark.parametrize("count", [1, 2])
def test_one_job_is_no_crowd(count: int) -> None:
    lead = sweep_lead([SweepRow("j", {}, "failed")] * count)
    assert lead == ("The job did not finish." if count == 1 else "None of the 2 jobs finished.")
