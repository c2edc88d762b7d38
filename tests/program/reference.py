"""What a run should hold, worked out again from its files: numpy in float64, and plain reading of JSON."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from kdcli.data.mnist import mnist

Array = NDArray[np.float64]

SUMMARY_KEYS = {
    "bytes", "seconds_per_10k", "selection",
    "schema", "command", "status", "run", "model", "dataset", "seed", "temperature", "alpha", "loss", "epochs", "steps",
    "wall_seconds", "images_per_second", "parameters", "selected", "val", "test", "teacher", "baseline", "members",
    "transfer",
    "specialists",
}  # fmt: skip
TEST_KEYS = {"n", "errors", "top1", "top5", "nll", "brier", "ece", "rmse", "agreement", "kl_to_teacher"}
METRIC_KEYS = {
    "epoch", "step", "temperature", "alpha", "lr", "train/loss", "train/hard", "train/soft", "val/top1", "val/nll",
    "val/agreement", "seconds", "images_per_second",
}  # fmt: skip
TIMES = {"seconds", "images_per_second", "wall_seconds", "seconds_per_10k"}
STEP_FILES = {"manifest.json", "model.safetensors", "state.json", "state.safetensors"}
RECORDS = {
    "run.json", "config.yaml", "overrides.yaml", "environment.json", "metrics.jsonl", "summary.json", "findings.json",
}  # fmt: skip


def step_directory(run: Path, name: str = "best") -> Path:
    """The directory that best.json or last.json names."""
    store = run / "checkpoints"
    return store / str(json.loads((store / f"{name}.json").read_text())["dir"])


def weights(run: Path, name: str = "best") -> dict[str, NDArray[Any]]:
    """The weights that best.json or last.json names."""
    return load_file(step_directory(run, name) / "model.safetensors")


def differences(first: dict[str, NDArray[Any]], second: dict[str, NDArray[Any]]) -> float:
    """The greatest absolute difference between the numbers of two networks of one form."""
    assert first.keys() == second.keys()
    return max(float(np.abs(first[name] - second[name]).max()) for name in first)


@cache
def test_set() -> tuple[Array, NDArray[np.int64]]:
    """Test images of MNIST as bytes, flat, and their labels."""
    split = mnist().test
    return split.inputs.flatten(1).double().numpy(), split.labels.numpy()


def probabilities(run: Path, name: str = "best", images: Array | None = None) -> Array:
    """What a fully connected network of a run says of test or other images: a float64 forward pass from its files."""
    numbers = {key: value.astype(np.float64) for key, value in weights(run, name).items()}
    card = json.loads((step_directory(run, name) / "state.json").read_text())["state"]["card"]
    values = ((test_set()[0] if images is None else images) / 255 - card["mean"][0]) / card["std"][0]
    for layer in range(sum(key.startswith("hidden.") for key in numbers) // 2):
        values = np.maximum(values @ numbers[f"hidden.{layer}.weight"].T + numbers[f"hidden.{layer}.bias"], 0)
    logits = values @ numbers["output.weight"].T + numbers["output.bias"]
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(odds / odds.sum(axis=1, keepdims=True))


def nll(probs: Array) -> float:
    """Mean negative log-likelihood of the test labels, in nats."""
    labels = test_set()[1]
    return float(-np.log(probs[np.arange(len(labels)), labels]).mean())


def errors(probs: Array) -> int:
    """Test examples that are not recognised."""
    return int((probs.argmax(axis=1) != test_set()[1]).sum())


def kl(teacher: Array, student: Array) -> float:
    """Mean KL(teacher || student), in nats."""
    return float((teacher * (np.log(teacher) - np.log(student))).sum(axis=1).mean())


def metrics(run: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl."""
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def summary(run: Path) -> dict[str, Any]:
    """summary.json."""
    content: dict[str, Any] = json.loads((run / "summary.json").read_text())
    return content


def status(run: Path) -> str:
    """The status that run.json holds."""
    return str(json.loads((run / "run.json").read_text())["status"])


def timeless(value: Any) -> Any:
    """A record without times and names of directories, which differ between two runs of one training."""
    if isinstance(value, dict):
        return {key: timeless(one) for key, one in value.items() if key not in TIMES | {"run", "checkpoint"}}
    return [timeless(one) for one in value] if isinstance(value, list) else value


def files(folder: Path) -> set[str]:
    """The visible files below a folder; a step-directory's are summed up as ``step-*/``."""
    found = set()
    for path in folder.rglob("*"):
        parts = path.relative_to(folder).parts
        if path.is_file() and not any(part.startswith(".") for part in parts):
            step = next((index for index, part in enumerate(parts) if part.startswith("step-")), None)
            if step is not None:
                assert parts[step + 1] in STEP_FILES
            found.add("/".join(parts if step is None else (*parts[:step], "step-*")))
    return found


def fingerprints(folder: Path) -> dict[str, str]:
    """The SHA-256 of every file below a folder, the hidden ones too."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def full_commits(run: Path) -> list[str]:
    """The step-directories that a training can go on from."""
    return sorted(path.parent.name for path in (run / "checkpoints").glob("step-*/state.safetensors"))


def same_training(first: Path, second: Path) -> None:
    """Assert that two runs are one and the same training: weights and state to the bit, metrics and summary."""
    pointers = sorted(path.stem for path in (first / "checkpoints").glob("*.json"))
    assert pointers == sorted(path.stem for path in (second / "checkpoints").glob("*.json"))
    for name in pointers:
        one, other = (step_directory(run, name) for run in (first, second))
        assert (one / "model.safetensors").read_bytes() == (other / "model.safetensors").read_bytes()
    states = [
        sorted(file.read_bytes() for file in step_directory(run, "last").glob("state.safetensors"))
        for run in (first, second)
    ]
    assert states[0] == states[1]
    assert timeless(metrics(first)) == timeless(metrics(second))
    assert timeless(summary(first)) == timeless(summary(second))
    assert status(first) == status(second) == "finished"
