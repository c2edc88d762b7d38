"""The combined distribution, against closed forms, gradient descent and all distributions on a grid."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from kdcli.specialists import ClassSets, active_specialists, aggregate, combine
from kdcli.specialists.combine import fixed_point_step, gather_evidence

DISJOINT = ((0, 3), (1, 4))
OVERLAPPING = ((0, 1, 2), (1, 2, 5), (2, 3), (0, 5, 6))


def distributions(examples: int, classes: int, seed: int, scale: float = 1.5) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return (scale * torch.randn(examples, classes, dtype=torch.float64, generator=draw)).softmax(1)


def scene(sets: ClassSets, classes: int, examples: int = 5, seed: int = 0) -> tuple[Tensor, list[Tensor]]:
    """What a generalist and its specialists say."""
    said = [distributions(examples, 1 + len(special), seed + 1 + m) for m, special in enumerate(sets)]
    return distributions(examples, classes, seed), said


def all_active(examples: int, sets: ClassSets) -> Tensor:
    return torch.ones(examples, len(sets), dtype=torch.bool)


def slow_objective(q: list[float], generalist: list[float], said: list[list[float]], sets: ClassSets) -> float:
    """The sum of the divergences of one example, all specialists active, from its definition."""
    total = sum(p * math.log(p / x) for p, x in zip(generalist, q, strict=True))
    for special, probabilities in zip(sets, said, strict=True):
        dustbin = sum(x for c, x in enumerate(q) if c not in special)
        parts = [dustbin, *(q[c] for c in special)]
        total += sum(p * math.log(p / x) for p, x in zip(probabilities, parts, strict=True))
    return total


def objective(z: Tensor, generalist: Tensor, said: list[Tensor], sets: ClassSets, active: Tensor) -> Tensor:
    """The same as a function of the logits of q, summed over the examples."""
    log_q = z.log_softmax(1)
    total = (generalist * (generalist.log() - log_q)).sum()
    for special, p, counts in zip(sets, said, active.T, strict=True):
        total = total + (counts[:, None] * p * (p.log() - aggregate(log_q, special))).sum()
    return total


def descended(generalist: Tensor, said: list[Tensor], sets: ClassSets, active: Tensor) -> Tensor:
    """As the paper has it: down the gradient of the logits of q, here to the end."""
    z = torch.zeros_like(generalist, requires_grad=True)
    search = torch.optim.LBFGS(
        [z], max_iter=500, tolerance_grad=1e-12, tolerance_change=0, line_search_fn="strong_wolfe"
    )

    def slope() -> Tensor:
        search.zero_grad()
        value = objective(z, generalist, said, sets, active)
        value.backward()
        return value

    search.step(slope)
    return z.detach().softmax(1)


@pytest.mark.parametrize("sets", [DISJOINT, OVERLAPPING])
def test_the_gradient_leads_where_the_fixed_point_is(sets: ClassSets) -> None:
    generalist, said = scene(sets, 7)
    active = all_active(5, sets)
    active[1, 0] = active[2, 1] = active[3, :] = False
    q = combine(generalist, said, sets, active)
    torch.testing.assert_close(q, descended(generalist, said, sets, active), rtol=0, atol=1e-7)


@pytest.mark.parametrize("seed", range(5))
def test_the_gradient_of_the_logits_vanishes_there(seed: int) -> None:
    generalist, said = scene(OVERLAPPING, 7, examples=200, seed=10 * seed)
    active = all_active(200, OVERLAPPING)
    z = combine(generalist, said, OVERLAPPING, active).log().requires_grad_()
    (slope,) = torch.autograd.grad(objective(z, generalist, said, OVERLAPPING, active), z)
    assert float(slope.abs().max()) < 1e-8


@pytest.mark.parametrize("sets", [((0,), (1,)), ((0, 1), (1, 2)), ((0,), (0, 2), (1, 2))])
def test_no_distribution_over_three_classes_is_better(sets: ClassSets) -> None:
    generalist, said = scene(sets, 3, examples=1)
    found = combine(generalist, said, sets, all_active(1, sets))[0].tolist()
    rows = [each[0].tolist() for each in said]
    steps = 100
    grid = [(i / steps, j / steps, 1 - (i + j) / steps) for i in range(1, steps) for j in range(1, steps - i)]
    scored = [(slow_objective(list(q), generalist[0].tolist(), rows, sets), q) for q in grid]
    least, nearest = min(scored)
    reached = slow_objective(found, generalist[0].tolist(), rows, sets)
    assert reached <= least
    assert reached == pytest.approx(least, abs=1e-3)
    assert found == pytest.approx(nearest, abs=2 / steps)


def test_the_sum_of_divergences_never_rises() -> None:
    generalist, said = scene(OVERLAPPING, 7, examples=20)
    evidence = gather_evidence(generalist, said, OVERLAPPING, all_active(20, OVERLAPPING))
    q = torch.full_like(generalist, 1 / 7)  # a start that is far from the end
    scores = []
    for _ in range(60):
        rows = [[p[b].tolist() for p in said] for b in range(20)]
        scores.append([slow_objective(q[b].tolist(), generalist[b].tolist(), rows[b], OVERLAPPING) for b in range(20)])
        q = fixed_point_step(q, evidence)
    for before, after in zip(scores, scores[1:], strict=False):
        assert all(new <= old + 1e-12 for old, new in zip(before, after, strict=True))
    assert sum(scores[-1]) < sum(scores[0]) - 1


def test_without_an_active_specialist_the_generalist_stands() -> None:
    generalist, said = scene(OVERLAPPING, 7)
    q = combine(generalist, said, OVERLAPPING, ~all_active(5, OVERLAPPING))
    torch.testing.assert_close(q, generalist, rtol=1e-15, atol=0)


def test_one_specialist_is_averaged_with_the_generalist_in_its_own_terms() -> None:
    """With d the dustbin's probability: half the sum for its classes, and (p_g(out) + d) / 2 shared as p_g shares."""
    special = (0, 3)
    generalist, said = scene((special,), 6)
    q = combine(generalist, said, (special,), all_active(5, (special,)))
    for b in range(5):
        p, of = generalist[b].tolist(), said[0][b].tolist()
        outside = sum(p[c] for c in (1, 2, 4, 5))
        expected = [p[c] / outside * (outside + of[0]) / 2 for c in range(6)]
        expected[0], expected[3] = (p[0] + of[1]) / 2, (p[3] + of[2]) / 2
        assert q[b].tolist() == pytest.approx(expected, rel=1e-14)


def test_one_specialist_takes_one_step() -> None:
    generalist, said = scene(((0, 3),), 6)
    active = all_active(5, ((0, 3),))
    one_step = fixed_point_step(generalist, gather_evidence(generalist, said, ((0, 3),), active))
    torch.testing.assert_close(combine(generalist, said, ((0, 3),), active), one_step, rtol=1e-14, atol=0)


def test_two_specialists_that_share_all_classes_among_them() -> None:
    """Each is the other's dustbin: the masses of the two sets are means of three, shared as p_g + p_m share."""
    sets = ((0, 2), (1, 3, 4))
    generalist, said = scene(sets, 5)
    q = combine(generalist, said, sets, all_active(5, sets))
    for b in range(5):
        for m, special in enumerate(sets):
            p, own, other = generalist[b].tolist(), said[m][b].tolist(), said[1 - m][b].tolist()
            sums = {c: p[c] + own[1 + i] for i, c in enumerate(special)}
            mass = (sum(p[c] for c in special) + (1 - own[0]) + other[0]) / 3
            expected = [mass * one / sum(sums.values()) for one in sums.values()]
            assert [q[b, c].item() for c in special] == pytest.approx(expected, rel=1e-8)


def by_masses(generalist: list[float], said: list[list[float]], sets: ClassSets) -> list[float]:
    """Several disjoint specialists and classes of none: one unknown, the weight x of those, found by bisection.

    From the derivative by q_c: q_c = (p_g + p_m) / (x + D_m) in the set of m and p_g / x in none, where
    D_m = d_m / (1 - q(S_m)) and the D_m and x add up to the number of models. Given x, q(S_m) solves a quadratic.
    """
    given = [sum(generalist[c] for c in special) + 1 - own[0] for special, own in zip(sets, said, strict=True)]

    def masses(x: float) -> list[float]:
        found = []
        for a, own in zip(given, said, strict=True):
            b = x + a + own[0]  # Q x + Q d / (1 - Q) = a, so x Q^2 - (x + a + d) Q + a = 0
            found.append((b - math.sqrt(b * b - 4 * x * a)) / (2 * x))
        return found

    def weights(x: float) -> list[float]:
        return [own[0] / (1 - mass) for own, mass in zip(said, masses(x), strict=True)]

    low, high = 1e-9, 1.0 + len(sets)
    for _ in range(200):
        x = (low + high) / 2
        low, high = (low, x) if x + sum(weights(x)) > 1 + len(sets) else (x, high)
    q = [p / x for p in generalist]
    for special, own, weight in zip(sets, said, weights(x), strict=True):
        for i, c in enumerate(special):
            q[c] = (generalist[c] + own[1 + i]) / (x + weight)
    return q


@pytest.mark.parametrize("sets", [DISJOINT, ((0, 3), (1, 4), (2,))])
def test_disjoint_specialists_have_one_unknown(sets: ClassSets) -> None:
    generalist, said = scene(sets, 7)
    q = combine(generalist, said, sets, all_active(5, sets))
    for b in range(5):
        expected = by_masses(generalist[b].tolist(), [p[b].tolist() for p in said], sets)
        assert sum(expected) == pytest.approx(1, abs=1e-9)
        assert q[b].tolist() == pytest.approx(expected, rel=1e-7)


def test_models_that_give_every_class_a_probability_are_averaged() -> None:
    """As the paper says of KL(p, q): the solution is then the arithmetic mean. A dustbin of one class is a class."""
    sets = ((0, 1, 2), (0, 1, 3), (1, 2, 3))
    generalist, said = scene(sets, 4)
    whole = [generalist]
    for special, p in zip(sets, said, strict=True):
        (left,) = set(range(4)) - set(special)
        whole.append(torch.stack([p[:, 0] if c == left else p[:, 1 + special.index(c)] for c in range(4)], dim=1))
    q = combine(generalist, said, sets, all_active(5, sets))
    torch.testing.assert_close(q, torch.stack(whole).mean(0))


def test_specialists_that_agree_with_the_generalist_change_nothing() -> None:
    generalist = distributions(50, 7, 0, scale=4.0)
    said = [aggregate(generalist.log(), special).exp() for special in OVERLAPPING]
    torch.testing.assert_close(combine(generalist, said, OVERLAPPING, all_active(50, OVERLAPPING)), generalist)


def test_examples_do_not_touch_one_another() -> None:
    generalist, said = scene(OVERLAPPING, 7, examples=30)
    active = active_specialists(generalist, OVERLAPPING)
    together = combine(generalist, said, OVERLAPPING, active)
    for b in range(30):
        one = combine(generalist[b : b + 1], [p[b : b + 1] for p in said], OVERLAPPING, active[b : b + 1])
        torch.testing.assert_close(one[0], together[b])


def test_single_precision_and_spare_outputs_are_taken() -> None:
    generalist, said = scene(OVERLAPPING, 7)
    active = all_active(5, OVERLAPPING)
    padded = [torch.nn.functional.pad(p, (0, 4 - p.shape[1])) for p in said]
    q = combine(generalist.float(), torch.stack(padded).float().unbind(), OVERLAPPING, active)
    assert q.dtype is torch.float64
    torch.testing.assert_close(q.sum(1), torch.ones(5, dtype=torch.float64))
    torch.testing.assert_close(q, combine(generalist, said, OVERLAPPING, active), rtol=1e-5, atol=1e-7)


def test_probabilities_of_exactly_zero_are_no_trouble() -> None:
    generalist = torch.tensor([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    said = [torch.tensor([[0.0, 1.0], [1.0, 0.0]])]  # agrees with the generalist, and contradicts it altogether
    q = combine(generalist, said, ((0,),), torch.ones(2, 1, dtype=torch.bool))
    torch.testing.assert_close(q, torch.tensor([[1.0, 0.0, 0.0], [0.5, 0.25, 0.25]], dtype=torch.float64))


def test_a_dustbin_that_nobody_believes_in_stays_empty() -> None:
    q = combine(torch.tensor([[0.6, 0.4, 0.0]]), [torch.tensor([[0.0, 0.2, 0.8]])], ((0, 1),), all_active(1, ((0, 1),)))
    torch.testing.assert_close(q, torch.tensor([[0.4, 0.6, 0.0]], dtype=torch.float64), rtol=0, atol=1e-7)


@pytest.mark.parametrize(("top", "expected"), [(1, [[1, 0], [0, 0]]), (2, [[1, 1], [0, 1]]), (4, [[1, 1], [1, 1]])])
def test_the_most_probable_classes_call_their_specialists(top: int, expected: list[list[int]]) -> None:
    generalist = torch.tensor([[0.6, 0.3, 0.1, 0.0], [0.1, 0.2, 0.3, 0.4]])
    assert active_specialists(generalist, ((0,), (1, 2)), top).int().tolist() == expected


def test_of_equal_classes_the_first_is_the_most_probable() -> None:
    assert active_specialists(torch.full((1, 30), 0.1), ((0,), (1,), (29,))).tolist() == [[True, False, False]]


@pytest.mark.parametrize(
    ("widths", "examples", "active"),
    [((3, 3), 4, (5, 2)), ((2, 3), 5, (5, 2)), ((3,), 5, (5, 2)), ((3, 3), 5, (5, 3))],
)
def test_shapes_that_do_not_fit_are_refused(widths: tuple[int, ...], examples: int, active: tuple[int, int]) -> None:
    said = [torch.full((examples, width), 1 / width) for width in widths]
    with pytest.raises(ValueError, match="do not fit"):
        combine(torch.full((5, 7), 1 / 7), said, DISJOINT, torch.ones(active, dtype=torch.bool))
