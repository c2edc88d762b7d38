"""``kd runs`` and ``kd compare`` on records that hold anything: never a crash, never a control character."""

from __future__ import annotations

import json
import shutil
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kdcli.__main__ import main

pytestmark = pytest.mark.xdist_group("runs")

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
FILES = ("run.json", "summary.json")


@pytest.fixture(scope="module")
def tree(run_tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy without checkpoints."""
    root = tmp_path_factory.mktemp("hostile") / "outputs"
    shutil.copytree(run_tree / "outputs", root, ignore=shutil.ignore_patterns("checkpoints", "targets", "figures"))
    return root


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where in a document a value stands."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, each in inner for place in places(each, (*path, key)))]


def replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = replaced(value[path[0]], path[1:], new)
    return copy


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_a_record_holds_the_list_is_shown(tree: Path, data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(["distill-student", "sweeps"]))
    (run,) = (tree / kind).iterdir()
    file = run / data.draw(st.sampled_from(FILES))
    whole = file.read_text()
    document = json.loads(whole)
    path = data.draw(st.sampled_from(places(document)))
    file.write_text(json.dumps(replaced(document, path, data.draw(ANYTHING))))
    try:
        for line in (["runs", "--all", "sort=model"], ["runs", "--json"], ["compare", run.name, "--last", "2"]):
            out, err = StringIO(), StringIO()
            with redirect_stdout(out), redirect_stderr(err):
                code = main([*line, f"output_dir={tree}"])
            assert code in ((0,) if line[0] == "runs" else (0, 2, 4)), err.getvalue()
            assert not {mark for mark in out.getvalue() + err.getvalue() if ord(mark) < 32 and mark != "\n"}
    finally:
        file.write_text(whole)
