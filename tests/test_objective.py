"""The objective of a whole cohort, against one example at a time in float64."""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from kdcli import objective as objective_module
from kdcli.losses.own import OwnLoss
from kdcli.losses.pair import pairs
from kdcli.objective import LossTerms, Material, Objective, Span

K, B, C = 4, 5, 3
MANY = 30  # examples, whose scores are turned before they are computed with
ALPHAS = (0.0, 0.3, 0.9, 1.0)
TEMPERATURES = (1.0, 4.0, 0.5, 20.0)
SMOOTHINGS = (0.0, 0.1, 0.5, 1.0)
OPEN = tuple(Span(0.0, 1.0) for _ in range(K))


def draw(*shape: int, seed: int = 0) -> Tensor:
    return 3 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def labels_of(*shape: int) -> Tensor:
    return torch.randint(C, shape, generator=torch.Generator().manual_seed(9))


def softmax(scores: Sequence[float]) -> list[float]:
    top = max(scores)
    powers = [math.exp(score - top) for score in scores]
    return [power / sum(powers) for power in powers]


def mean_distribution(members: list[list[float]], temperature: float, how: str) -> list[float]:
    """What an ensemble says of one example at a temperature."""
    said = [softmax([score / temperature for score in scores]) for scores in members]
    if how == "arithmetic":
        return [sum(column) / len(said) for column in zip(*said, strict=True)]
    roots = [math.prod(column) ** (1 / len(said)) for column in zip(*said, strict=True)]
    return [root / sum(roots) for root in roots]


def soft_of(name: str, scores: list[float], members: list[list[float]], temperature: float, how: str) -> float:
    """The soft term of one example."""
    teacher = mean_distribution(members, temperature, how)
    student = softmax([score / temperature for score in scores])
    if name == "mse_logits":
        wanted = [temperature * math.log(p) for p in teacher]
        difference = [s - w for s, w in zip(scores, wanted, strict=True)]
        middle = sum(difference) / len(difference)
        return sum((value - middle) ** 2 for value in difference) / 2
    if name == "mse_probs":
        return temperature**2 * sum((q - p) ** 2 for p, q in zip(teacher, student, strict=True)) / 2
    cross = -sum(p * math.log(q) for p, q in zip(teacher, student, strict=True))
    entropy = -sum(p * math.log(p) for p in teacher)
    return temperature**2 * (cross - entropy if name == "kd" else cross)


def hard_of(scores: list[float], label: int, smoothing: float) -> float:
    """The hard term of one example."""
    said = softmax(scores)
    wanted = [smoothing / C + (1 - smoothing) * (label == c) for c in range(C)]
    return -sum(w * math.log(q) for w, q in zip(wanted, said, strict=True))


def reference(
    logits: Tensor, labels: Tensor, teacher: Tensor, name: str, how: str, alphas: Sequence[float] = ALPHAS
) -> list[tuple[float, float, float]]:
    """Total, hard and soft of every network."""
    found = []
    for k in range(K):
        own = labels[k] if labels.dim() == 2 else labels
        scores, members = logits[k].double().tolist(), teacher.double().transpose(0, 1).tolist()
        size = len(scores)
        hard = sum(hard_of(scores[b], int(own[b]), SMOOTHINGS[k]) for b in range(size)) / size
        soft = sum(soft_of(name, scores[b], members[b], TEMPERATURES[k], how) for b in range(size)) / size
        found.append(((1 - alphas[k]) * hard + alphas[k] * soft, hard, soft))
    return found


def terms_of(objective: Objective, logits: Tensor, labels: Tensor, teacher: Tensor | None) -> LossTerms:
    return objective(logits, labels, teacher, torch.tensor(TEMPERATURES), torch.tensor(ALPHAS))


@pytest.mark.parametrize("size", [B, MANY])
@pytest.mark.parametrize("own", [False, True], ids=["labels of all", "labels of each"])
@pytest.mark.parametrize("how", ["arithmetic", "geometric"])
@pytest.mark.parametrize("teachers", [1, 3])
@pytest.mark.parametrize("name", ["kd", "soft_ce", "mse_logits", "mse_probs"])
def test_total_is_the_formula(name: str, teachers: int, how: Any, own: bool, size: int) -> None:
    logits, teacher = draw(K, size, C).double(), draw(teachers, size, C, seed=1).double()
    labels = labels_of(K, size) if own else labels_of(size)
    found = terms_of(Objective(OPEN, name, how, SMOOTHINGS), logits, labels, teacher)
    expected = torch.tensor(reference(logits, labels, teacher, name, how), dtype=torch.float64).T
    assert found.hard is not None
    assert found.soft is not None
    torch.testing.assert_close(torch.stack([found.total, found.hard, found.soft]), expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("size", [B, MANY])
@pytest.mark.parametrize("smoothing", [(0.0,), SMOOTHINGS], ids=["no smoothing", "smoothing of each"])
@pytest.mark.parametrize("name", ["kd", "soft_ce", "mse_logits", "mse_probs"])
def test_the_gradient_is_that_of_the_total(name: str, smoothing: tuple[float, ...], size: int) -> None:
    logits, teacher, labels = draw(K, size, C).double(), draw(2, size, C, seed=1), labels_of(size)
    objective = Objective(OPEN, name, "arithmetic", smoothing)

    def total(z: Tensor) -> float:
        return terms_of(objective, z, labels, teacher.double()).total.sum().item()

    gradient = terms_of(objective, logits, labels, teacher.double()).gradient
    for place in itertools.product(range(K), (0, size - 1), range(C)):
        shift = torch.zeros_like(logits).index_put_(tuple(map(torch.tensor, place)), torch.tensor(1e-5).double())
        slope = (total(logits + shift) - total(logits - shift)) / 2e-5
        assert gradient[place].item() == pytest.approx(slope, rel=1e-4, abs=1e-8)


INSIDE = (0.3, 0.9, 0.5, 0.1)
OWN = OwnLoss(
    "mine:loss", lambda student, teacher, temperature, power: (student - teacher).pow(power).mean(), {"power": 2}
)
LESSONS = 2


@pytest.fixture
def paired(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How often targets were worked out for several batches."""
    calls = []

    def noted(*args: Any, **options: Any) -> Any:
        calls.append(1)
        return pairs(*args, **options)

    monkeypatch.setattr(objective_module, "pairs", noted)
    return calls


@pytest.mark.parametrize("smoothing", [(0.0,) * K, SMOOTHINGS], ids=["no smoothing", "smoothing of each"])
@pytest.mark.parametrize("how", ["arithmetic", "geometric"])
@pytest.mark.parametrize("teachers", [1, 3])
@pytest.mark.parametrize("name", ["kd", "dkpp", "soft_ce"])
def test_what_is_worked_out_for_several_batches_is_the_formula(
    name: str, teachers: int, how: Any, smoothing: tuple[float, ...], paired: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules[__name__], "SMOOTHINGS", smoothing)
    teacher, labels = draw(teachers, LESSONS * MANY, C, seed=1), labels_of(LESSONS * MANY)
    objective = Objective([Span(alpha, alpha) for alpha in INSIDE], name, how, smoothing)
    tables = (torch.tensor([numbers] * LESSONS) for numbers in (TEMPERATURES, INSIDE))
    lessons = objective.lessons(Material(labels, teacher, [MANY] * LESSONS, *tables))
    assert paired == [1]
    parts = zip(lessons, labels.split(MANY), teacher.split(MANY, 1), strict=True)
    for seed, (lesson, own, told) in enumerate(parts, 2):
        logits = draw(K, MANY, C, seed=seed)
        found = lesson(logits)
        assert found.hard is not None
        assert found.soft is not None
        wanted = reference(logits, own, told, "soft_ce" if name == "soft_ce" else "kd", how, INSIDE)
        values = torch.stack([found.total, found.hard, found.soft])
        torch.testing.assert_close(values.double(), torch.tensor(wanted, dtype=torch.float64).T, rtol=2e-5, atol=1e-6)
        settings = torch.tensor(TEMPERATURES), torch.tensor(INSIDE)
        exact = objective(logits.double(), own, told.double(), *settings).gradient
        torch.testing.assert_close(found.gradient.double(), exact, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(
    ("name", "alphas", "temperatures", "sizes"),
    [
        ("mse_logits", [INSIDE] * 2, [TEMPERATURES] * 2, [MANY, MANY]),
        (OWN, [INSIDE] * 2, [TEMPERATURES] * 2, [MANY, MANY]),
        ("kd", [ALPHAS] * 2, [TEMPERATURES] * 2, [MANY, MANY]),
        ("kd", [INSIDE, INSIDE[::-1]], [TEMPERATURES] * 2, [MANY, MANY]),
        ("kd", [INSIDE] * 2, [TEMPERATURES, TEMPERATURES[::-1]], [MANY, MANY]),
        ("kd", [INSIDE] * 2, [TEMPERATURES] * 2, [MANY, B]),
    ],
    ids=[
        "another loss",
        "the user's own",
        "alpha at its ends",
        "alpha changes",
        "temperature changes",
        "a smaller batch",
    ],
)
def test_batches_that_differ_in_more_than_their_examples_are_taken_one_by_one(
    name: Any, alphas: Any, temperatures: Any, sizes: list[int], paired: list[int]
) -> None:
    teacher, labels = draw(1, sum(sizes), C, seed=1), labels_of(sum(sizes))
    objective = Objective(OPEN if alphas[0] == ALPHAS else [Span(0.1, 0.9)] * K, name, "arithmetic", SMOOTHINGS)
    tables = torch.tensor(temperatures), torch.tensor(alphas)
    lessons = objective.lessons(Material(labels, teacher, sizes, *tables))
    assert paired == []
    parts = zip(lessons, sizes, labels.split(sizes), teacher.split(sizes, 1), *tables, strict=True)
    for lesson, size, own, told, temperature, alpha in parts:
        logits = draw(K, size, C)
        assert torch.equal(lesson(logits).gradient, objective(logits, own, told, temperature, alpha).gradient)


def test_members_do_not_touch_each_other() -> None:
    logits, teacher, labels = draw(K, B, C), draw(2, B, C, seed=1), labels_of(B)
    together = terms_of(Objective(OPEN, "kd", "arithmetic", SMOOTHINGS), logits, labels, teacher).gradient
    for k in range(K):
        single = Objective(OPEN[:1], "kd", "arithmetic", SMOOTHINGS[k : k + 1])
        own = torch.tensor(TEMPERATURES[k : k + 1]), torch.tensor(ALPHAS[k : k + 1])
        alone = single(logits[k : k + 1], labels, teacher, *own).gradient
        torch.testing.assert_close(together[k], alone[0], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", ["kd", "soft_ce", "mse_logits", "mse_probs"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_term_of_weight_zero_is_masked_and_never_multiplied(name: str, value: float) -> None:
    logits, labels = draw(K, B, C), labels_of(B)
    broken = torch.full((1, B, C), value)
    found = terms_of(Objective(OPEN, name), logits, labels, broken)
    plain = terms_of(Objective([Span(0, 0)] * K, None), logits, labels, None)
    assert found.total[0] == plain.total[0]
    assert found.total.isfinite().tolist() == [True, False, False, False]
    assert bool(found.gradient[0].isfinite().all())


def test_a_term_of_weight_zero_may_overflow() -> None:
    """Logits so large that the squared distance, or the cross-entropy at temperature 1, is infinite in float32."""
    certain = torch.tensor([[[100.0, -100.0, -100.0]]])
    wrong = torch.tensor([1])
    far = torch.tensor([[[4e19, -4e19, -4e19]]])
    alpha, temperature = torch.tensor([0.0]), torch.tensor([10.0])
    found = Objective(OPEN[:1], "mse_logits")(far, wrong, certain, temperature, alpha)
    assert found.soft is not None
    assert found.soft.isinf().all()
    assert found.total.item() == pytest.approx(8e19)
    found = Objective(OPEN[:1], "kd")(far * 5e18, wrong, certain, temperature, alpha + 1)
    assert found.hard is not None
    assert not found.hard.isfinite().any()
    assert found.total.isfinite().all()


def test_alpha_one_has_the_gradient_of_the_soft_term_alone() -> None:
    gradients = []
    for labels in (labels_of(B), (labels_of(B) + 1) % C):
        gradients.append(terms_of(Objective(OPEN, "kd"), draw(K, B, C), labels, draw(1, B, C, seed=1)).gradient)
    same = [torch.equal(gradients[0][k], gradients[1][k]) for k in range(K)]
    assert same == [False, False, False, True]


def test_what_nobody_needs_is_not_computed() -> None:
    """Labels that name no class and a teacher that is not there would fail if they were looked at."""
    logits, nonsense = draw(K, B, C), torch.full((B,), 99)
    ones, twos = torch.ones(K), torch.full((K,), 2.0)
    teacher = draw(2, B, C, seed=1)
    pure = Objective([Span(1, 1)] * K, "kd")
    assert (pure.uses_teacher, pure.uses_labels) == (True, False)
    found = pure(logits, nonsense, teacher, twos, ones)
    assert found.hard is None
    assert found.soft is found.total
    plain = Objective([Span(0, 0)] * K, None)
    assert (plain.uses_teacher, plain.uses_labels) == (False, True)
    found = plain(logits, labels_of(B), None, twos, 0 * ones)
    assert found.soft is None
    assert found.hard is found.total


def test_spans_inside_need_no_masks() -> None:
    """Between the ends, the result is the same whether or not the ends are provided for."""
    logits, labels, teacher = draw(K, B, C), labels_of(B), draw(2, B, C, seed=1)
    alpha, temperature = torch.full((K,), 0.4), torch.full((K,), 3.0)
    inside = Objective([Span(0.2, 0.6)] * K, "kd")(logits, labels, teacher, temperature, alpha)
    open_ = Objective(OPEN, "kd")(logits, labels, teacher, temperature, alpha)
    assert torch.equal(inside.total, open_.total)


def test_half_precision_logits_are_computed_in_float32() -> None:
    logits, labels, teacher = draw(K, B, C).half(), labels_of(B), draw(1, B, C, seed=1)
    found = terms_of(Objective(OPEN, "kd"), logits, labels, teacher)
    assert found.total.dtype == torch.float32
    torch.testing.assert_close(found.total, terms_of(Objective(OPEN, "kd"), logits.float(), labels, teacher).total)


@pytest.mark.parametrize("size", [B, MANY])
def test_networks_that_teach_each_other_learn_from_the_mean_of_the_others(size: int) -> None:
    logits, labels = draw(K, size, C).double().requires_grad_(), labels_of(size)
    found = terms_of(Objective(OPEN, "mutual", "arithmetic", SMOOTHINGS), logits, labels, None)
    for k in range(K):
        others = torch.stack([logits[j].detach() for j in range(K) if j != k])
        hard, soft = reference(logits, labels, others, "kd", "arithmetic")[k][1:]
        assert found.hard is not None
        assert found.soft is not None
        assert (found.hard[k].item(), found.soft[k].item()) == pytest.approx((hard, soft), rel=1e-6)
        assert found.total[k].item() == pytest.approx((1 - ALPHAS[k]) * hard + ALPHAS[k] * soft, rel=1e-6)


def test_of_two_that_teach_each_other_each_has_a_fixed_teacher_in_its_gradient() -> None:
    """Zhang et al. 2018, equations 3 to 6: CE + KL(p_j || p_i) is twice the total at alpha 1/2 and temperature 1."""
    logits, labels = draw(2, B, C).double(), labels_of(B)
    ones, halves = torch.ones(2, dtype=torch.float64), torch.full((2,), 0.5, dtype=torch.float64)
    found = Objective([Span(0.5, 0.5)] * 2, "mutual")(logits, labels, None, ones, halves)
    for k, other in ((0, 1), (1, 0)):
        own = logits[k].detach().requires_grad_()
        p, q = logits[other].detach().softmax(-1), own.log_softmax(-1)
        loss = torch.nn.functional.cross_entropy(own, labels) + (p * (p.log() - q)).sum(-1).mean()
        (expected,) = torch.autograd.grad(loss, own)
        assert found.total[k].item() == pytest.approx(loss.item() / 2)
        torch.testing.assert_close(found.gradient[k], expected / 2)


@pytest.mark.parametrize("size", [B, MANY])
@pytest.mark.parametrize("own", [False, True], ids=["labels of all", "labels of each"])
@pytest.mark.parametrize("alphas", [ALPHAS, (1.0,) * K], ids=["any alpha", "alpha 1"])
def test_labels_weighted_by_confidence_count_at_any_alpha(alphas: Sequence[float], own: bool, size: int) -> None:
    logits, teacher = draw(K, size, C).double(), draw(3, size, C, seed=1).double()
    labels = labels_of(K, size) if own else labels_of(size)
    objective = Objective([Span(alpha, alpha) for alpha in alphas], "cwtm", "arithmetic", SMOOTHINGS)
    assert objective.uses_labels
    temperature, weight = torch.tensor(TEMPERATURES), torch.tensor(alphas)
    found = objective(logits, labels, teacher, temperature, weight)
    assert found.soft is not None
    for k in range(K):
        mine, members = labels[k] if own else labels, teacher.transpose(0, 1).tolist()
        sure = [max(mean_distribution(members[b], TEMPERATURES[k], "arithmetic")) for b in range(size)]
        costs = [hard_of(logits[k, b].tolist(), int(mine[b]), 0.0) for b in range(size)]
        soft = sum(w * cost for w, cost in zip(sure, costs, strict=True)) / sum(sure)
        hard = sum(hard_of(logits[k, b].tolist(), int(mine[b]), SMOOTHINGS[k]) for b in range(size)) / size
        assert found.soft[k].item() == pytest.approx(soft, rel=1e-6)
        assert found.total[k].item() == pytest.approx((1 - alphas[k]) * hard + alphas[k] * soft, rel=1e-6)
    for place in itertools.product(range(K), (0, size - 1), range(C)):
        shift = torch.zeros_like(logits).index_put_(tuple(map(torch.tensor, place)), torch.tensor(1e-5).double())
        up, down = (objective(logits + s, labels, teacher, temperature, weight).total.sum() for s in (shift, -shift))
        assert found.gradient[place].item() == pytest.approx(((up - down) / 2e-5).item(), rel=1e-4, abs=1e-8)
