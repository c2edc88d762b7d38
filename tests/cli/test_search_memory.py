"""The memory of a search, in Optuna: it learns, it can be made again, and it repeats nothing."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable
from pathlib import Path

import pytest

from kdcli.commands.jobs import Job
from kdcli.commands.search_next import Proposals
from kdcli.commands.search_space import Point, Space
from kdcli.errors import UsageError
from kdcli.program.search import JOURNAL, Memory, require_optuna
from kdcli.schema.search import Choice, Dimension, Numbers, Value

pytestmark = pytest.mark.xdist_group("search")

DIMENSIONS: dict[str, Dimension] = {
    "x": Numbers(0.0, 10.0),
    "rate": Numbers(1e-4, 1.0, log=True),
    "count": Numbers(1, 9, 2, whole=True),
    "part": Numbers(0.1, 0.7, 0.2),
    "name": Choice(("a", "b", "c")),
}


@pytest.fixture(autouse=True)
def _quiet() -> None:
    require_optuna()


def merit(point: Point) -> float | None:
    """Best at x = 7; whatever its rate, name b fails."""
    return None if point.get("name") == "b" else -((float(point["x"]) - 7) ** 2)


def batches(memory: Memory, numbers: Iterable[int], *, sign: float = 1.0) -> list[dict[str, Value]]:
    """Run batches of four to their end."""
    points = []
    for number in numbers:
        memory.begin_batch(number)
        batch = []
        for _ in range(4):
            batch.append(memory.ask())
            memory.accept()
        values = [merit(point) for point in batch]
        memory.tell([None if value is None else sign * value for value in values])
        points += batch
    return points


@pytest.mark.parametrize("maximize", [True, False])
def test_it_learns_where_the_best_is(tmp_path: Path, maximize: bool) -> None:
    memory = Memory(tmp_path, {"x": DIMENSIONS["x"]}, maximize=maximize, seed=0)
    points = batches(memory, range(8), sign=1.0 if maximize else -1.0)
    distances = [abs(float(point["x"]) - 7) for point in points]
    assert statistics.fmean(distances[-12:]) < statistics.fmean(distances[:10]) / 2


def test_points_are_of_the_space(tmp_path: Path) -> None:
    space = Space(DIMENSIONS)
    for point in batches(Memory(tmp_path, DIMENSIONS, maximize=True, seed=3), range(3)):
        assert space.read(space.words(point)) == point
        assert point["count"] in (1, 3, 5, 7, 9)


def test_a_memory_that_is_made_again_goes_on_as_the_first_would(tmp_path: Path) -> None:
    """And what was asked for and refused in between changes nothing."""
    whole = batches(Memory(tmp_path, DIMENSIONS, maximize=True, seed=1), range(5))
    again = Memory(tmp_path, DIMENSIONS, maximize=True, seed=1)
    for point in whole[:12]:
        again.remember(point, merit(point))
    again.begin_batch(99)
    again.ask()
    again.refuse()
    assert batches(again, [3, 4]) == whole[12:]
    assert batches(Memory(tmp_path, DIMENSIONS, maximize=True, seed=2), [0]) != whole[:4]


def test_its_journal_is_optuna_s_own(tmp_path: Path) -> None:
    from optuna import load_study
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    points = batches(Memory(tmp_path, DIMENSIONS, maximize=True, seed=0), range(2))
    study = load_study(study_name=None, storage=JournalStorage(JournalFileBackend(str(tmp_path / JOURNAL))))
    assert [trial.params for trial in study.trials] == points
    assert [trial.value for trial in study.trials] == [merit(point) for point in points]


def test_whatever_stands_where_the_journal_is_kept_is_replaced(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("mine")
    (tmp_path / JOURNAL).symlink_to(elsewhere)
    (tmp_path / f"{JOURNAL}.lock").touch()
    batches(Memory(tmp_path, DIMENSIONS, maximize=True, seed=0), [0])
    assert elsewhere.read_text() == "mine"
    assert not (tmp_path / JOURNAL).is_symlink()
    assert all(json.loads(line) for line in (tmp_path / JOURNAL).read_text().splitlines())
    assert not (tmp_path / f"{JOURNAL}.lock").exists()


@pytest.mark.slow
def test_the_key_that_matters_is_the_most_important(tmp_path: Path) -> None:
    memory = Memory(tmp_path, DIMENSIONS, maximize=True, seed=0)
    batches(memory, range(10))
    importance = memory.importance()
    assert importance is not None
    assert sum(importance.values()) == pytest.approx(1)
    assert max(importance, key=importance.__getitem__) == "x"


def test_few_trials_tell_nothing_of_importance(tmp_path: Path) -> None:
    memory = Memory(tmp_path, DIMENSIONS, maximize=True, seed=0)
    batches(memory, [0])
    assert memory.importance() is None


@pytest.mark.slow
def test_equal_trials_tell_nothing_of_importance(tmp_path: Path) -> None:
    equal = Memory(tmp_path, {"x": Numbers(0.0, 1.0)}, maximize=True, seed=0)
    for number in range(20):
        equal.remember({"x": number / 20}, 0.5)
    assert equal.importance() is None


def proposals(folder: Path, dimensions: dict[str, Dimension], tried: list[Point], said: list[str]) -> Proposals:
    def compose(point: Point) -> Job:
        if point == {"name": "b", "flag": "true"}:
            raise UsageError("b cannot be true")
        return Job(0, space.words(point), None, {})  # type: ignore[arg-type]

    space = Space(dimensions)
    memory = Memory(folder, dimensions, maximize=True, seed=0)
    memory.begin_batch(0)
    return Proposals(space, compose, memory, tried, said.append)


def test_every_point_that_is_allowed_is_proposed_once(tmp_path: Path) -> None:
    said: list[str] = []
    flags: dict[str, Dimension] = {"name": Choice(("a", "b", "c")), "flag": Choice(("true", "false"))}
    some = proposals(tmp_path, flags, [{"name": "a", "flag": "true"}], said)
    jobs = iter(some.next_job, None)
    assert sorted(" ".join(job.overrides) for job in jobs) == [
        "name=a flag=false",
        "name=b flag=false",
        "name=c flag=false",
        "name=c flag=true",
    ]
    assert said == ["name=b flag=true is left out: b cannot be true"]
    assert some.next_job() is None


def test_what_is_left_of_a_large_grid_is_found(tmp_path: Path) -> None:
    large: dict[str, Dimension] = {"first": Numbers(0, 11, 1, whole=True), "second": Numbers(0, 11, 1, whole=True)}
    tried: list[Point] = [point for point in Space(large).grid() if point != {"first": 9, "second": 7}]
    some = proposals(tmp_path, large, tried, [])
    job = some.next_job()
    assert job is not None
    assert job.overrides == ["first=9", "second=7"]
    assert some.next_job() is None
