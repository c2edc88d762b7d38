"""McNemar's test of compared runs, where kd has made it: a student against its baseline, and what kd evaluate found."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kdcli.commands.run_entries import as_object, find_entries, typed
from kdcli.errors import KDError
from kdcli.json_io import read_json
from kdcli.report.comparison import Comparison, run_name
from kdcli.report.paste import override
from kdcli.report.text import clean
from kdcli.report.units import p_value

_MOST_EVALUATIONS = 50
Test = dict[str, Any]


def paired_tests(comparison: Comparison, root: Path) -> list[Test]:
    """The tests between runs of the comparison: ``a``, ``b``, ``only_a``, ``only_b`` and ``p_value``.

    Args:
        comparison: The runs.
        root: The output directory, whose newest evaluations are looked through.
    """
    paths = {run_name(run.path): run.path for run in comparison.runs}
    found: dict[frozenset[str], Test] = {}
    for test in [*_against_baselines(comparison), *_evaluated(root)]:
        a, b = run_name(test["a"]), run_name(test["b"])
        if a in paths and b in paths and a != b:
            found.setdefault(frozenset((a, b)), test | {"a": paths[a], "b": paths[b]})
    return list(found.values())


def _against_baselines(comparison: Comparison) -> Iterator[Test]:
    for run in comparison.runs:
        try:
            summary = as_object(read_json(Path(run.path) / "summary.json"), "summary.json")
            baseline = summary.get("baseline")
            if isinstance(baseline, dict):
                counts = {"only_a": baseline["only_student"], "only_b": baseline["only_baseline"]}
                yield {"a": run.path, "b": str(baseline["run"]), **counts, "p_value": baseline["p_value"]}
        except (KDError, KeyError):
            continue


def _evaluated(root: Path) -> Iterator[Test]:
    """The tests of the newest evaluations; one that cannot be read has none."""
    evaluations = [entry for entry in find_entries(root, jobs=False) if entry.command == "evaluate"]
    for entry in evaluations[:_MOST_EVALUATIONS]:
        try:
            content = as_object(read_json(entry.path / "evaluation.json"), "evaluation.json")
            for test in content.get("paired") or []:
                counts = {key: typed(test, key, int, "paired") for key in ("only_a", "only_b")}
                names = {key: typed(test, key, str, "paired") for key in ("a", "b")}
                yield names | counts | {"p_value": float(test["p_value"])}
        except (KDError, KeyError, TypeError, ValueError):
            continue


def paired_line(comparison: Comparison, root: Path) -> str:
    """The test of the first two runs where it was made, else how to make it; nothing where seeds say more."""
    if not comparison.alone:
        return ""
    tests = paired_tests(comparison, root)
    numbers = {run.path: str(number) for number, group in enumerate(comparison.groups, 1) for run in group.runs}
    lines = [
        f"McNemar's test on the same test examples: {test['only_a']:,} only {numbers[test['a']]} gets right, "
        f"{test['only_b']:,} only {numbers[test['b']]}, {p_value(test['p_value'])}."
        for test in tests
        if numbers[test["a"]] != numbers[test["b"]]
    ]
    if lines:
        return "\n".join(lines)
    pair = [group.runs[0].path for group in comparison.groups[:2]]
    return f"Whether 1 and 2 differ by more than chance: kd evaluate {clean(override('run', pair))}"
