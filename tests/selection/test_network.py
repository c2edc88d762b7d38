"""The ensemble as a teacher: asked, kept and found again like any other."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from kdcli import targets
from kdcli.data.source import make_source
from kdcli.data.types import Split
from kdcli.data.views import make_view
from kdcli.selection import Candidate, Hillclimb, SelectedEnsemble, fit_library, select_from
from kdcli.selection.network import BlendNetwork, as_it_is
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
    return Teacher([BlendNetwork(selected.ensemble, selected.sha256)], [as_it_is(4)], "arithmetic")


def test_a_teacher_says_what_the_ensemble_says(selected: SelectedEnsemble) -> None:
    said = teacher_of(selected).logits(ROWS)
    assert said.shape == (1, 300, 2)
    torch.testing.assert_close(said[0].softmax(-1).double(), selected.ensemble.predict(ROWS), atol=1e-6, rtol=0)


def test_its_digest_is_that_of_the_ensemble_and_has_no_parameters(selected: SelectedEnsemble) -> None:
    network = BlendNetwork(selected.ensemble, selected.sha256)
    assert bytes(network.state_dict()["sha256"].tolist()).hex() == selected.sha256
    assert list(network.parameters()) == []
    other = Teacher([BlendNetwork(selected.ensemble, "00" * 32)], [as_it_is(4)], "arithmetic")
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
