"""What the rows count, and the one table of it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

KEPT = 5


@dataclass
class Row:
    """What became of the faults of one row.

    Args:
        id: As in the table: ``R1 sweep``.
        what: In a few words.
        figure: What counts as survived.
        injected: Faults so far.
        survived: Those after which everything was as ``figure`` says.
        silent: Those that changed a result, ran code or left damage, and nobody was told.
        failures: The first few that were not survived.
        seconds: How long it took.
    """

    id: str
    what: str
    figure: str
    injected: int = 0
    survived: int = 0
    silent: int = 0
    failures: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def add(self, fault: str, problem: str | None, *, silent: bool = False) -> None:
        """Count a fault.

        Args:
            fault: What was injected.
            problem: Why it was not survived, None where it was.
            silent: Whether nobody was told of the problem.
        """
        self.injected += 1
        self.survived += problem is None
        self.silent += silent and problem is not None
        if problem is not None and len(self.failures) < KEPT:
            self.failures.append(f"{fault}: {problem}"[:2000])

    @property
    def passed(self) -> bool:
        """Whether every fault was survived, and there were some."""
        return 0 < self.injected == self.survived and self.silent == 0


HEAD = ("row", "what", "injected", "survived", "silent")


def table(rows: Iterable[Row]) -> str:
    """The table, in Markdown."""
    cells = [(row.id, row.what, f"{row.injected:,}", f"{row.survived:,}", f"{row.silent:,}") for row in rows]
    widths = [max(len(line[column]) for line in [HEAD, *cells]) for column in range(len(HEAD))]
    rule = ["-" * widths[0], "-" * widths[1], *(f"{'-' * (width - 1)}:" for width in widths[2:])]
    lines = [_line(HEAD, widths), _line(rule, widths), *(_line(line, widths) for line in cells)]
    return "\n".join(lines)


def _line(cells: Iterable[str], widths: Iterable[int]) -> str:
    padded = [
        cell.ljust(width) if number < 2 else cell.rjust(width)
        for number, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return f"| {' | '.join(padded)} |"


def merge(path: Path, rows: Iterable[Row], about: Mapping[str, object]) -> list[Row]:
    """Add rows to a file of results, where a row that was run again replaces its former result; all its rows."""
    kept = json.loads(path.read_text())["rows"] if path.exists() else []
    found = {row["id"]: row for row in kept} | {row.id: asdict(row) for row in rows}
    content = {"date": time.strftime("%Y-%m-%d", time.gmtime()), **about, "rows": list(found.values())}
    path.write_text(json.dumps(content, indent=2) + "\n")
    whole = [Row(**row) for row in found.values()]
    path.with_suffix(".md").write_text(table(whole) + "\n")
    return whole
