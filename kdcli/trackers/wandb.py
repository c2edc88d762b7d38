"""Weights & Biases: a run for each network, kept under ``outputs/wandb`` until it is sent by hand."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping

from kdcli.schema.tracking import WandbTracker
from kdcli.trackers import Tracked

# Read when it is imported.
os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
os.environ.setdefault("WANDB_SILENT", "true")

import wandb  # noqa: E402


class WandbWriter:
    """Logs the configuration at the start, metrics after each epoch, the summary at the end.

    Args:
        tracked: The network; one that goes on has the same id as before.
        section: Where to.
    """

    def __init__(self, tracked: Tracked, section: WandbTracker) -> None:
        tracked.outputs.mkdir(parents=True, exist_ok=True)
        key = f"{tracked.name} {tracked.started}"
        self._run = wandb.init(
            project=section.project,
            name=tracked.name,
            id=hashlib.sha256(key.encode()).hexdigest()[:16],
            resume="allow" if section.mode == "online" else None,
            dir=str(tracked.outputs),
            config=dict(tracked.settings),
            mode=section.mode,
            reinit="create_new",
            settings=wandb.Settings(silent=True, console="off", disable_git=True, save_code=False),
        )

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Log numbers."""
        self._run.log(dict(values), step=step)

    def end(self, status: str, results: Mapping[str, float]) -> None:
        """Write the results into the summary, and end the run."""
        self._run.summary.update({**results, "status": status})
        self._run.finish(exit_code=0 if status == "finished" else 1)
