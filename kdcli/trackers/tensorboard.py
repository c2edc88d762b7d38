"""TensorBoard: event files in ``tensorboard/`` of a run."""

from __future__ import annotations

from collections.abc import Mapping

from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from kdcli.trackers import Tracked

FOLDER = "tensorboard"


class TensorboardWriter:
    """Writes scalars after each epoch, and settings with results at the end, for the HPARAMS tab.

    Args:
        tracked: The network; what was written after the step where it goes on is withdrawn.
    """

    def __init__(self, tracked: Tracked) -> None:
        self._settings = {key: "null" if value is None else value for key, value in tracked.settings.items()}
        self._step = tracked.step
        purge = tracked.step + 1 if tracked.step else None
        self._writer = SummaryWriter(str(tracked.path / FOLDER), purge_step=purge)
        text = "\n".join(f"    {key}: {value}" for key, value in tracked.settings.items())
        self._writer.add_text("settings", text)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Write numbers, so that they can be looked at while the training goes on."""
        self._step = step
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def end(self, status: str, results: Mapping[str, float]) -> None:
        """Write the results beside the settings."""
        for name, value in results.items():
            self._writer.add_scalar(name, value, self._step)
        events = self._writer.file_writer
        assert events is not None, "add_scalar has opened it"
        for part in hparams({**self._settings, "status": status}, dict(results)):
            events.add_summary(part)
        self._writer.close()
