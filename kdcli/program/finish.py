"""The end of a training: each network's own checkpoints, the one reading of the test set, and the summary."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

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
from kdcli.schema.method import loss_label
from kdcli.schema.model import model_label
from kdcli.schema.results import Selected, Summary, TestMeasures, TransferSummary

CASES = 10_000
TIMED_SECONDS = 0.02
TIMED_CASES = 2000


@dataclass(frozen=True)
class Outcome:
    """What became of one network: its selected weights' answers on test and validation, or where it diverged."""

    slot: Slot
    standing: Standing
    selected: Selected | None
    test_logits: Tensor | None
    seconds_per_10k: float
    val_logits: Tensor | None = None


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
    on_val = None
    if fit.validation is not None:
        on_val = predict(fit.bank.logits, data.source, fit.validation.indices, data.normalization)
    seconds = _seconds_per_10k(fit, data)
    outcomes = [Outcome(slot, fit.standings[k], selected[k], None, seconds) for k, slot in enumerate(program.slots)]
    return [
        outcome
        if outcome.selected is None
        else replace(outcome, test_logits=answers[k], val_logits=None if on_val is None else on_val[k])
        for k, outcome in enumerate(outcomes)
    ]


@torch.no_grad()
def _seconds_per_10k(fit: Fit, data: Data) -> float:
    """The time one network takes for 10,000 cases, of a cohort its share: the median of as many trials as are cheap.

    It is given training examples: the test set is read once, and not for this.
    """
    raw = data.source.gather(data.train[:TIMED_CASES])
    seconds: list[float] = []
    while sum(seconds) < TIMED_SECONDS:
        started = time.perf_counter()
        fit.bank.logits(data.normalization(raw)).cpu()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds) * CASES / len(raw) / fit.bank.size


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
        what, where = "the network's answers on the test set are not finite", str(outcome.slot.run.path)
        raise DivergedError(what, where=where, fix="train it again with a lower optimizer.lr")
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
        loss=loss_label(config.loss),
        epochs=epochs,
        steps=fit.step if standing.stopped_epoch is None else standing.stopped_step,
        wall_seconds=wall_seconds,
        images_per_second=fit.epoch * fit.stream.num_examples / max(fit.train_seconds, 1e-9),
        parameters=count_parameters(fit.bank.parameters(), len(fit.standings)),
        bytes=sum(tensor.nbytes for tensor in fit.bank.state(0).values()),
        seconds_per_10k=outcome.seconds_per_10k,
        selected=outcome.selected,
        val=None if val is None else as_result(val),
        test=test,
        transfer=TransferSummary(kind=config.transfer.kind, examples=len(data.transfer), cases=data.num_cases),
    )


def count_parameters(groups: Sequence[Parameters], members: int) -> int:
    """Trainable parameters of one network of a cohort."""
    return sum(tensor.numel() for group in groups for tensor in group.tensors) // members
