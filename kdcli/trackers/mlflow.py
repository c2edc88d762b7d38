"""MLflow: a run for each network, in a local SQLite file unless a server is named."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping

from kdcli.schema.tracking import MlflowTracker
from kdcli.trackers import Tracked

# Read when it is imported: it would tell its makers that it is used.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("DO_NOT_TRACK", "true")
from mlflow.entities import Metric, Param, RunTag  # noqa: E402
from mlflow.tracking import MlflowClient  # noqa: E402

for _name in ("alembic", "mlflow"):  # they would tell of every table they make
    logging.getLogger(_name).setLevel(logging.WARNING)

_KEY = "kd.run"
_STATUS = {"finished": "FINISHED", "interrupted": "KILLED"}
_LONGEST = 500
_MOST_PARAMS = 100


class MlflowWriter:
    """Logs params at the start, metrics after each epoch, results at the end.

    Args:
        tracked: The network; one that goes on is found again by its run's name and start.
        section: Where to.
    """

    def __init__(self, tracked: Tracked, section: MlflowTracker) -> None:
        self._step = tracked.step
        uri = section.uri or f"sqlite:///{(tracked.outputs / 'mlflow.db').absolute()}"
        self._client = MlflowClient(tracking_uri=uri)
        experiment = self._experiment(section.experiment, tracked)
        key = f"{tracked.name} {tracked.started}"
        known = self._client.search_runs([experiment], f"tags.`{_KEY}` = '{key.replace(chr(39), '')}'", max_results=1)
        if known:
            self._run = known[0].info.run_id
            self._client.set_terminated(self._run, "RUNNING")
            return
        made = self._client.create_run(experiment, tags={_KEY: key.replace("'", "")}, run_name=tracked.name)
        self._run = made.info.run_id
        params = [Param(name, str(value)[:_LONGEST]) for name, value in tracked.settings.items()]
        for first in range(0, len(params), _MOST_PARAMS):
            self._client.log_batch(self._run, params=params[first : first + _MOST_PARAMS])

    def _experiment(self, name: str, tracked: Tracked) -> str:
        known = self._client.get_experiment_by_name(name)
        if known is not None:
            return str(known.experiment_id)
        artifacts = (tracked.outputs / "mlartifacts").absolute().as_uri()
        return str(self._client.create_experiment(name, artifact_location=artifacts))

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Log numbers."""
        self._step = step
        now = time.time_ns() // 1_000_000
        self._client.log_batch(self._run, metrics=[Metric(name, value, now, step) for name, value in values.items()])

    def end(self, status: str, results: Mapping[str, float]) -> None:
        """Log the results, and end the run."""
        self.scalars(self._step, results)
        self._client.log_batch(self._run, tags=[RunTag("kd.status", status)])
        self._client.set_terminated(self._run, _STATUS.get(status, "FAILED"))
