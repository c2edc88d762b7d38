"""What a report shows of networks' answers on the test set: from the very answers that the summaries are made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from kdcli.build import Data
from kdcli.calibration import fit_temperature
from kdcli.json_io import write_json_atomic
from kdcli.metrics import confusion_matrix, measure, reliability_bins
from kdcli.program.finish import as_result
from kdcli.program.gallery import galleries, pictures
from kdcli.rundir import RunDir
from kdcli.rundir.run import FINDINGS
from kdcli.schema.findings import Confused, Cost, Findings, NetworkFindings, Scaled, Softened, SoftTarget
from kdcli.schema.results import ReliabilityBin

TEMPERATURES = (1.0, 4.0, 20.0)
_MATRIX_CLASSES = 100
_CONFUSED = 20
_BARS = 10
_SURENESS = (0.5, 0.1, 0.02, 0.0)

Soften = Callable[[Tensor, float], Tensor]
"""From places in the test set, int64 ``(B,)``, and a temperature to the distribution to learn from, ``(B, C)``."""


@dataclass(frozen=True, eq=False)
class Witness:
    """A network, what was found of it, and its answers on the test set: logits ``(N, C)`` on the CPU."""

    found: NetworkFindings
    test: Tensor

    @property
    def name(self) -> str:
        """Its part: student, baseline, teacher or network."""
        return self.found.name


@dataclass(frozen=True, eq=False)
class Answered:
    """What a network says: logits or log-probabilities on test and, where there is such a part, on validation."""

    test: Tensor
    val: Tensor | None
    val_labels: Tensor | None


def examine(name: str, model: str, cost: Cost, answered: Answered, labels: Tensor) -> Witness:
    """Look at what a network says of the test set, whose classes are ``labels``."""
    matrix = confusion_matrix(answered.test, labels)
    found = NetworkFindings(
        name=name,
        model=model,
        cost=cost,
        val_top1=_val_top1(answered),
        test=as_result(measure(answered.test, labels)),
        reliability=_bins(answered.test, labels),
        scaled=_scaled(answered, labels),
        confusion=matrix.tolist() if len(matrix) <= _MATRIX_CLASSES else None,
        confused=_confused(matrix),
    )
    return Witness(found, answered.test)


def _val_top1(answered: Answered) -> float | None:
    if answered.val is None or answered.val_labels is None:
        return None
    return float((answered.val.argmax(1) == answered.val_labels).double().mean())


def _bins(logits: Tensor, labels: Tensor) -> list[ReliabilityBin]:
    return [ReliabilityBin(**asdict(each)) for each in reliability_bins(logits, labels)]


def _scaled(answered: Answered, labels: Tensor) -> Scaled | None:
    if answered.val is None or answered.val_labels is None or not bool(answered.val.isfinite().all()):
        return None
    temperature = fit_temperature(answered.val, answered.val_labels)
    logits = answered.test / temperature
    test = measure(logits, labels)
    return Scaled(temperature=temperature, nll=test.nll, ece=test.ece, reliability=_bins(logits, labels))


def _confused(matrix: Tensor) -> list[Confused]:
    """The pairs that are mistaken most often, the most frequent first."""
    times, places = matrix.clone().fill_diagonal_(0).flatten().sort(descending=True, stable=True)
    most = zip(times[:_CONFUSED].tolist(), places[:_CONFUSED].tolist(), strict=True)
    return [
        Confused(label=place // len(matrix), prediction=place % len(matrix), times=count)
        for count, place in most
        if count
    ]


def write_findings(run: RunDir, witnesses: Sequence[Witness], data: Data, soften: Soften) -> None:
    """Write ``findings.json`` into the run of the first witness; the last one is whom it learned from, or itself."""
    shown = galleries([(each.name, each.test) for each in witnesses], data.test_labels)
    soft = _soft_targets(witnesses[-1].test, data.test_labels, soften)
    places = {example.index for each in shown for example in each.examples} | {target.index for target in soft}
    found = Findings(
        schema=1,
        classes=list(data.dataset.classes),
        networks=[each.found for each in witnesses],
        galleries=shown,
        soft_targets=soft,
        soft_targets_of=witnesses[-1].name,
        pictures=pictures(sorted(places), data.test) if data.dataset.kind == "image" else None,
    )
    write_json_atomic(run.path / FINDINGS, found.model_dump(by_alias=True))


def _soft_targets(logits: Tensor, labels: Tensor, soften: Soften) -> list[SoftTarget]:
    places = _telling(logits, labels)
    if not places:
        return []
    soft = [soften(torch.tensor(places), temperature).double().cpu() for temperature in TEMPERATURES]
    targets = []
    for row, place in enumerate(places):
        classes = soft[1][row].argsort(descending=True, stable=True)[:_BARS].sort().values
        targets.append(
            SoftTarget(
                index=place,
                label=int(labels[place]),
                classes=classes.tolist(),
                softened=[
                    Softened(temperature=temperature, probabilities=each[row, classes].tolist())
                    for temperature, each in zip(TEMPERATURES, soft, strict=True)
                ],
            )
        )
    return targets


def _telling(logits: Tensor, labels: Tensor) -> list[int]:
    """A few examples that are answered rightly, from an ordinary one to the least sure, each of another class."""
    sure, said = logits.softmax(1).max(1)
    right = (said == labels).nonzero().squeeze(1)
    right = right[sure[right].argsort(stable=True)]
    chosen: dict[int, int] = {}
    for share in _SURENESS:
        for place in right[round(share * (len(right) - 1)) if len(right) else 0 :].tolist():
            if int(labels[place]) not in chosen:
                chosen[int(labels[place])] = place
                break
    return list(chosen.values())
