"""What the benchmarks share: interleaved repeats, medians and ratios, targets, and the one JSON that each prints."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from kdcli.rundir import describe_environment

T = TypeVar("T")


@dataclass(frozen=True)
class Target:
    """What the project asks of a number, and what was measured.

    Args:
        what: The number.
        asked: What it should reach.
        got: What it is.
        at_most: It should stay below ``asked`` instead.
    """

    what: str
    asked: float
    got: float
    at_most: bool = False

    @property
    def met(self) -> bool:
        """Whether it is reached."""
        return self.got <= self.asked if self.at_most else self.got >= self.asked

    def as_json(self) -> dict[str, object]:
        """The target and whether it is met."""
        bound = "at most" if self.at_most else "at least"
        return {"what": self.what, "bound": bound, "asked": self.asked, "got": self.got, "met": self.met}


@dataclass(frozen=True)
class Course:
    """How a benchmark is run: ``quick`` takes the smallest sizes, only to see that it works."""

    quick: bool
    repeats: int
    out: Path | None = None


@dataclass(frozen=True)
class Findings:
    """What a benchmark measured."""

    results: Mapping[str, Any]
    targets: Sequence[Target] = field(default_factory=list)


def interleave(ways: Mapping[str, Callable[[], T]], repeats: int, *, of: str = "") -> dict[str, list[T]]:
    """Call each way once a round, so that what slows the machine for a while slows all of them; ``of`` is said too."""
    results: dict[str, list[T]] = {name: [] for name in ways}
    for repeat in range(repeats):
        for name, way in ways.items():
            say(f"{of}{name}, {repeat + 1} of {repeats}")
            results[name].append(way())
    return results


def summarised(raw: Sequence[float]) -> dict[str, object]:
    """All repeats, and their median."""
    return {"raw": list(raw), "median": statistics.median(raw)}


def ratio(numerator: Sequence[float], denominator: Sequence[float]) -> float:
    """The ratio of two medians."""
    return statistics.median(numerator) / statistics.median(denominator)


def say(line: str) -> None:
    """Tell on stderr how far the benchmark is."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def main(name: str, about: str | None, measure: Callable[[Course], Findings], *, repeats: int) -> None:
    """Read the command line, measure, and print the JSON.

    Args:
        name: Of the benchmark.
        about: Its description, for ``--help``.
        measure: What it does.
        repeats: How often it measures everything, unless the command line says otherwise.
    """
    parser = argparse.ArgumentParser(
        f"python -m benchmarks.{name}", description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="smallest sizes, to see that it works")
    parser.add_argument("--repeats", type=int, default=None, help=f"default {repeats}, with --quick 1")
    parser.add_argument("--out", type=Path, default=None, metavar="FILE", help="write the JSON there too")
    given = parser.parse_args()
    course = Course(given.quick, given.repeats or (1 if given.quick else repeats), given.out)
    text = json.dumps(_document(name, course, measure(course)), indent=2) + "\n"
    if course.out is not None:
        course.out.parent.mkdir(parents=True, exist_ok=True)
        course.out.write_text(text)
    sys.stdout.write(text)


def _document(name: str, course: Course, findings: Findings) -> dict[str, object]:
    return {
        "benchmark": name,
        "command": " ".join(["python -m", f"benchmarks.{name}", *sys.argv[1:]]),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "quick": course.quick,
        "repeats": course.repeats,
        "machine": describe_environment("cpu"),
        "results": findings.results,
        "targets": [target.as_json() for target in findings.targets],
    }
