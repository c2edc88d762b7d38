"""What specialists see in an epoch, and the correction for it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from kdcli.engine.specialists import Draws, SpecialistObjective
from kdcli.errors import DataError
from kdcli.objective import Span
from kdcli.specialists import Scope, aggregate

POOL = torch.arange(100, 160)
LABELS = torch.arange(60) % 6  # ten of each class
SCOPES = (Scope(6, (0, 3)), Scope(6, (5,)), Scope(6, None))


def draws(data_seed: int = 0, seeds: tuple[int, ...] = (0, 1, 2)) -> Draws:
    return Draws(POOL, LABELS, SCOPES, 60, seeds, data_seed)


def classes(indices: Tensor) -> Tensor:
    return LABELS[indices - 100]


def test_half_of_what_a_specialist_sees_is_of_its_classes_and_the_baseline_sees_all() -> None:
    first, second, baseline = draws()(0)
    assert len(first) == len(second) == len(baseline) == 60
    assert torch.isin(classes(first), torch.tensor([0, 3])).sum() == 30
    assert (classes(second) == 5).sum() == 30
    assert baseline.sort().values.tolist() == POOL.tolist()


def test_what_is_drawn_depends_on_seed_data_seed_and_epoch_and_on_nothing_else() -> None:
    expected = draws()(3)
    assert all(map(torch.equal, draws()(3), expected))
    for other in (draws()(4), draws(data_seed=1)(3), draws(seeds=(7, 8, 9))(3)):
        assert not any(map(torch.equal, other, expected))
    fewer = Draws(POOL, LABELS, SCOPES[1:], 60, (1, 2), 0)(3)
    assert all(map(torch.equal, fewer, expected[1:]))


def test_specialists_without_examples_of_their_own_are_refused() -> None:
    with pytest.raises(DataError, match="there are 0 and 60"):
        Draws(POOL, LABELS, (Scope(7, (6,)),), 60, (0,), 0).correction(Scope(7, (6,)))


def objective(corrections: list[float], *, full_softmax: bool = False) -> SpecialistObjective:
    spans = [Span(0.0, 0.0)] * len(SCOPES)
    return SpecialistObjective.of(SCOPES, corrections, spans, full_softmax=full_softmax, device=torch.device("cpu"))


def hard_gradient(wanted: SpecialistObjective, logits: Tensor, labels: Tensor) -> Tensor:
    nothing = torch.zeros(len(SCOPES))
    return wanted(logits, labels, None, nothing + 1, nothing).gradient


def test_the_best_a_specialist_can_say_on_its_draws_is_the_posterior_in_the_data() -> None:
    """A world of four inputs whose joint counts with six classes are known; sampling changes the counts, not this."""
    counts = torch.randint(1, 9, (4, 6), generator=torch.Generator().manual_seed(1)).double()
    posterior = counts / counts.sum(1, keepdim=True)
    for k, scope in enumerate(SCOPES[:2]):
        assert scope.special is not None
        own = torch.zeros(6, dtype=torch.bool).index_fill(0, torch.tensor(scope.special), True)
        special, rest = counts[:, own].sum(), counts[:, ~own].sum()
        seen = torch.where(own, counts / special, counts / rest) / 2  # half and half
        logits = posterior.log()
        shift = (~own) * torch.log(rest / special)
        table = SpecialistObjective.of(
            [scope], [float(torch.log(rest / special))], [Span(0, 0)], full_softmax=False, device=torch.device("cpu")
        )
        assert torch.allclose(table.shift[0].double(), shift, atol=1e-6)
        gradient = torch.zeros_like(logits)
        for label in range(6):
            each = [
                table(logits[None, [x]], torch.tensor([[label]]), None, torch.ones(1), torch.zeros(1)) for x in range(4)
            ]
            gradient += seen[:, label, None] * torch.cat([one.gradient[0] for one in each])
        assert gradient.abs().max() < 1e-6, k


def test_shifting_the_logits_while_training_is_raising_the_dustbin_afterwards() -> None:
    """Two linear networks, one trained with the shift, one without it from a lower bias, as the paper corrects."""
    draw = torch.Generator().manual_seed(3)
    inputs, labels = torch.randn(40, 5, generator=draw), torch.randint(6, (40,), generator=draw)
    start, bias, correction = torch.randn(6, 5, generator=draw), torch.randn(6, generator=draw), 1.25
    outside = torch.tensor([0.0, 1, 1, 0, 1, 1])
    answers = []
    for shifted in (True, False):
        weight, offset = start.clone().requires_grad_(), (bias - (not shifted) * correction * outside).requires_grad_()
        of = objective([correction * shifted, 0.0, 0.0])
        for _ in range(30):
            logits = (inputs @ weight.T + offset).expand(3, -1, -1)
            logits[0].backward(hard_gradient(of, logits, labels.expand(3, -1))[0])
            with torch.no_grad():
                for tensor in (weight, offset):
                    assert tensor.grad is not None
                    tensor -= 0.5 * tensor.grad
                    tensor.grad = None
        said = aggregate((inputs @ weight.T + offset).detach(), (0, 3))
        said[:, 0] += 0.0 if shifted else correction
        answers.append(said.softmax(1))
    assert torch.allclose(answers[0], answers[1], atol=1e-5)
    assert not torch.allclose(answers[0], aggregate(inputs @ start.T + bias, (0, 3)).softmax(1), atol=0.1)


def test_the_full_softmax_mixes_labels_and_the_generalists_targets_by_alpha() -> None:
    draw = torch.Generator().manual_seed(4)
    logits, teacher = torch.randn(2, 3, 8, 6, generator=draw)
    labels = torch.randint(6, (3, 8), generator=draw)
    of, temperature = objective([0.0, 0.0, 0.0], full_softmax=True), torch.full((3,), 2.0)
    terms = of(logits, labels, teacher[None], temperature, torch.tensor([0.25, 1.0, 0.0]))
    assert terms.hard is not None
    assert terms.soft is not None
    picked = logits.log_softmax(-1).gather(-1, labels[..., None])[..., 0]
    assert torch.allclose(terms.hard, -picked.mean(-1))
    mixed = [0.75 * terms.hard[0] + 0.25 * terms.soft[0], terms.soft[1], terms.hard[2]]
    assert torch.allclose(terms.total, torch.stack(mixed))


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_the_gradient_is_that_of_the_textbook(alpha: float) -> None:
    """Of the network that knows all classes: its targets are the labels and the generalist's own probabilities."""
    draw = torch.Generator().manual_seed(5)
    logits, teacher = torch.randn(2, 3, 8, 6, generator=draw)
    labels, temperature = torch.randint(6, (3, 8), generator=draw), 2.5
    of = objective([0.0, 0.0, 0.0], full_softmax=True)
    found = of(logits, labels, teacher[None], torch.full((3,), temperature), torch.full((3,), alpha)).gradient[2]
    z, t = logits[2].double(), (teacher[2].double() / temperature).softmax(-1)
    hard = z.softmax(-1) - torch.eye(6)[labels[2]]
    soft = temperature * ((z / temperature).softmax(-1) - t)
    assert torch.allclose(found.double(), ((1 - alpha) * hard + alpha * soft) / 8, atol=1e-6)
