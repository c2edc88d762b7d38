"""The bias of some classes corrected in three ways: on the test set as a paper did, and in two honest ones."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from kdcli.bias import best_offset, matched_offset, moved
from kdcli.errors import UsageError
from kdcli.program.subjects import Exam, Part
from kdcli.schema.results import BiasSummary, Corrected


def check_classes(classes: Sequence[int], exam: Exam) -> None:
    """See that these are some of the classes, and not all.

    Raises:
        UsageError: They are not.
    """
    known = len(exam.data.dataset.classes)
    if classes and not (max(classes) < known and len(set(classes)) < known):
        raise UsageError(
            f"bias.classes={list(classes)} are not some of the {known} classes of {exam.data.dataset.name}",
            where="bias.classes",
            fix=f"name classes by their numbers, from 0 to {known - 1}, and not all",
        )


def unseen(exam: Exam) -> Part:
    """What the honest corrections may look at: the validation part, or without one the training part."""
    indices = exam.data.val if len(exam.data.val) else exam.train.indices
    return Part(exam.data.source, indices, exam.data.dataset.train.labels[indices.cpu()])


def correct_bias(classes: Sequence[int], test: Tensor, exam: Exam, other: Tensor) -> BiasSummary:
    """What becomes of the test errors when one number is added to the logits of some classes.

    Args:
        classes: Whose bias is changed.
        test: Logits on the test set.
        exam: What was asked.
        other: Logits on `unseen`.
    """
    labels, part = exam.test.labels, unseen(exam)
    share = float(torch.isin(exam.train.labels, torch.tensor(list(classes))).double().mean())
    validation = best_offset(other, part.labels, classes) if len(exam.data.val) else None

    def corrected(offset: float) -> Corrected:
        wrong = moved(test, classes, offset).argmax(1) != labels
        among = torch.isin(labels, torch.tensor(list(classes)))
        return Corrected(
            offset=offset,
            errors=int(wrong.sum()),
            errors_among=int((wrong & among).sum()),
            n_among=int(among.sum()),
        )

    return BiasSummary(
        classes=list(classes),
        uncorrected=corrected(0.0),
        test=corrected(best_offset(test, labels, classes)),
        val=None if validation is None else corrected(validation),
        prior=corrected(matched_offset(other, classes, share)),
    )
