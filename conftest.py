"""What the doctests leave out: modules whose packages are extras that are not installed."""

from __future__ import annotations

from importlib.util import find_spec

_EXTRAS = {
    "ray": "kdcli/commands/ray_launcher.py",
    "mlflow": "kdcli/trackers/mlflow.py",
    "tensorboard": "kdcli/trackers/tensorboard.py",
    "wandb": "kdcli/trackers/wandb.py",
}
collect_ignore = [path for package, path in _EXTRAS.items() if find_spec(package) is None]
