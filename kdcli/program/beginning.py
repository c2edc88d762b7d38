"""What a training began with, kept in its checkpoints: it goes on with the same, or not at all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from kdcli.engine.ranks import current
from kdcli.errors import UsageError
from kdcli.json_io import read_json
from kdcli.program.slots import Program
from kdcli.rundir import describe_environment
from kdcli.rundir.run import ENVIRONMENT
from kdcli.schema import Training

_ELSEWHERE = {"output_dir", "sweep", "trust_code", "teacher", "device", "baseline", "tracker"}
"""Where it runs and what it is called; the teacher is known by its weights."""

_PACKAGES = ("torch", "torchvision", "python")
_SHOWN = 5


def beginning(program: Program, teacher_sha256: str | None) -> dict[str, Any]:
    """What must not change: the configuration of every network, and the weights of their teacher."""
    return {"configs": [_own(slot.config) for slot in program.slots], "teacher_sha256": teacher_sha256}


def _own(config: Training) -> dict[str, Any]:
    own = config.model_dump(exclude=_ELSEWHERE)
    own.pop("targets", None)  # where answers are kept, and in which type: the key of the cache knows
    for how in ("memory", "workers"):  # of an image folder: the data are the same to the bit
        own["dataset"].pop(how, None)
    return own


def check_same(kept: object, now: Mapping[str, Any], where: Path) -> None:
    """Compare what a checkpoint says with what would go on.

    Raises:
        UsageError: Naming what changed, from what to what.
    """
    changes = list(_changes(kept, now, ""))
    if not changes:
        return
    more = f" and {len(changes) - _SHOWN} more" if len(changes) > _SHOWN else ""
    raise UsageError(
        f"changed since this training began: {', '.join(changes[:_SHOWN])}{more}",
        where=str(where),
        fix="put back what it began with, or start a new training",
    )


def _changes(kept: object, now: object, key: str) -> Iterator[str]:
    if isinstance(kept, Mapping) and isinstance(now, Mapping):
        for name in [*now, *(name for name in kept if name not in now)]:
            yield from _changes(kept.get(name), now.get(name), f"{key}.{name}" if key else str(name))
    elif isinstance(kept, list) and isinstance(now, list) and len(kept) == len(now) and key == "configs":
        for one, other in zip(kept, now, strict=True):
            yield from _changes(one, other, "")
    elif kept != now or type(kept) is not type(now):
        yield f"{key} from {str(kept)[:80]!a} to {str(now)[:80]!a}"


def environment_changes(program: Program, device: torch.device) -> str | None:
    """Whether what goes on is not what began, devices, processes or versions: then the last bits may differ."""
    then = read_json(program.slots[0].run.path / ENVIRONMENT)
    now = describe_environment(str(device)) | {"processes": current().size}
    found = [(name, then.get(name), now[name]) for name in ("device", "processes")] if isinstance(then, dict) else []
    before, after = (each.get("versions") if isinstance(each, dict) else None for each in (then, now))
    if isinstance(before, dict) and isinstance(after, dict):
        found += [(name, before.get(name), after.get(name)) for name in _PACKAGES]
    shown = [f"{name} {ascii(str(old))[1:-1]} -> {new}" for name, old, new in found if old is not None and old != new]
    return f"not bit-exact, as the environment changed: {', '.join(shown)}" if shown else None
