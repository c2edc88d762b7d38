"""``kd train-teacher model=selection``: a library of models is fitted, and an ensemble selected from it."""

from __future__ import annotations

import time
from pathlib import Path

import torch
from torch import Tensor

from kdcli import checkpoint
from kdcli.build import Data, load_data
from kdcli.metrics import Measures, measure
from kdcli.program.finish import as_result
from kdcli.program.run import Manner, recorded
from kdcli.program.signals import terminable
from kdcli.program.slots import for_smoke
from kdcli.rundir import RunDir, create_run
from kdcli.schema import TrainTeacher
from kdcli.schema.model import Selection, model_label
from kdcli.schema.results import AloneSummary, SelectedMember, SelectionSummary, Summary
from kdcli.selected import MEMBERS, VERSION, scikit_learn_version, select
from kdcli.selection import Blend, KeptEnsemble, SelectedEnsemble, as_it_is, keep, library, require_scikit_learn
from kdcli.selection.ensemble import CASES
from kdcli.trained import make_card

COMMAND = "train-teacher"


def train_selection(config: TrainTeacher, manner: Manner, run: RunDir | None = None) -> RunDir:
    """Fit and select what the configuration names, in a new run; one that was stopped begins again."""
    data = prepare(config, manner)
    run = run or create_run(Path(config.output_dir), COMMAND, **manner.contents(config))
    manner.say(f"{COMMAND} {run.path}")
    with terminable(), recorded([run]):
        started = time.monotonic()
        found = select(config, data, manner.say)
        manner.say(f"selected {len(found.ensemble.parts)} of {len(found.names)}; asking them about all rows")
        kept = keep(found.ensemble, found.sha256, torch.cat([_rows(data, test=False), _rows(data, test=True)]))
        _commit(run, config, data, found, kept)
        summary = _summary(run, config, data, found, kept, started)
        run.write_summary(summary.model_dump(by_alias=True))
        run.set_status("finished")
    return run


def rehearse_selection(config: TrainTeacher, manner: Manner) -> str:
    """What it would do, a line each; the data are loaded, no model is fitted."""
    config = for_smoke(config) if manner.smoke else config
    data, section = prepare(config, manner), config.model
    assert isinstance(section, Selection)
    models = len(library(section.library))
    lines = {
        "teacher": f"an ensemble selection from the library {section.library}",
        "data": f"{data.dataset.name}: {len(data.transfer):,} of {len(data.train):,} training examples to fit, "
        f"{len(data.val):,} for validation to select, {len(data.test):,} for the test",
        "course": f"{models} models are fitted; {section.bags} ensembles are selected by {section.metric} and averaged",
        "run": f"{Path(config.output_dir) / COMMAND}/...",
    }
    return "".join(f"{name:<9}{text}\n" for name, text in lines.items()) + "nothing was written; no model was fitted\n"


def prepare(config: TrainTeacher, manner: Manner) -> Data:
    """See that scikit-learn is there and load the data, before any directory is made."""
    require_scikit_learn()
    cpu = torch.device("cpu")
    return load_data(config.dataset, config.transfer, cpu, smoke=manner.smoke, batch_size=config.batch_size)


def _rows(data: Data, *, test: bool) -> Tensor:
    source = data.test if test else data.source
    return source.gather(torch.arange(len(source)))


def _cases(data: Data) -> Tensor:
    """What is asked about to see how long it takes; the test set is read for nothing but the measures."""
    return _rows(data, test=False)[:CASES]


def _commit(run: RunDir, config: TrainTeacher, data: Data, found: SelectedEnsemble, kept: KeptEnsemble) -> None:
    card = make_card(config.model, data.dataset, as_it_is(data.dataset.input_shape[0]))
    state = {"card": card.model_dump(), "epoch": 0, "step": 0}
    state |= {MEMBERS: found.ensemble.parts, VERSION: scikit_learn_version()}
    pointer = checkpoint.commit(run.checkpoints, 0, {"model": kept.state_dict()}, state)
    checkpoint.point(run.checkpoints, "last", pointer)
    checkpoint.prune(run.checkpoints)


def _summary(
    run: RunDir, config: TrainTeacher, data: Data, found: SelectedEnsemble, kept: KeptEnsemble, started: float
) -> Summary:
    test = _rows(data, test=True)
    return Summary(
        schema=1,
        command=COMMAND,
        status="finished",
        run=str(run.path),
        model=model_label(config.model),
        dataset=data.dataset.name,
        seed=config.seed,
        temperature=None,
        alpha=None,
        loss=config.loss.kind,
        epochs=0,
        steps=0,
        wall_seconds=time.monotonic() - started,
        images_per_second=0.0,
        parameters=0,
        bytes=found.ensemble.size_bytes(),
        seconds_per_10k=found.ensemble.seconds_per_10k(_cases(data)),
        selected=None,
        val=as_result(_measured(kept, data.source.gather(data.val), data.dataset.train.labels[data.val])),
        test=as_result(_measured(kept, test, data.test_labels)),
        selection=_selection(config, data, found),
    )


def _measured(kept: KeptEnsemble, rows: Tensor, labels: Tensor) -> Measures:
    return measure(kept(rows), labels)


def _selection(config: TrainTeacher, data: Data, found: SelectedEnsemble) -> SelectionSummary:
    assert isinstance(config.model, Selection)
    return SelectionSummary(
        sha256=found.sha256,
        models=len(library(config.model.library)),
        members=[SelectedMember(name=name, weight=weight) for name, weight in found.ensemble.parts.items()],
        single=_alone(found.single, data),
        net=None if found.net is None else _alone(found.net, data),
    )


def _alone(model: Blend, data: Data) -> AloneSummary:
    test = _rows(data, test=True)
    return AloneSummary(
        name=next(iter(model.parts)),
        bytes=model.size_bytes(),
        seconds_per_10k=model.seconds_per_10k(_cases(data)),
        test=as_result(measure(model.log_probabilities(test), data.test_labels)),
    )
