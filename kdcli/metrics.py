"""How good predictions are, and how close to the teacher's: pure functions on logits and labels.

Fractions are in ``[0, 1]``, nats are nats. Examples are measured on the device of the logits and in their precision (at
least float32), brought to the CPU once, and summed there in float64. A tie goes to the class of the smallest index.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

NUM_BINS = 15


class NonFiniteError(ValueError):
    """Logits that are NaN or infinite, apart from the misuses that raise a plain ValueError."""


@dataclass(frozen=True, slots=True)
class Measures:
    """What is reported of one network on one set of ``n`` examples.

    Attributes:
        n: Number of examples.
        errors: Examples whose most probable class is not the label.
        top1: Fraction whose most probable class is the label.
        top5: Fraction whose label is among the five most probable classes (all of them where there are fewer).
        nll: Mean negative log-likelihood of the label, in nats.
        brier: Mean over the examples of the squared distance of the probabilities to the one-hot label, in ``[0, 2]``.
        ece: Expected calibration error of the top-1 confidence, 15 bins of equal width.
        rmse: Root of the mean over examples and classes of the same squares. With two classes this is the
            RMSE of the positive class's probability to the 0/1 target, as in model compression (Bucila et al. 2006).
        agreement: Fraction whose most probable class is the teacher's, None without a teacher.
        kl_to_teacher: Mean KL(teacher || student) at temperature 1, in nats, None without a teacher.
    """

    n: int
    errors: int
    top1: float
    top5: float
    nll: float
    brier: float
    ece: float
    rmse: float
    agreement: float | None
    kl_to_teacher: float | None


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """The examples whose top-1 confidence is in ``(lower, upper]``; the means are None where there are none."""

    lower: float
    upper: float
    count: int
    confidence: float | None
    accuracy: float | None


@dataclass(frozen=True, slots=True)
class McNemar:
    """Examples that only one of two networks gets right, and how likely so uneven a split is between equals."""

    only_a: int
    only_b: int
    p_value: float


def measure(logits: Tensor, labels: Tensor, teacher_log_probs: Tensor | None = None) -> Measures:
    """All measures of one network's predictions.

    Args:
        logits: Unnormalised scores, shape ``(N, C)``.
        labels: Class indices in ``[0, C)``, int64, shape ``(N,)``.
        teacher_log_probs: Logarithms of the teacher's probabilities at temperature 1, shape ``(N, C)``; -inf is a
            probability of 0.

    Raises:
        NonFiniteError: If a logit is NaN or infinite: the network diverged.
        ValueError: If the shapes or labels do not fit, or the teacher's probabilities do not sum to 1.

    Reference:
        Brier. "Verification of forecasts expressed in terms of probability". 1950.
        Guo et al. "On calibration of modern neural networks", equation 3. arXiv:1706.04599.
    """
    _check(logits, labels)
    examples = _measure_examples(logits, labels)
    brier = _mean(examples.squares)
    agreement, kl_to_teacher = (None, None) if teacher_log_probs is None else _fidelity(logits, teacher_log_probs)
    return Measures(
        n=len(labels),
        errors=int((examples.rank > 0).sum()),
        top1=_mean(examples.rank == 0),
        top5=_mean(examples.rank < 5),
        nll=_mean(examples.nll),
        brier=brier,
        ece=_calibration_error(_bins(examples, NUM_BINS)),
        rmse=math.sqrt(brier / logits.shape[-1]),
        agreement=agreement,
        kl_to_teacher=kl_to_teacher,
    )


def reliability_bins(logits: Tensor, labels: Tensor, num_bins: int = NUM_BINS) -> tuple[ReliabilityBin, ...]:
    """The examples in bins of equal width of their top-1 confidence: what a reliability diagram shows.

    Args:
        logits: Unnormalised scores, shape ``(N, C)``.
        labels: Class indices in ``[0, C)``, int64, shape ``(N,)``.
        num_bins: How many bins divide ``(0, 1]``.

    Raises:
        ValueError: As :func:`measure`, or if ``num_bins`` is not positive.
    """
    if num_bins < 1:
        raise ValueError(f"num_bins must be >= 1, got {num_bins}")
    _check(logits, labels)
    return _bins(_measure_examples(logits, labels), num_bins)


def confusion_matrix(logits: Tensor, labels: Tensor) -> Tensor:
    """How many examples of each class (rows) are taken for each class (columns), shape ``(C, C)``, int64, on the CPU.

    Args:
        logits: Unnormalised scores, shape ``(N, C)``.
        labels: Class indices in ``[0, C)``, int64, shape ``(N,)``.

    Raises:
        ValueError: If the shapes or labels do not fit.
    """
    _check(logits, labels)
    num_classes = logits.shape[-1]
    cells = labels * num_classes + logits.argmax(-1)
    return cells.cpu().bincount(minlength=num_classes**2).reshape(num_classes, num_classes)


def mcnemar(correct_a: Tensor, correct_b: Tensor) -> McNemar:
    """McNemar's exact test of whether two networks err equally often on the same examples.

    Args:
        correct_a: Which examples network A gets right, bool, shape ``(N,)``.
        correct_b: The same of network B.

    Returns:
        The two counts and the two-sided p-value of the binomial test with probability 1/2; 1.0 without disagreement.

    Raises:
        ValueError: If the shapes differ or the tensors are not bool.

    Reference:
        McNemar. "Note on the sampling error of the difference between correlated proportions". 1947.
    """
    if correct_a.shape != correct_b.shape or correct_a.dtype != torch.bool or correct_b.dtype != torch.bool:
        raise ValueError(
            "correct_a and correct_b must be bool tensors of one shape (N,), got "
            f"{correct_a.dtype} {tuple(correct_a.shape)} and {correct_b.dtype} {tuple(correct_b.shape)}"
        )
    only_a, only_b = int((correct_a & ~correct_b).sum()), int((correct_b & ~correct_a).sum())
    return McNemar(only_a, only_b, _binomial_p_value(only_a, only_b))


def gap_closed(teacher: float, baseline: float, student: float) -> float | None:
    """The fraction of the gap between baseline and teacher that distillation closed.

    Args:
        teacher: Error of the teacher: a count, a rate, or any measure of which less is better.
        baseline: The same of the student trained without a teacher.
        student: The same of the distilled student.

    Returns:
        1 if the student is as good as the teacher, 0 if as the baseline, more or less beyond them; None where the
        teacher is not better than the baseline, so that there is no gap.
    """
    return (baseline - student) / (baseline - teacher) if baseline > teacher else None


@dataclass(frozen=True, slots=True)
class _Examples:
    """One float64 number an example, on the CPU. ``rank``: how many classes come before the label."""

    nll: Tensor
    squares: Tensor
    confidence: Tensor
    rank: Tensor


def _measure_examples(logits: Tensor, labels: Tensor) -> _Examples:
    logits = _floating(logits)
    log_probs = _log_softmax(logits)
    probs = log_probs.exp()
    own = labels[:, None]
    classes = torch.arange(logits.shape[-1], device=logits.device)
    own_logits = logits.gather(-1, own)
    before = (logits > own_logits) | ((logits == own_logits) & (classes < own))
    columns = _to_cpu(
        -log_probs.gather(-1, own)[:, 0],
        (probs - (classes == own).to(probs.dtype)).square().sum(-1),
        probs.amax(-1),
        before.sum(-1),
        logits.amax(-1).isfinite() & logits.amin(-1).isfinite(),  # a NaN is both
    )
    bad = int((columns[-1] == 0).sum())
    if bad:
        raise NonFiniteError(f"{bad} of {len(labels)} examples have logits that are not finite")
    return _Examples(*columns[:-1])


def _fidelity(logits: Tensor, teacher_log_probs: Tensor) -> tuple[float, float]:
    """Agreement with the teacher and the mean KL divergence from it."""
    if teacher_log_probs.shape != logits.shape:
        raise ValueError(
            "teacher_log_probs must have the shape of logits, "
            f"got {tuple(teacher_log_probs.shape)} and {tuple(logits.shape)}"
        )
    log_student, log_teacher = _log_softmax(_floating(logits)), _floating(teacher_log_probs)
    teacher = log_teacher.exp()
    terms = torch.where(teacher == 0, 0.0, teacher * (log_teacher - log_student))
    agrees = logits.max(-1).indices == log_teacher.max(-1).indices
    divergences, agreements, totals = _to_cpu(terms.sum(-1), agrees, teacher.sum(-1))
    wrong = ~((totals - 1).abs() < 0.01)  # NaN is wrong too
    if wrong.any():
        raise ValueError(
            f"the probabilities of teacher_log_probs do not sum to 1 in {int(wrong.sum())} of {len(logits)} examples"
        )
    return _mean(agreements), _mean(divergences)


def _bins(examples: _Examples, num_bins: int) -> tuple[ReliabilityBin, ...]:
    edges = [index / num_bins for index in range(num_bins + 1)]
    bins = torch.bucketize(examples.confidence, torch.tensor(edges[1:-1], dtype=torch.float64))
    counts = bins.bincount(minlength=num_bins).tolist()
    confidences = bins.bincount(examples.confidence, minlength=num_bins).tolist()
    hits = bins.bincount((examples.rank == 0).double(), minlength=num_bins).tolist()
    return tuple(
        ReliabilityBin(lower, upper, count, confidence / count, hit / count)
        if count
        else ReliabilityBin(lower, upper, 0, None, None)
        for lower, upper, count, confidence, hit in zip(edges[:-1], edges[1:], counts, confidences, hits, strict=True)
    )


def _calibration_error(bins: tuple[ReliabilityBin, ...]) -> float:
    total = sum(each.count for each in bins)
    return sum(
        each.count / total * abs(each.accuracy - each.confidence)
        for each in bins
        if each.accuracy is not None and each.confidence is not None
    )


def _binomial_p_value(successes: int, failures: int) -> float:
    """Two-sided, for probability 1/2, in whole numbers: twice the smaller tail."""
    trials = successes + failures
    ways = tail = 1
    for k in range(min(successes, failures)):
        ways = ways * (trials - k) // (k + 1)
        tail += ways
    return min(1.0, tail / 2 ** (trials - 1)) if trials else 1.0


def _check(logits: Tensor, labels: Tensor) -> None:
    if logits.ndim != 2 or 0 in logits.shape or labels.shape != logits.shape[:1]:
        raise ValueError(
            "logits must have shape (N, C), none of them 0, and labels (N,), "
            f"got {tuple(logits.shape)} and {tuple(labels.shape)}"
        )
    smallest, largest = torch.stack(labels.aminmax()).tolist()
    if smallest < 0 or largest >= logits.shape[1]:
        raise ValueError(f"labels must be in [0, {logits.shape[1]}), got {smallest if smallest < 0 else largest}")


def _log_softmax(logits: Tensor) -> Tensor:
    """The definition: torch's own is six times slower for many examples of few classes on a CPU."""
    shifted = logits - logits.amax(-1, keepdim=True)
    return shifted - shifted.exp().sum(-1, keepdim=True).log()


def _floating(values: Tensor) -> Tensor:
    return values if values.dtype is torch.float64 else values.float()


def _to_cpu(*columns: Tensor) -> tuple[Tensor, ...]:
    """The columns in float64 on the CPU, in one transfer."""
    dtype = torch.promote_types(columns[0].dtype, torch.float32)
    return torch.stack([column.to(dtype) for column in columns]).cpu().double().unbind()


def _mean(values: Tensor) -> float:
    return values.double().mean().item()
