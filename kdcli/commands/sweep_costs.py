"""What the networks of a sweep cost, read from what its runs left."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kdcli.commands.reporting import read_findings
from kdcli.report.sweep import SweepGroup, SweepRow, rank
from kdcli.report.sweep_words import setting
from kdcli.report.tradeoff import Priced
from kdcli.rundir import RunDir

if TYPE_CHECKING:
    from kdcli.schema.findings import NetworkFindings


def priced_networks(sweep: RunDir, rows: Sequence[SweepRow]) -> list[Priced]:
    """The settings of a sweep, then their baselines and teachers, each with its accuracy and its costs.

    Raises:
        CheckpointError: The files of a job are damaged.
    """
    found = {row.run: _networks(sweep, row) for row in rows if row.status == "finished"}
    groups = rank([row for row in rows if found.get(row.run)])
    own = [_priced(_name(group, groups, found), [found[row.run][0] for row in group.rows]) for group in groups]
    return [*own, *(one for kind in ("baseline", "teacher") for one in _references(kind, groups, found))]


def _networks(sweep: RunDir, row: SweepRow) -> list[NetworkFindings]:
    """A job's own network first; its baseline's from its own run, where that trained by itself."""
    found = read_findings(RunDir.open(sweep.path / row.run))
    networks = [] if found is None else list(found.networks)
    if row.baseline is not None and networks and all(each.name != "baseline" for each in networks):
        path = Path(sweep.path, row.baseline.name)
        beside = read_findings(RunDir.open(path)) if (path / "run.json").exists() else None
        networks += [] if beside is None else beside.networks[:1]
    return networks


def _name(group: SweepGroup, groups: Sequence[SweepGroup], found: dict[str, list[NetworkFindings]]) -> str:
    """The network's name, where each setting has another network."""
    models = [found[each.rows[0].run][0].model for each in groups]
    return found[group.rows[0].run][0].model if len({*models}) == len(models) else setting(group.overrides)


def _references(kind: str, groups: Sequence[SweepGroup], found: dict[str, list[NetworkFindings]]) -> list[Priced]:
    """The networks that settings are compared with, those of one architecture and cost as one."""
    same: dict[str, dict[str, NetworkFindings]] = {}
    for group in groups:
        for row in group.rows:
            reference = row.baseline if kind == "baseline" else row.teacher
            for each in found[row.run]:
                if each.name == kind and reference is not None:
                    same.setdefault(each.model, {})[reference.name] = each
    return [_priced(f"{kind} {model}", list(networks.values())) for model, networks in same.items()]


def _priced(name: str, networks: Sequence[NetworkFindings]) -> Priced:
    first = networks[0]
    return Priced(
        name=name,
        kind=first.name,
        top1=[each.test.top1 for each in networks],
        parameters=first.cost.parameters,
        macs=first.cost.macs,
        bytes=first.cost.bytes,
        seconds=min(each.cost.latency.median for each in networks),
    )
