"""``kd import``: weights that another program wrote, as a run that can teach and be measured."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from kdcli import checkpoint
from kdcli.build import build_network, pick_device
from kdcli.checkpoint.foreign import read_foreign
from kdcli.checkpoint.naming import fitted
from kdcli.data.normalize import Normalization
from kdcli.data.types import Dataset
from kdcli.errors import UsageError
from kdcli.metrics import measure
from kdcli.models import count_parameters, placed
from kdcli.program.evaluation import ask
from kdcli.program.finish import as_result
from kdcli.program.run import Manner, recorded
from kdcli.program.subjects import Exam, Part, load_exam
from kdcli.rundir import RunDir, create_run
from kdcli.rundir.find import IMPORTS
from kdcli.schema import Import
from kdcli.schema.commands import Normalizer
from kdcli.schema.model import Model, Timm, Torchvision, model_label
from kdcli.schema.results import Selected, Summary, TestMeasures
from kdcli.trained import make_card

_TRIAL_EXAMPLES = 4


_TRIAL_EXAMPLES = 4


@dataclass(frozen=True, eq=False)
class Found:
    """Foreign weights in their network, and what they say of the data."""

    config: Import
    exam: Exam
    network: nn.Module
    normalization: Normalization
    val: TestMeasures | None
    test: TestMeasures


def plan_import(config: Import, manner: Manner) -> Found:
    """Read the weights, and measure them; nothing is written.

    Raises:
        CheckpointError: The file is no state_dict, or not one of the network that is named.
        UsageError: The network, classes or normalisation do not fit the data.
        DivergedError: The network's answers are not finite.
    """
    device = pick_device(config.device)
    weights = read_foreign(Path(config.file))
    exam = load_exam(config.dataset, device, smoke=manner.smoke)
    dataset = exam.data.dataset
    network = build_network(_untrained(config.model), dataset, seed=0)
    own = network.state_dict()
    network.load_state_dict(fitted(own, weights, prefix=config.prefix, match=config.match, where=config.file))
    network = network.eval().requires_grad_(False)
    if config.classes is not None:
        _reorder(network, config.classes, dataset)
    normalization = _normalization(config, exam).to(device)
    network = placed(network, device)

    def logits(raw: Tensor) -> Tensor:
        answer: Tensor = network(normalization(raw)).float()
        return answer

    data, place = exam.data, Path(config.file)
    val = Part(data.source, data.val, dataset.train.labels[data.val])
    return Found(
        config, exam, network, normalization,
        None if len(val.indices) == 0 else as_result(measure(ask(logits, val, "validation", place), val.labels)),
        as_result(measure(ask(logits, exam.test, "test", place), exam.test.labels)),
    )  # fmt: skip


def import_weights(found: Found, manner: Manner) -> RunDir:
    """Write what was found as a run."""
    started, config = time.monotonic(), found.config
    run = create_run(Path(config.output_dir), IMPORTS, **manner.contents(config) | {"label": config.name})
    manner.say(f"{IMPORTS} {run.path}")
    with recorded([run]):
        card = make_card(_untrained(config.model), found.exam.data.dataset, found.normalization)
        state = {"card": card.model_dump(), "epoch": 0, "step": 0}
        pointer = checkpoint.commit(run.checkpoints, 0, {"model": found.network.state_dict()}, state)
        checkpoint.point(run.checkpoints, "last", pointer)
        summary = _summary(found, run, pointer, time.monotonic() - started)
        run.write_summary(summary.model_dump(by_alias=True))
        run.set_status("finished")
    return run


def _summary(found: Found, run: RunDir, pointer: checkpoint.Pointer, seconds: float) -> Summary:
    return Summary(
        schema=1,
        command=IMPORTS,
        status="finished",
        run=str(run.path),
        model=model_label(found.config.model),
        dataset=found.exam.data.dataset.name,
        seed=0,
        temperature=None,
        alpha=None,
        loss="hard",
        epochs=0,
        steps=0,
        wall_seconds=seconds,
        images_per_second=0.0,
        parameters=count_parameters(found.network),
        selected=Selected(checkpoint=pointer.dir, epoch=0, by="last"),
        val=found.val,
        test=found.test,
    )


def _untrained(model: Model) -> Model:
    """The weights come from the file, not from a download."""
    return model.model_copy(update={"pretrained": False}) if isinstance(model, Torchvision | Timm) else model


def _normalization(config: Import, exam: Exam) -> Normalization:
    dataset, channels = exam.data.dataset, exam.data.dataset.input_shape[0]
    measured = exam.data.normalization
    mean = _numbers("mean", config.mean, channels, measured.mean)
    std = _numbers("std", config.std, channels, measured.std)
    if not all(number > 0 for number in std):
        raise UsageError(f"std={list(std)}: every number must be above 0", where="std", fix="pixels count from 0 to 1")
    assert dataset.kind in ("image", "table")
    return Normalization(mean, std)


def _numbers(key: str, given: Normalizer, channels: int, measured: Sequence[float]) -> tuple[float, ...]:
    if given == "measured":
        return tuple(measured)
    numbers = (given,) * channels if isinstance(given, int | float) else tuple(map(float, given))
    if len(numbers) != channels:
        raise UsageError(
            f"{key} has {len(numbers)} numbers, and an example {channels} channels or columns",
            where=key,
            fix=f"give one number for all, {channels} in brackets, or measured",
        )
    return numbers


@torch.no_grad()
def _reorder(network: nn.Module, names: Sequence[str], dataset: Dataset) -> None:
    """Bring the outputs of a network, which mean ``names``, into the order of the dataset's classes, and try it."""
    if sorted(names) != sorted(dataset.classes):
        raise UsageError(
            f"classes names {', '.join(names[:12])}; {dataset.name} has {', '.join(dataset.classes[:12])}",
            where="classes",
            fix="name the same classes, in the order of the network's outputs",
        )
    order = torch.tensor([list(names).index(name) for name in dataset.classes])
    trial = torch.randn(_TRIAL_EXAMPLES, *dataset.input_shape, generator=torch.Generator().manual_seed(0))
    before = network(trial)
    layers = [each for each in network.modules() if isinstance(each, nn.Linear | nn.Conv2d)]
    last = next((each for each in reversed(layers) if each.weight.shape[0] == len(order)), None)
    if last is not None:
        last.weight.copy_(last.weight[order])
        if last.bias is not None:
            last.bias.copy_(last.bias[order])
    if not torch.allclose(network(trial), before[:, order], rtol=1e-4, atol=1e-5):
        raise UsageError(
            "the network's outputs cannot be brought into another order: its last layer is no Linear or Conv2d",
            where="classes",
            fix="leave out classes=, and name the classes of the data so that they sort in the network's order",
        )
