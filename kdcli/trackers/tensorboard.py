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
        purge = tracked.step + 1 if tracked.step else None
        self._writer = SummaryWriter(str(tracked.path / FOLDER), purge_step=purge)  # type: ignore[no-untyped-call]
        text = "\n".join(f"    {key}: {value}" for key, value in tracked.settings.items())
        self._writer.add_text("settings", text)  # type: ignore[no-untyped-call]

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Write numbers, so that they can be looked at while the training goes on."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)  # type: ignore[no-untyped-call]
        self._writer.flush()  # type: ignore[no-untyped-call]

    def end(self, status: str, results: Mapping[str, float]) -> None:
        """Write the results beside the settings."""
        for name, value in results.items():
            self._writer.add_scalar(name, value)  # type: ignore[no-untyped-call]
        for part in hparams({**self._settings, "status": status}, dict(results)):  # type: ignore[no-untyped-call]
            self._writer.file_writer.add_summary(part)  # type: ignore[union-attr]
        self._writer.close()  # type: ignore[no-untyped-call]
