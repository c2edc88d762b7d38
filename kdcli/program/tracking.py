"""A cohort's networks, each told to its own tracked run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from kdcli.program.slots import Program, Slot
from kdcli.schema.results import Summary
from kdcli.trackers import Tracked, Value, open_tracker

_COUNTED = ("epoch", "step")


class Tracking:
    """Passes on what becomes of the networks of a program.

    Args:
        program: Its networks.
        step: Where their training goes on.
        say: Told in one line of a tracker that fails.
    """

    def __init__(self, program: Program, step: int, say: Callable[[str], None]) -> None:
        self._trackers = {
            slot.run.path: open_tracker(slot.config.tracker, _tracked(slot, step), say) for slot in program.slots
        }

    def epoch(self, slot: Slot, line: Mapping[str, float | int | None]) -> None:
        """Pass a line of metrics.jsonl on, by its names."""
        known = {name: float(value) for name, value in line.items() if value is not None and name not in _COUNTED}
        self._trackers[slot.run.path].scalars(int(line["step"] or 0), known)

    def end(self, slot: Slot, summary: Summary) -> None:
        """Pass a network's result on."""
        self._trackers[slot.run.path].end("finished", results(summary))

    def close(self, status: str) -> None:
        """End those that have not been ended: they were interrupted, or diverged."""
        for tracker in self._trackers.values():
            tracker.end(status, {})


def _tracked(slot: Slot, step: int) -> Tracked:
    record = slot.run.record
    return Tracked(
        name=record.id,
        path=slot.run.path,
        outputs=Path(slot.config.output_dir),
        started=record.started,
        settings=dict(_settings(slot.config.model_dump(exclude={"tracker"}), "")),
        step=step,
    )


def _settings(values: Mapping[str, Any], prefix: str) -> Sequence[tuple[str, Value]]:
    rows: list[tuple[str, Value]] = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            rows += _settings(value, f"{prefix}{key}.")
        else:
            plain = value is None or isinstance(value, bool | int | float | str)
            rows.append((prefix + key, value if plain else str(value)))
    return rows


def results(summary: Summary) -> dict[str, float]:
    """The numbers of a summary: ``test/top1``, ``teacher/test/top1``; those on validation are the ``selected/val/...``.

    Their plain names are those of a curve over the epochs.
    """
    found = _numbers(summary.model_dump(exclude={"schema_version", "seed", "members"}), "")
    return {f"selected/{name}" if name.startswith("val/") else name: value for name, value in found}


def _numbers(values: Mapping[str, Any], prefix: str) -> list[tuple[str, float]]:
    found: list[tuple[str, float]] = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            found += _numbers(value, f"{prefix}{key}/")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            found.append((prefix + key, float(value)))
    return found
