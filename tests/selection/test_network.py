"""The ensemble as a teacher: asked, kept and found again like any other."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from kdcli import targets
from kdcli.data.source import make_source
from kdcli.data.types import Split
from kdcli.data.views import make_view
from kdcli.selection import Blend, Candidate, Hillclimb, SelectedEnsemble, fit_library, select_from
from kdcli.selection.network import KeptEnsemble, as_it_is, keep, row_digests
from kdcli.teachers import Teacher

CPU = torch.device("cpu")
ROWS = 1e6 + torch.randn(300, 4, generator=torch.Generator().manual_seed(0))
LABELS = (ROWS[:, 0] + ROWS[:, 1] > 2e6).long()
CANDIDATES = (Candidate("logistic", (("C", 1.0),)), Candidate("tree", (("leaf", 5),)))


@pytest.fixture(scope="module")
def selected() -> SelectedEnsemble:
    train, part = Split(ROWS[:200], LABELS[:200]), Split(ROWS[200:], LABELS[200:])
    return select_from(fit_library(CANDIDATES, train, 2, seed=0), part, Hillclimb(bags=2, steps=5))


def teacher_of(selected: SelectedEnsemble) -> Teacher:
    return Teacher([keep(selected.ensemble, selected.sha256, ROWS[:100])], [as_it_is(4)], "arithmetic")


def never() -> Blend:
    raise AssertionError("the models are asked")


def test_a_teacher_says_what_the_ensemble_says(selected: SelectedEnsemble) -> None:
    said = teacher_of(selected).logits(ROWS)
    assert said.shape == (1, 300, 2)
    torch.testing.assert_close(said[0].softmax(-1).double(), selected.ensemble.predict(ROWS), atol=1e-6, rtol=0)


def test_its_digest_is_that_of_the_ensemble_and_has_no_parameters(selected: SelectedEnsemble) -> None:
    network = keep(selected.ensemble, selected.sha256, ROWS[:100])
    assert bytes(network.state_dict()["sha256"].tolist()).hex() == selected.sha256
    assert list(network.parameters()) == []
    other = Teacher([keep(selected.ensemble, "00" * 32, ROWS[:100])], [as_it_is(4)], "arithmetic")
    assert teacher_of(selected).sha256() != other.sha256()


def test_its_answers_are_kept_and_found_without_it(selected: SelectedEnsemble, tmp_path: Path) -> None:
    about = targets.Examples(make_source(ROWS, CPU), torch.arange(150), make_view("none", 0, "table"), "data")
    teacher = teacher_of(selected)
    asked = targets.question(teacher, about, 2, "float32")
    assert targets.find(tmp_path, asked, CPU) is None
    targets.find_or_ask(tmp_path, asked, teacher, about, CPU, lambda line: None)
    found = targets.find(tmp_path, targets.question(teacher_of(selected), about, 2, "float32"), CPU)
    assert found is not None
    kept = found.logits(torch.arange(150), torch.zeros(150, dtype=torch.int64), ROWS[:150])
    assert torch.equal(kept, teacher.logits(ROWS[:150]))


def test_the_models_are_asked_about_unknown_rows_only(selected: SelectedEnsemble) -> None:
    kept = keep(selected.ensemble, selected.sha256, ROWS[:100])
    alone = KeptEnsemble(kept.sha256, kept.rows, kept.answers + 1, never)
    known = ROWS[:100].flip(0)
    assert torch.equal(alone(known), kept(known) + 1)
    with pytest.raises(AssertionError, match="the models are asked"):
        alone(ROWS[99:101])
    some = KeptEnsemble(kept.sha256, kept.rows, kept.answers + 1, lambda: selected.ensemble)
    mixed = torch.tensor([250, 0, 99, 100])
    expected = selected.ensemble.log_probabilities(ROWS[mixed]) + torch.tensor([0.0, 1.0, 1.0, 0.0])[:, None]
    torch.testing.assert_close(some(ROWS[mixed]), expected)


def test_rows_are_told_apart_by_any_bit() -> None:
    rows = torch.tensor([[1.0, 2.0], [2.0, 1.0], [1.0, 2.0], [1.0, 2.0000002]])
    first, swapped, same, nearly = row_digests(rows).tolist()
    assert first == same
    assert len({tuple(each) for each in (first, swapped, nearly)}) == 3
