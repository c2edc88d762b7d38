"""Teachers are asked and never change; what they said once is what they would say again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from kdcli import teachers as teachers_module
from kdcli.data.normalize import Normalization
from kdcli.data.source import TensorSource
from kdcli.data.views import Crop, Flip, Identity, Shift, View
from kdcli.engine.bank import make_bank
from kdcli.engine.fit import Fit, FitPlan, MemberPlan
from kdcli.engine.stream import Stream, Targets
from kdcli.engine.update import SgdRule
from kdcli.errors import DivergedError
from kdcli.models import build_model
from kdcli.objective import Objective, Span
from kdcli.schedules import Constant, ConstantRate
from kdcli.teachers import (
    LiveTargets,
    PermutedTargets,
    TargetTable,
    Teacher,
    answers,
    permutation_keys,
    weights_sha256,
)

N = 30
NORMALIZATIONS = (Normalization((0.5,), (0.3,)), Normalization((0.1,), (2.0,)))
OPTIONS = {"hidden": [8], "dropout": 0.5, "batch_norm": True}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def images() -> Tensor:
    return torch.randint(0, 256, (N, 1, 6, 6), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def network(seed: int) -> nn.Module:
    """With dropout and batch norm, the two that behave otherwise in training, and statistics of its own."""
    net = build_model("mlp", (1, 6, 6), 3, OPTIONS, seed=seed)
    with torch.no_grad():
        for index in range(3):
            net(NORMALIZATIONS[0](images()[10 * index :]))
    return net


def teacher_of(*seeds: int, ensemble: Any = "arithmetic") -> Teacher:
    return Teacher([network(seed) for seed in seeds], NORMALIZATIONS[: len(seeds)], ensemble)


def test_a_teacher_is_in_evaluation_mode_and_without_gradients() -> None:
    teacher = teacher_of(1, 2)
    assert not any(module.training for net in teacher.networks for module in net.modules())
    assert not any(p.requires_grad for net in teacher.networks for p in net.parameters())
    answers = teacher.logits(images())
    assert not answers.requires_grad
    assert torch.equal(teacher.logits(images()), answers)


def test_answers_have_no_graph_even_of_a_network_that_hides_what_it_trains() -> None:
    class Hiding(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.hidden = [torch.ones(3, requires_grad=True)]

        def forward(self, x: Tensor) -> Tensor:
            return x.flatten(1)[:, :3] * self.hidden[0]

    assert not Teacher([Hiding()], NORMALIZATIONS[:1], "arithmetic").logits(images()).requires_grad


def test_every_member_normalises_with_its_own_numbers() -> None:
    answers = teacher_of(1, 2).logits(images())
    pixels = images().float() / 255
    expected = [
        network(1).eval()((pixels - 0.5) / 0.3),
        network(2).eval()((pixels - 0.1) / 2.0),
    ]
    assert answers.shape == (2, N, 3)
    torch.testing.assert_close(answers, torch.stack(expected), rtol=1e-4, atol=1e-5)


def test_answers_are_float32_whatever_the_network_computes_in() -> None:
    class Half(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.flatten(1)[:, :3].half()

    assert Teacher([Half()], NORMALIZATIONS[:1], "arithmetic").logits(images()).dtype == torch.float32


@pytest.mark.parametrize("batch", [4, 1000])
@pytest.mark.parametrize("ensemble", ["arithmetic", "geometric"])
def test_log_probs_are_those_of_the_mean_distribution(
    monkeypatch: pytest.MonkeyPatch, ensemble: str, batch: int
) -> None:
    monkeypatch.setattr(teachers_module, "BATCH", batch)
    teacher = teacher_of(1, 2, ensemble=ensemble)
    indices = torch.arange(N - 1, 3, -2)
    probs = teacher.logits(images()[indices]).double().softmax(-1)
    mean = probs.mean(0) if ensemble == "arithmetic" else probs.log().mean(0).softmax(-1)
    found = teacher.log_probs(TensorSource(images(), "cpu"), indices)
    torch.testing.assert_close(found.exp().double(), mean, rtol=1e-5, atol=1e-7)


def asked(teacher: Teacher, source: TensorSource, indices: Tensor, view: View) -> TargetTable:
    """A table of all answers, in which each row must be said once."""
    parts = sorted(answers(teacher, source, indices, view), key=lambda part: part[0])
    done = 0
    for first, logits in parts:
        assert first == done
        done += logits.shape[1]
    return TargetTable(torch.cat([logits for _, logits in parts], dim=1), len(indices))


VIEWS: list[View] = [Identity(), Shift(1), Flip(), Crop(1)]


@pytest.mark.parametrize("batch", [7, 1000])
@pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.name)
def test_a_table_says_what_the_teacher_says_live(monkeypatch: pytest.MonkeyPatch, view: View, batch: int) -> None:
    monkeypatch.setattr(teachers_module, "BATCH", batch)
    teacher, source = teacher_of(1, 2), TensorSource(images(), "cpu")
    indices = torch.tensor([4, 29, 0, 17, 8, 11, 3, 22, 5])
    table = asked(teacher, source, indices, view)
    assert table.table.shape == (2, view.count * len(indices), 3)
    draw = torch.Generator().manual_seed(1)
    for _ in range(5):
        positions = torch.randperm(len(indices), generator=draw)[:6]
        views = torch.randint(view.count, (6,), generator=draw)
        raw = view.apply(source.gather(indices[positions]), views)
        expected = LiveTargets(teacher).logits(positions, views, raw)
        torch.testing.assert_close(table.logits(positions, views, raw), expected, rtol=1e-5, atol=1e-6)
        if view.count > 1:
            other = table.logits(positions, (views + 1) % view.count, raw)
            assert not torch.allclose(other, expected, atol=1e-3)


def test_every_example_is_fetched_once_for_all_of_its_views(monkeypatch: pytest.MonkeyPatch) -> None:
    fetched: list[int] = []

    class Listening(TensorSource):
        def gather(self, indices: Tensor) -> Tensor:
            fetched.extend(indices.tolist())
            return super().gather(indices)

    monkeypatch.setattr(teachers_module, "BATCH", 7)
    asked(teacher_of(1), Listening(images(), "cpu"), torch.arange(20), Shift(1))
    assert fetched == list(range(20))


def test_a_network_that_wants_more_at_once_is_asked_about_as_many() -> None:
    sizes: list[int] = []

    class Counting(nn.Module):
        at_once = 13

        def forward(self, x: Tensor) -> Tensor:
            sizes.append(len(x))
            return x.flatten(1)[:, :3]

    network, indices = Counting(), torch.arange(30)
    teacher = Teacher([network], NORMALIZATIONS[:1], "arithmetic")
    table = asked(teacher, TensorSource(images(), "cpu"), indices, Identity())
    assert (sizes, table.table.shape[1]) == ([13, 13, 4], 30)
    Counting.at_once = 1
    torch.testing.assert_close(asked(teacher, TensorSource(images(), "cpu"), indices, Identity()).table, table.table)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_answers_that_are_not_finite_are_refused_before_anything_is_trained(value: float) -> None:
    teacher = teacher_of(1)
    with torch.no_grad():
        list(teacher.networks[0].parameters())[-1].fill_(value)
    source, indices = TensorSource(images(), "cpu"), torch.arange(N)
    with pytest.raises(DivergedError, match="not finite") as caught:
        next(answers(teacher, source, indices, Identity()))
    assert caught.value.where == "teacher"
    with pytest.raises(DivergedError, match="not finite"):
        teacher.log_probs(source, indices)


def test_the_hash_is_of_names_types_shapes_and_numbers() -> None:
    state = {"a": torch.tensor([1.0, 2.0]), "b": torch.tensor(3)}
    assert weights_sha256([state]) == weights_sha256([{name: tensor.clone() for name, tensor in state.items()}])
    others = [
        {"a": torch.tensor([1.0, 2.0000002]), "b": torch.tensor(3)},
        {"a": torch.tensor([1.0, -2.0]), "b": torch.tensor(3)},
        {"c": state["a"], "b": state["b"]},
        {"a": state["a"].view(2, 1), "b": state["b"]},
        {"a": state["a"].view(torch.int32), "b": state["b"]},
        {"a": state["a"]},
    ]
    hashes = {weights_sha256([other]) for other in others}
    assert len(hashes | {weights_sha256([state])}) == len(others) + 1
    assert weights_sha256([state, others[0]]) != weights_sha256([others[0], state])
    assert teacher_of(1, 2).sha256() != teacher_of(2, 1).sha256()


@dataclass(frozen=True)
class Touched:
    """A teacher that does what it must not: it answers in training mode."""

    teacher: Teacher

    def logits(self, positions: Tensor, views: Tensor, inputs: Tensor) -> Tensor:
        """See Targets."""
        for net in self.teacher.networks:
            net.train()
        return self.teacher.logits(inputs)


def distilled(teacher: Teacher, targets: Targets) -> None:
    """Two epochs of a student."""
    net = build_model("mlp", (1, 6, 6), 3, {"hidden": [5]}, seed=7)
    bank = make_bank([net], [7], torch.device("cpu"), compiled=False)
    source, labels = TensorSource(images(), "cpu"), torch.arange(N) % 3
    stream = Stream(source, labels, [torch.arange(N)], Shift(1), NORMALIZATIONS[0], 10, 0, targets)
    member = MemberPlan(SgdRule(), 0.1, ConstantRate(), Constant(3.0), Constant(0.7))
    objective = Objective([Span(0.7, 0.7)], "kd", teacher.ensemble)
    list(Fit(bank, stream, objective, FitPlan([member], 2), None).events())


@pytest.mark.parametrize("live", [True, False])
def test_distillation_leaves_the_teacher_as_it_was(live: bool) -> None:
    teacher = teacher_of(1, 2)
    before = teacher.sha256()
    source = TensorSource(images(), "cpu")
    targets = LiveTargets(teacher) if live else asked(teacher, source, torch.arange(N), Shift(1))
    distilled(teacher, targets)
    assert teacher.sha256() == before
    assert not any(module.training for net in teacher.networks for module in net.modules())
    assert all(p.grad is None for net in teacher.networks for p in net.parameters())


def test_the_hash_notices_a_teacher_in_training_mode() -> None:
    teacher = teacher_of(1, 2)
    before = teacher.sha256()
    distilled(teacher, Touched(teacher))
    assert teacher.sha256() != before


def test_a_teacher_is_not_changed_by_being_put_together_otherwise() -> None:
    teacher = teacher_of(1, 2)
    assert replace(teacher, ensemble="geometric").sha256() == teacher.sha256()


def test_permuted_answers_are_one_permutation_of_each_example_whatever_the_view() -> None:
    """Of three classes the one that the mean chooses stays, and the other two change places where the keys say so."""
    teacher, source, view = teacher_of(1, 2), TensorSource(images(), "cpu"), Shift(1)
    table = asked(teacher, source, torch.arange(N), view)
    keys = permutation_keys(N, 3, data_seed=5)
    permuted = PermutedTargets(table, keys, "arithmetic")
    for number in (0, 4, 8):
        positions, views = torch.arange(N - 1, -1, -1), torch.full((N,), number)
        said = table.logits(positions, views, torch.empty(0))
        found = permuted.logits(positions, views, torch.empty(0))
        for row, position in enumerate(positions.tolist()):
            top = int(said[:, row].softmax(-1).mean(0).argmax())
            low, high = (c for c in range(3) if c != top)
            order = [top, low, high] if keys[position, low] < keys[position, high] else [top, high, low]
            assert torch.equal(found[:, row, [top, low, high]], said[:, row, order])


def test_permutations_depend_on_the_data_seed_alone() -> None:
    assert torch.equal(permutation_keys(N, 3, 5), permutation_keys(N, 3, 5))
    assert not torch.equal(permutation_keys(N, 3, 5), permutation_keys(N, 3, 6))
