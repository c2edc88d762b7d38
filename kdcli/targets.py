"""The cache of a teacher's answers: asked once, memory-mapped, shared by runs, sweeps and later commands.

    outputs/targets/<key>/        made under a temporary name and renamed into place when it is whole
      answers.bin                 logits (M, V * N, C), float32 or float16, in native byte order
      manifest.json               what they are answers to, and the SHA-256 of answers.bin

The key is a hash of everything the answers depend on: the teacher's weights and normalisation, the data's fingerprint,
the examples, the views, the type of the numbers. Answers of anything else have another key and are never found.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from kdcli.data.source import Source
from kdcli.data.views import View
from kdcli.disk import fsync_directory, make_directory, remove_leftovers, remove_tree, temporary_name, translated
from kdcli.errors import KDError
from kdcli.json_io import read_json, write_json_atomic
from kdcli.strict import StrictModel, validated
from kdcli.teachers import TargetTable, Teacher, answers

ANSWERS = "answers.bin"
MANIFEST = "manifest.json"
DTYPES = {"float32": torch.float32, "float16": torch.float16}
PROGRESS_SECONDS = 2.0
_CHUNK = 2**24

Say = Callable[[str], None]


class Question(StrictModel):
    """What a teacher is asked: everything its answers depend on."""

    teacher_sha256: str
    normalizations_sha256: str
    data_fingerprint: str
    examples_sha256: str
    view: str
    dtype: Literal["float32", "float16"]
    members: Annotated[int, Field(ge=1)]
    views: Annotated[int, Field(ge=1)]
    examples: Annotated[int, Field(ge=1)]
    classes: Annotated[int, Field(ge=1)]

    @property
    def key(self) -> str:
        """The name of its answers."""
        return hashlib.sha256(json.dumps(self.model_dump(), sort_keys=True).encode()).hexdigest()[:32]

    @property
    def shape(self) -> tuple[int, int, int]:
        """``(M, V * N, C)``."""
        return self.members, self.views * self.examples, self.classes

    @property
    def num_bytes(self) -> int:
        """Size of the answers."""
        members, rows, classes = self.shape
        return members * rows * classes * DTYPES[self.dtype].itemsize


class Manifest(StrictModel):
    """``manifest.json``: the question, and the digest of the answers."""

    schema_version: Annotated[Literal[1], Field(alias="schema")]
    question: Question
    sha256: str


@dataclass(frozen=True)
class Examples:
    """What a teacher is asked about.

    Args:
        source: The raw inputs of the training set.
        indices: The examples, shape ``(N,)``.
        view: Their views, all of which are asked about.
        fingerprint: Of the data.
    """

    source: Source
    indices: Tensor
    view: View
    fingerprint: str


def question(
    teacher: Teacher, asked_about: Examples, num_classes: int, dtype: Literal["float32", "float16"]
) -> Question:
    """What ``teacher`` would be asked about these examples."""
    normalizations = json.dumps([[each.mean, each.std] for each in teacher.normalizations])
    examples = asked_about.indices.cpu().contiguous().numpy().tobytes()
    return Question(
        teacher_sha256=teacher.sha256(),
        normalizations_sha256=hashlib.sha256(normalizations.encode()).hexdigest(),
        data_fingerprint=asked_about.fingerprint,
        examples_sha256=hashlib.sha256(examples).hexdigest(),
        view=asked_about.view.name,
        dtype=dtype,
        members=len(teacher.networks),
        views=asked_about.view.count,
        examples=len(asked_about.indices),
        classes=num_classes,
    )


def find(store: Path, asked: Question, device: torch.device) -> TargetTable | None:
    """The answers to exactly this question, if they are there and whole; others are removed.

    Args:
        store: The directory of all answers.
        asked: The question.
        device: Where the training runs: a CPU reads the mapped file, another device gets a copy.
    """
    folder = store / asked.key
    if not folder.is_dir() or folder.is_symlink():
        return None
    try:
        where = str(folder / MANIFEST)
        manifest = validated(Manifest, read_json(folder / MANIFEST), where=where)
        whole = manifest.question == asked and manifest.sha256 == _digest(folder / ANSWERS, asked.num_bytes)
    except (KDError, OSError):
        whole = False
    if not whole:
        remove_tree(folder)
        return None
    return _mapped(folder / ANSWERS, asked, device)


def find_or_ask(
    store: Path, asked: Question, teacher: Teacher, asked_about: Examples, device: torch.device, say: Say
) -> TargetTable:
    """The answers to a question, asked now where nobody has asked it; of several processes one asks, the others wait.

    Raises:
        DivergedError: If an answer is not finite.
        MachineError: If they cannot be written.
    """
    found = find(store, asked, device)
    if found is not None:
        return found
    make_directory(store)
    with _only_one(store / f".{asked.key}.lock", say):
        found = find(store, asked, device)
        if found is not None:
            return found
        remove_leftovers(store)
        _ask(store, asked, teacher, asked_about, say)
    found = find(store, asked, device)
    assert found is not None, "answers that were just written are not there"
    return found


def _ask(store: Path, asked: Question, teacher: Teacher, asked_about: Examples, say: Say) -> None:
    temporary = store / temporary_name()
    with translated(temporary / ANSWERS, asked.num_bytes):
        temporary.mkdir()
        try:
            _write_answers(temporary / ANSWERS, asked, teacher, asked_about, say)
            sha256 = _digest(temporary / ANSWERS, asked.num_bytes)
            manifest = {"schema": 1, "question": asked.model_dump(), "sha256": sha256}
            write_json_atomic(temporary / MANIFEST, manifest)
            fsync_directory(temporary)
            os.rename(temporary, store / asked.key)
        except BaseException:
            remove_tree(temporary)
            raise
        fsync_directory(store)


def _write_answers(path: Path, asked: Question, teacher: Teacher, asked_about: Examples, say: Say) -> None:
    with open(path, "xb") as file:
        # The space is taken now: writing to a mapped file on a full disk would kill the process instead.
        os.posix_fallocate(file.fileno(), 0, asked.num_bytes)
    table = torch.from_file(str(path), shared=True, size=asked.num_bytes, dtype=torch.uint8)
    table = table.view(DTYPES[asked.dtype]).view(asked.shape)
    said, done = time.monotonic(), 0
    for first, logits in answers(teacher, asked_about.source, asked_about.indices, asked_about.view):
        table[:, first : first + logits.shape[1]] = logits
        done += logits.shape[1]
        if time.monotonic() - said > PROGRESS_SECONDS:
            said = time.monotonic()
            say(f"asking the teacher: {done:,} of {asked.shape[1]:,} (example, view) pairs")
    with open(path, "rb") as file:
        os.fsync(file.fileno())


def _mapped(path: Path, asked: Question, device: torch.device) -> TargetTable:
    flat = torch.from_file(str(path), shared=False, size=asked.num_bytes, dtype=torch.uint8)
    table = flat.view(DTYPES[asked.dtype]).view(asked.shape)
    return TargetTable(table.to(device), asked.examples)


def _digest(path: Path, num_bytes: int) -> str:
    if path.is_symlink() or path.stat().st_size != num_bytes:
        return ""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


@contextmanager
def _only_one(path: Path, say: Say) -> Iterator[None]:
    """Hold a lock that the kernel releases with the process, and say for whom one waits."""
    import fcntl

    with translated(path), open(path, "a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            say(f"waiting for process {file.read().strip() or '?'}, which is asking the same teacher")
            fcntl.flock(file, fcntl.LOCK_EX)
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield
