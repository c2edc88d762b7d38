"""The networks of a training that has ended, as its findings need them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from kdcli.build import Data
from kdcli.losses import combine_members
from kdcli.program.costs import cost_of_model, cost_of_teacher
from kdcli.program.findings import Answered, Soften, Witness, examine, write_findings
from kdcli.program.finish import Outcome
from kdcli.program.run import Finished
from kdcli.program.teaching import LoadedTeacher
from kdcli.rundir import RunDir
from kdcli.schema.findings import Cost
from kdcli.schema.model import model_label


def witness_of(part: str, outcome: Outcome, finished: Finished, cost: Cost) -> Witness:
    """A network that was trained and tested; ``part`` is what it was in the training."""
    assert outcome.test_logits is not None
    answered = _answered(outcome.test_logits, outcome.val_logits, finished)
    return examine(part, model_label(outcome.slot.config.model), cost, answered, finished.data.test_labels)


def _answered(test: Tensor, val: Tensor | None, finished: Finished) -> Answered:
    validation = finished.fit.validation
    return Answered(test, val, None if validation is None else validation.labels)


def teacher_witness(loaded: LoadedTeacher, log_probs: Tensor, finished: Finished) -> Witness:
    """The teacher, whose answers on test are ``log_probs``."""
    validation = finished.fit.validation
    val = None if validation is None else validation.teacher_log_probs
    models = [model_label(member.card.model) for member in loaded.members]
    model = models[0] if len(models) == 1 else f"{len(models)} x {models[0]}"
    cost = cost_of_teacher(loaded, finished.data)
    return examine("teacher", model, cost, _answered(log_probs, val, finished), finished.data.test_labels)


def soft_answers(loaded: LoadedTeacher, data: Data) -> Soften:
    """What a teacher teaches at a temperature of examples of the test set."""
    teacher = loaded.teacher

    def soften(places: Tensor, temperature: float) -> Tensor:
        member_logits = teacher.logits(data.test.gather(places))
        return (combine_members(member_logits, temperature, teacher.ensemble) / temperature).softmax(-1)

    return soften


def write_own_findings(witness: Witness, run: RunDir, data: Data) -> None:
    """Write the findings of a network that had no teacher: what it would teach is what it says."""
    write_findings(run, [witness], data, lambda places, temperature: (witness.test[places] / temperature).softmax(-1))


def write_ensemble_findings(run: RunDir, members: Sequence[Outcome], finished: Finished) -> None:
    """Write the findings of an ensemble, whose members' mean distribution is its answer."""
    data, config = finished.data, members[0].slot.config
    test = torch.stack([each.test_logits for each in members if each.test_logits is not None])
    on_val = [each.val_logits for each in members if each.val_logits is not None]
    val = combine_members(torch.stack(on_val), 1.0, "arithmetic") if on_val else None
    answered = _answered(combine_members(test, 1.0, "arithmetic"), val, finished)
    model = f"{len(members)} x {model_label(config.model)}"
    cost = cost_of_model(config, data, members=len(members))

    def soften(places: Tensor, temperature: float) -> Tensor:
        return (combine_members(test[:, places], temperature, "arithmetic") / temperature).softmax(-1)

    write_findings(run, [examine("network", model, cost, answered, data.test_labels)], data, soften)
