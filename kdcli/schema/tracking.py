"""The ``tracker`` group: who else is told of a training."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from kdcli.schema.base import Section


class NoTracker(Section):
    """Nobody: a run's own files hold everything."""

    kind: Literal["none"] = "none"


class TensorboardTracker(Section):
    """Event files in ``tensorboard/`` of each run."""

    kind: Literal["tensorboard"]


class MlflowTracker(Section):
    """An MLflow store; without a ``uri`` the file ``mlflow.db`` under ``output_dir``."""

    kind: Literal["mlflow"]
    uri: str | None = None
    experiment: str = "kd"


class WandbTracker(Section):
    """Weights & Biases; offline, it writes under ``output_dir`` and sends nothing."""

    kind: Literal["wandb"]
    project: str = "kd"
    mode: Literal["offline", "online"] = "offline"


Tracker = Annotated[NoTracker | TensorboardTracker | MlflowTracker | WandbTracker, Field(discriminator="kind")]
