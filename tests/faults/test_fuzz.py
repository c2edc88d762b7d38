"""That the fuzzing of S9 finds a parser that crashes, and one that takes too long."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from faults import fuzz


@pytest.fixture
def problems(tmp_path: Path) -> Callable[[Callable[[Path], object]], set[str]]:
    """What fifty changes of a file make of a parser."""
    path = tmp_path / "run" / "file.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"a": {"b": [1, 2]}}))

    def run(read: Callable[[Path], object]) -> set[str]:
        chance, whole = random.Random(0), path.read_bytes()
        parser = fuzz.Parser(path, lambda: read(path))
        found = {fuzz._crashed(parser, fuzz._change(".json", chance)) for _ in range(50)}
        assert path.read_bytes() == whole
        return {problem.partition(":")[0] for problem in found if problem is not None}

    return run


def test_a_parser_that_trusts_its_file_is_caught(problems: Callable[[Callable[[Path], object]], set[str]]) -> None:
    assert {"JSONDecodeError", "KeyError"} <= problems(lambda path: json.loads(path.read_text())["a"]["b"])


def test_a_parser_that_reads_bytes_only_is_not(problems: Callable[[Callable[[Path], object]], set[str]]) -> None:
    assert problems(Path.read_bytes) == set()


def test_one_that_takes_too_long_is_caught(
    problems: Callable[[Callable[[Path], object]], set[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fuzz, "MOST_SECONDS", 0.001)
    assert problems(lambda path: time.sleep(0.002)) == {"0.0 s"}
