"""``kd train-teacher``: one network, or an ensemble whose members train as one cohort."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import torch

from kdcli.build import Data, build_bank, load_data, pick_device
from kdcli.engine.bank import Bank
from kdcli.errors import SweepError
from kdcli.losses import combine_members
from kdcli.metrics import measure
from kdcli.program.costs import cost_of_model
from kdcli.program.finish import as_result
from kdcli.program.run import Finished, Manner, child, raise_if_diverged, recorded, run_cohort, tested
from kdcli.program.selecting import train_selection
from kdcli.program.slots import Program, Slot, for_smoke, member_configs
from kdcli.program.witnesses import witness_of, write_ensemble_findings, write_own_findings
from kdcli.rundir import RunDir, create_run
from kdcli.schema import TrainTeacher
from kdcli.schema.model import Selection
from kdcli.schema.results import MembersSummary, Summary

COMMAND = "train-teacher"


def train_teacher(config: TrainTeacher, manner: Manner, run: RunDir | None = None) -> RunDir:
    """Train what the configuration names, in a new run or on from where ``run`` stands."""
    config = for_smoke(config) if manner.smoke else config
    if isinstance(config.model, Selection):
        return train_selection(config, manner, run)
    data, bank = prepare(config, member_configs(config), manner)
    run = run or create_run(Path(config.output_dir), COMMAND, **manner.contents(config))
    manner.say(f"{COMMAND} {run.path}")
    slots = _slots(config, run, manner)
    inside = [slot.run for slot in slots if slot.run is not run]
    with recorded([run, *inside]):
        finished = train_together(slots, data, bank, run.path / "cohort", manner)
        if inside:
            _conclude_ensemble(run, config, finished)
    raise_if_diverged(run)
    return run


def prepare(config: TrainTeacher, members: Sequence[TrainTeacher], manner: Manner) -> tuple[Data, Bank]:
    """Load the data and build the networks, before any directory is made."""
    device = pick_device(config.device)
    data = load_data(config.dataset, config.transfer, device, smoke=manner.smoke, batch_size=config.batch_size)
    return data, build_bank(members, data)


def _slots(config: TrainTeacher, run: RunDir, manner: Manner) -> list[Slot]:
    configs = member_configs(config)
    if len(configs) == 1:
        return [Slot("teacher", config, run)]
    return [
        Slot(f"member {k}", each, child(run, f"members/{k:02d}", each.model_copy(update={"members": 1}), manner))
        for k, each in enumerate(configs)
    ]


def train_together(slots: Sequence[Slot], data: Data, bank: Bank, cohort: Path, manner: Manner) -> Finished:
    """Train networks as one cohort, and write the summary and status of each."""
    program = Program(slots, cohort)
    finished = run_cohort(program, data, bank, None, manner, title=COMMAND)
    cost = cost_of_model(slots[0].config, data)
    for outcome in finished.outcomes:
        summary = tested(outcome, finished, None)
        if summary is not None:
            outcome.slot.run.write_summary(summary.model_dump(by_alias=True))
            finished.tracking.end(outcome.slot, summary)
            write_own_findings(witness_of("network", outcome, finished, cost), outcome.slot.run, data)
            outcome.slot.run.set_status("finished")
    finished.tracking.close("diverged")
    if not program.alone:
        shutil.rmtree(cohort)
    return finished


def _conclude_ensemble(run: RunDir, config: TrainTeacher, finished: Finished) -> None:
    """The summary of the ensemble as one teacher: its members' mean distribution, and each member's own measures."""
    whole = [outcome for outcome in finished.outcomes if outcome.slot.run.record.status == "finished"]
    if len(whole) < config.members:
        raise SweepError(
            f"{config.members - len(whole)} of {config.members} members diverged; the others are whole",
            where=str(run.path / "members"),
            fix=f"lower optimizer.lr, or use the members that finished: teacher=[{whole[0].slot.run.path},...]"
            if whole
            else "lower optimizer.lr",
        )
    summaries = [Summary.model_validate(outcome.slot.run.summary()) for outcome in whole]
    logits = torch.stack([outcome.test_logits for outcome in whole if outcome.test_logits is not None])
    mean = combine_members(logits, 1.0, "arithmetic")
    summary = summaries[0].model_copy(
        update={
            "run": str(run.path),
            "seed": config.seed,
            "parameters": sum(summary.parameters for summary in summaries),
            "bytes": sum(summary.bytes or 0 for summary in summaries),
            "seconds_per_10k": sum(summary.seconds_per_10k or 0.0 for summary in summaries),
            "selected": None,
            "val": None,
            "test": as_result(measure(mean, finished.data.test_labels)),
            "members": [MembersSummary(run=one.run, seed=one.seed, test=one.test) for one in summaries],
        }
    )
    run.write_summary(summary.model_dump(by_alias=True))
    write_ensemble_findings(run, whole, finished)
    run.set_status("finished")
