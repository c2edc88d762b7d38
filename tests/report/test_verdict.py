from __future__ import annotations

from collections.abc import Callable

import pytest

from kdcli.report.text import width_of
from kdcli.report.verdict import headline, training_verdict
from kdcli.schema.results import AloneSummary, SelectedMember, SelectionSummary, Summary

Make = Callable[..., Summary]


def said(summary: Summary, *, smoke: bool = False) -> str:
    """The verdict with its line breaks undone."""
    return " ".join(training_verdict(summary, width=80, smoke=smoke).split())


def test_a_significantly_better_student_gained_points_and_closed_a_share_of_the_gap(summary: Make) -> None:
    text = said(summary(98, 146, 74, only=(80, 32), p=6.2e-6))
    assert "Distillation gained 0.48 points of top-1" in text
    assert "98 errors instead of 146 of 10,000 test examples" in text
    assert "Of the 72 errors between baseline and teacher, 48 are gone: 66.7 % of the gap is closed." in text
    assert "80 test examples only the student gets right, 32 only the baseline" in text
    assert "about once in 160,000 times (p < 0.0001): the student really is better than the baseline" in text
    assert "within the noise" not in text


def test_a_difference_within_the_noise_is_called_that(summary: Make) -> None:
    text = said(summary(140, 146, 74, only=(60, 54), p=0.64))
    assert "Whether distillation helped is within the noise: 140 errors instead of 146" in text
    assert "64 times in 100 (p = 0.64): the difference is within the noise" in text
    assert "gained" not in text
    assert "really is better" not in text


def test_a_p_value_of_five_percent_is_noise(summary: Make) -> None:
    assert "within the noise" in headline(summary(p=0.05))
    assert "gained" in headline(summary(p=0.0499))


def test_a_student_worse_than_its_baseline_is_told_so(summary: Make) -> None:
    text = said(summary(170, 146, 74, only=(30, 54), p=0.012))
    assert "Distillation cost 0.24 points of top-1" in text
    assert "none is gone: the student makes 24 more than the baseline" in text
    assert "about once in 83 times (p = 0.012): the baseline really is better than the student" in text
    assert "closed" not in text


def test_a_teacher_no_better_than_the_baseline_leaves_no_gap(summary: Make) -> None:
    text = said(summary(140, 146, 150, only=(60, 54), p=0.64))
    assert "The teacher is no better than the baseline (150 errors against 146): there is no gap to close" in text
    assert "% of the gap" not in text


def test_a_student_better_than_its_teacher_is_told_so(summary: Make) -> None:
    text = said(summary(60, 146, 74))
    assert "119.4 % of the gap is closed. The student is better than its teacher." in text


def test_without_a_baseline_nothing_is_claimed(summary: Make) -> None:
    text = said(summary(98, None))
    assert "no baseline was trained, so what distillation gained is unknown" in text
    assert "McNemar" not in text
    assert "baseline 1" not in text


def test_a_split_that_chance_never_makes_has_odds_below_a_million(summary: Make) -> None:
    assert "less than once in a million times" in said(summary(p=1e-30))


def test_the_table_has_teacher_baseline_and_student_in_this_order(summary: Make) -> None:
    lines = training_verdict(summary(), width=80).split("\n")
    assert [line.split() for line in lines[1:4]] == [
        ["teacher", "74", "99.26", "0.0222", "0.0042", "2,395,210"],
        ["baseline", "146", "98.54", "0.0438", "0.0042", "98.10", "1,276,810"],
        ["student", "98", "99.02", "0.0294", "0.0042", "99.31", "1,276,810"],
    ]


def test_the_formula_is_printed_with_its_numbers(summary: Make) -> None:
    text = said(summary())
    assert "total = (1 - alpha) * hard + alpha * soft = 0.1 * hard + 0.9 * soft" in text
    assert "loss kd, alpha 0.9, temperature 20." in text
    text = said(summary(alpha="linear", temperature="cosine"))
    assert "total = (1 - alpha) * hard + alpha * soft, with loss kd, alpha linear, temperature cosine." in text


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        (100_000, "24 times smaller than its teacher: 100,000 parameters against 2,395,210"),
        (2_395_210, "as large as its teacher: 2,395,210 parameters"),
        (4_790_420, "2.0 times larger than its teacher"),
    ],
)
def test_compression_is_a_factor(summary: Make, parameters: int, words: str) -> None:
    assert words in said(summary(parameters=parameters))


def test_a_teacher_without_parameters_is_not_a_factor(summary: Make) -> None:
    made = summary(parameters=2_434)
    assert made.teacher is not None
    text = said(made.model_copy(update={"teacher": made.teacher.model_copy(update={"parameters": 0})}))
    assert "The teacher is no network, whose parameters would count; the student has 2,434." in text


def test_an_ensemble_selection_says_what_it_costs_and_what_its_best_models_are_alone(teacher_summary: Make) -> None:
    test = teacher_summary().test
    single = AloneSummary(
        name="svm C=10", bytes=250_000, seconds_per_10k=0.52, test=test.model_copy(update={"rmse": 0.0771})
    )
    members = [SelectedMember(name="svm C=10", weight=0.75), SelectedMember(name="tree", weight=0.25)]
    selection = SelectionSummary(sha256="0" * 64, models=146, members=members, single=single, net=None)
    chosen = {"bytes": 26_000_000, "seconds_per_10k": 3.14, "selection": selection, "parameters": 0, "epochs": 0}
    text = said(teacher_summary(model="selection", **chosen))
    assert "the mean of 2 members of a library of 146 models: 26.0 MB, 3.1 s for 10,000 cases." in text
    assert "the ensemble 0.0300, the best single model alone 0.0771 (svm C=10; 250.0 kB, 0.52 s)." in text
    assert "epochs" not in text
    assert "neural net" not in text


def test_an_ensemble_as_teacher_is_counted(summary: Make) -> None:
    student = summary()
    assert student.teacher is not None
    ensemble = student.teacher.model_copy(update={"members": 10, "run": ["a", "b"]})
    text = said(student.model_copy(update={"teacher": ensemble}))
    assert "teacher of 10" in text
    assert "kd evaluate 'run=[a,b,outputs/distill-student/" in text


def test_a_student_ends_with_its_place_and_the_runs_to_evaluate(summary: Make) -> None:
    lines = training_verdict(summary(), width=40).split("\n")
    assert lines[-2] == "run   outputs/distill-student/20261121T194455Z-7f3a"
    assert lines[-1] == (
        "next  kd evaluate 'run=[outputs/train-teacher/t,outputs/distill-student/20261121T194455Z-7f3a/baseline,"
        "outputs/distill-student/20261121T194455Z-7f3a]'"
    )


def test_a_teacher_shows_its_errors_and_how_to_distil_it(teacher_summary: Make) -> None:
    text = said(teacher_summary())
    assert "mlp_1200 on mnist gets 99.26 % right: 74 errors of 10,000 test examples." in text
    assert "On validation it gets 98.98 % right" in text
    assert "20 epochs (8,600 steps) in 3:03 min" in text
    assert "the numbers are of epoch 18, the best on validation" in text
    assert text.endswith("next kd distill-student teacher=latest")


def test_one_epoch_is_no_epochs(teacher_summary: Make) -> None:
    assert " 1 epoch (9 steps) in" in said(teacher_summary(epochs=1, steps=9))


def test_a_teacher_elsewhere_is_named_by_its_path(teacher_summary: Make) -> None:
    text = said(teacher_summary(run="my runs/train-teacher/x"))
    assert text.endswith("""next kd distill-student 'teacher="my runs/train-teacher/x"'""")


def test_members_of_an_ensemble_have_a_mean_and_a_standard_deviation(teacher_summary: Make) -> None:
    text = training_verdict(teacher_summary(members=(80, 84, 88)), width=120)
    # errors 80, 84, 88: mean 84, s.d. sqrt(32 / 2) = 4; in top-1 99.16 and 0.04
    assert "84.0 ± 4.0 (3)" in text
    assert "That is the ensemble of 3 members; one member alone gets 99.16 ± 0.04 (3) % right" in " ".join(text.split())


def test_members_that_teach_each_other_have_a_formula_and_others_have_none(teacher_summary: Make) -> None:
    mutual = teacher_summary((70, 78), loss="mutual", alpha=0.5, temperature=1.0)
    formula = "total = (1 - alpha) * hard + alpha * soft = 0.5 * hard + 0.5 * soft, with loss mutual"
    assert formula in " ".join(said(mutual).split())
    assert "total" not in said(teacher_summary((70, 78)))


def test_a_smoke_run_says_that_its_numbers_mean_nothing(summary: Make, teacher_summary: Make) -> None:
    for one in (summary(), teacher_summary()):
        text = said(one, smoke=True)
        assert "its numbers say nothing" in text
        assert text.endswith(" --smoke")
        assert "smoke" not in said(one)


@pytest.mark.parametrize("width", [40, 80, 160])
def test_sentences_and_table_fit_the_terminal(summary: Make, width: int) -> None:
    table, sentences, _ = training_verdict(summary(), width=width).split("\n\n")
    assert max(map(width_of, (table + "\n" + sentences).split("\n"))) <= width


def test_hostile_names_are_inert(summary: Make, teacher_summary: Make, hostile: str) -> None:
    for one in (teacher_summary(model=hostile, dataset=hostile), summary(run=hostile, loss=hostile)):
        text = training_verdict(one, width=80)
        assert all(line.isprintable() for line in text.split("\n"))
