"""Tiny checkpoints for the tests, and a program that is killed while it saves one.

    python saver.py OLD WORK NAME...

For each NAME (a failpoint, `name:count`), a child process saves step 2 into a copy of the store OLD, which holds
step 1, and is killed at that failpoint; WORK/<n> is what it left, and a line of the output is its exit status.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from kdcli import checkpoint, disk


def content(step: int) -> tuple[dict[str, dict[str, Tensor]], dict[str, object]]:
    """Tensors and state of one step, different for every step."""
    weights = torch.arange(6, dtype=torch.float32).reshape(2, 3) + step
    tensors = {
        "model": {"weight": weights, "bias": torch.zeros(0)},
        "state": {"step": torch.tensor(step), "generator": torch.full((5,), step % 256, dtype=torch.uint8)},
    }
    return tensors, {"epoch": step, "offset": 12 * step}


def save(store: Path, step: int) -> checkpoint.Pointer:
    """One whole save, as a training does it."""
    pointer = checkpoint.commit(store, step, *content(step))
    checkpoint.point(store, "last", pointer)
    checkpoint.prune(store)
    return pointer


def save_naively(store: Path, step: int) -> None:
    """The negative control: the pointer first, and files written straight to where they are read."""
    directory = store / f"step-{step:06d}"
    shutil.copytree(store / "step-000001", directory, ignore=lambda *_: ["model.safetensors", "manifest.json"])
    pointer = checkpoint.read_pointer(store, "last")
    checkpoint.point(store, "last", pointer.model_copy(update={"dir": directory.name}))
    for name in ("model.safetensors", "manifest.json"):
        disk.write_file(directory / name, (store / "step-000001" / name).read_bytes())
    shutil.rmtree(store / "step-000001")


def is_same(loaded: checkpoint.Loaded, step: int) -> bool:
    """Whether a checkpoint is exactly that of a step."""
    tensors, state = content(step)
    return (
        loaded.step == step
        and loaded.state == state
        and loaded.tensors.keys() == tensors.keys()
        and all(
            table.keys() == tensors[key].keys()
            and all(torch.equal(tensor, tensors[key][name]) for name, tensor in table.items())
            for key, table in loaded.tensors.items()
        )
    )


def _killed_save(store: Path, failpoint: str, save_step: Callable[[Path, int], object]) -> int:
    child = os.fork()
    if child == 0:
        os.environ["KD_FAILPOINT"] = failpoint
        save_step(store, 2)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main(old: Path, work: Path, failpoints: list[str]) -> None:
    """Run the children one after another."""
    torch.set_num_threads(1)
    save_step = save_naively if os.environ.get("NAIVE") else save
    for number, failpoint in enumerate(failpoints):
        shutil.copytree(old, work / str(number))
        sys.stdout.write(f"{_killed_save(work / str(number), failpoint, save_step)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
