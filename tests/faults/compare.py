"""Whether two output directories hold the same results, to the bit, whatever the time they took."""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any

from kdcli.commands.audit import audit_run
from kdcli.disk import is_temporary

_STAMP = re.compile(r"[0-9]{8}T[0-9]{6}Z-[0-9a-f]{4}")
_TIMES = {
    "seconds",
    "train_seconds",
    "wall_seconds",
    "images_per_second",
    "seconds_per_10k",
    "started",
    "ended",
    "pid",
    "metrics",
}
_PATHS = {"run", "output_dir"}


def records(outputs: Path) -> list[Path]:
    """The run.json of every run under a directory, those that are only being made apart."""
    found = []
    for folder, directories, files in os.walk(outputs):
        directories[:] = sorted(name for name in directories if name[0] != ".")
        found += [Path(folder, "run.json")] if "run.json" in files else []
    return found


def snapshot(outputs: Path) -> dict[str, Any]:
    """Everything that must not depend on how often a program was interrupted, by file.

    Directories are named by their times, which are left out: what stands in one command's directory is sorted by name.
    """
    found: dict[str, Any] = {}
    for record in records(outputs):
        name = _STAMP.sub("*", str(record.parent.relative_to(outputs)))
        while name in found:
            name += "+"
        found[name] = _renamed(_run(record.parent), str(outputs))
    return found


def _renamed(value: Any, outputs: str) -> Any:
    """The same with other names for what is named by place and time."""
    if isinstance(value, dict):
        return {key: _renamed(item, outputs) for key, item in value.items()}
    if isinstance(value, list):
        return [_renamed(item, outputs) for item in value]
    return _STAMP.sub("*", value.replace(outputs, "OUTPUTS")) if isinstance(value, str) else value


def _run(path: Path) -> dict[str, Any]:
    kept: dict[str, Any] = {"status": json.loads((path / "run.json").read_text())["status"]}
    for name in ("summary.json", "results.json", "evaluation.json"):
        if (path / name).exists():
            kept[name] = _timeless(json.loads((path / name).read_text()))
    for name in ("metrics.jsonl", "ledger.jsonl"):
        if (path / name).exists():
            kept[name] = [_timeless(json.loads(line)) for line in (path / name).read_text().splitlines()]
    for pointer in sorted((path / "checkpoints").glob("*.json")):
        step = path / "checkpoints" / json.loads(pointer.read_text())["dir"]
        kept[pointer.name] = step.name.split("-")[1]
        for file in sorted(step.iterdir()):
            # Whether the best weights stand alone or in a whole training's checkpoint depends on when kd saved.
            if pointer.stem == "last" or file.name == "model.safetensors":
                kept[f"{pointer.stem}/{file.name}"] = _content(file)
    return kept


def _content(file: Path) -> Any:
    if file.suffix == ".safetensors":
        return hashlib.sha256(file.read_bytes()).hexdigest()
    return _timeless(json.loads(file.read_text())) if file.name == "state.json" else None


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _timeless(item) for key, item in value.items() if key not in _TIMES and key not in _PATHS}
    if isinstance(value, list):
        return [_timeless(item) for item in value]
    return value


def difference(found: Any, expected: Any, key: str = "") -> str | None:
    """The first place in which two snapshots differ; None where they do not."""
    if isinstance(found, dict) and isinstance(expected, dict):
        for name in sorted(found.keys() | expected.keys()):
            if name not in found or name not in expected:
                return f"{key}/{name} is {'missing' if name in expected else 'too many'}"
            inner = difference(found[name], expected[name], f"{key}/{name}")
            if inner is not None:
                return inner
        return None
    if isinstance(found, list) and isinstance(expected, list) and len(found) == len(expected):
        inner = (
            difference(one, two, f"{key}[{number}]")
            for number, (one, two) in enumerate(zip(found, expected, strict=False))
        )
        return next((each for each in inner if each is not None), None)
    return None if found == expected else f"{key} is {str(found)[:60]} instead of {str(expected)[:60]}"


def leftovers(outputs: Path) -> str | None:
    """A temporary that is still there."""
    left = [path for path in outputs.rglob(".*") if is_temporary(path.name)]
    return f"{left[0].relative_to(outputs)} was left behind" if left else None


def damage(outputs: Path) -> str | None:
    """What `kd verify` has to say against a run, sweep or study in an output directory."""
    roots = [path.parent for path in records(outputs)]
    tops = [path for path in roots if not any(other in path.parents for other in roots)]
    for path in tops:
        bad = [finding for finding in audit_run(path).findings if not finding.harmless]
        if bad:
            return f"{bad[0].where}: {bad[0].what}"
    return None
