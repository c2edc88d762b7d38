"""The end of a training: each network's own checkpoints, the one reading of the test set, and the summary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from kdcli.build import Data
from kdcli.build_specialists import scope_of
from kdcli.engine.bank import Parameters
from kdcli.engine.fit import Fit
from kdcli.engine.predict import predict
from kdcli.engine.standing import Standing
from kdcli.errors import DivergedError
from kdcli.metrics import Measures, measure
from kdcli.program.commits import commit_best, commit_diverged, commit_last
from kdcli.program.slots import Program, Slot, schedule_value
from kdcli.schema.model import model_label
from kdcli.schema.results import Selected, Summary, TestMeasures


@dataclass(frozen=True)
class Outcome:
    """What became of one network: its selected weights' answers on test, or where it diverged."""

    slot: Slot
    standing: Standing
    selected: Selected | None
    test_logits: Tensor | None


def as_result(measures: Measures) -> TestMeasures:
    """Measures as results carry them."""
    return TestMeasures(**asdict(measures))


def conclude(program: Program, fit: Fit, data: Data) -> list[Outcome]:
    """Commit every network's best and last checkpoint under its own run, and ask the selected ones about the test set.

    A network that diverged keeps its best checkpoint, if it has one, and is not tested.
    """
    selected = [_select(program, k, fit, data) for k in range(len(program.slots))]
    for k, choice in enumerate(selected):
        if choice is not None:
            fit.bank.load(k, fit.best[k] if choice.by == "best" else fit.last_weights(k))
    fit.bank.train(False)
    answers = predict(fit.bank.logits, data.test, torch.arange(len(data.test)), data.normalization)
    return [
        Outcome(slot, fit.standings[k], selected[k], answers[k] if selected[k] is not None else None)
        for k, slot in enumerate(program.slots)
    ]


def _select(program: Program, k: int, fit: Fit, data: Data) -> Selected | None:
    slot = program.slots[k]
    if fit.standings[k].divergence is not None:
        commit_diverged(program, k, fit, data)
        return None
    pointer, last = commit_last(program, k, fit, data)
    best = commit_best(slot, fit, k, data, pointer)
    return best if best is not None and slot.config.select == "best" else last


def measured(outcome: Outcome, data: Data, teacher_log_probs: Tensor | None) -> TestMeasures:
    """One network's measures on the test set; a specialist's in its own terms.

    Raises:
        DivergedError: If its answers are not finite.
    """
    assert outcome.test_logits is not None
    if not bool(outcome.test_logits.isfinite().all()):
        raise DivergedError("the network's answers on the test set are not finite", where=str(outcome.slot.run.path))
    scope = scope_of(outcome.slot.config, data.num_classes)
    judge = measure if scope is None else scope.measure
    return as_result(judge(outcome.test_logits, data.test_labels, teacher_log_probs))


def summarise(outcome: Outcome, fit: Fit, data: Data, test: TestMeasures, *, wall_seconds: float) -> Summary:
    """The summary of one network's training, before what its command adds."""
    slot, standing, config = outcome.slot, outcome.standing, outcome.slot.config
    assert outcome.selected is not None
    has_soft = config.loss.kind != "hard"
    val = standing.best_val if outcome.selected.by == "best" else standing.last_val
    epochs = fit.epoch if standing.stopped_epoch is None else standing.stopped_epoch + 1
    return Summary(
        schema=1,
        command=slot.run.record.command,
        status="finished",
        run=str(slot.run.path),
        model=model_label(config.model),
        dataset=data.dataset.name,
        seed=config.seed,
        temperature=schedule_value(config.temperature) if has_soft else None,
        alpha=schedule_value(config.alpha) if has_soft else None,
        loss=config.loss.kind,
        epochs=epochs,
        steps=fit.step if standing.stopped_epoch is None else standing.stopped_step,
        wall_seconds=wall_seconds,
        images_per_second=fit.epoch * fit.stream.num_examples / max(fit.train_seconds, 1e-9),
        parameters=count_parameters(fit.bank.parameters(), len(fit.standings)),
        selected=outcome.selected,
        val=None if val is None else as_result(val),
        test=test,
    )


def count_parameters(groups: Sequence[Parameters], members: int) -> int:
    """Trainable parameters of one network of a cohort."""
    return sum(tensor.numel() for group in groups for tensor in group.tensors) // members
