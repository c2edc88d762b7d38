from __future__ import annotations

import itertools
import statistics

import pytest

from kdcli.report.sweep import Numbers, SweepRow
from kdcli.report.sweep_grid import grid_note, grid_of, line_key, swept_values


def job(val: float | None = 0.9, status: str = "finished", **settings: str) -> SweepRow:
    own = Numbers(val, 0.1, 6000, 150, 0.985, 10_000) if status == "finished" and val is not None else Numbers()
    if val is None and status == "finished":
        own = Numbers(test_errors=150, test_top1=0.985, test_n=10_000)
    return SweepRow("j", settings, status, own, "mnist")


def product(**values: str) -> list[SweepRow]:
    """A job for each combination; the later ones are better."""
    lists = [text.split(",") for text in values.values()]
    combinations = list(itertools.product(*lists))
    return [job(0.9 + k / 1000, **dict(zip(values, each, strict=True))) for k, each in enumerate(combinations)]


def test_temperature_goes_to_the_right_and_alpha_up_numbers_first() -> None:
    grid = grid_of(product(alpha="0.9,0.1", temperature="cosine,20,4,100"))
    assert grid is not None
    assert (grid.x_key, grid.y_key) == ("temperature", "alpha")
    assert grid.x_values == ["4", "20", "100", "cosine"]
    assert grid.y_values == ["0.1", "0.9"]
    assert grid.best == (0, 2)
    means = grid.means("val_top1", 100)
    assert means[1][3] == pytest.approx(90.0)
    assert means[0][1] == pytest.approx(90.5)


def test_a_cell_is_the_mean_over_the_seeds_and_an_empty_one_stays_empty() -> None:
    rows = [
        job(0.90, temperature="1", alpha="0.1", seed="0"),
        job(0.96, temperature="1", alpha="0.1", seed="1"),
        job(0.80, temperature="2", alpha="0.1", seed="0"),
        job(temperature="2", alpha="0.1", seed="1", status="diverged"),
        job(0.70, temperature="1", alpha="0.9", seed="0"),
        job(temperature="2", alpha="0.9", seed="0", status="failed"),
    ]
    grid = grid_of(rows)
    assert grid is not None
    assert grid.means("val_top1") == [[pytest.approx(0.93), 0.80], [0.70, None]]
    assert grid.deviations("val_top1") == [[pytest.approx(statistics.stdev([0.90, 0.96])), None], [None, None]]
    assert [len(group.rows) for group in grid.groups()] == [2, 1, 1]


def test_two_other_keys_make_a_grid_too() -> None:
    grid = grid_of(product(**{"model": "a,b", "optimizer.lr": "1e-2,1e-3,1e-1"}))
    assert grid is not None
    assert (grid.x_key, grid.x_values, grid.y_key) == ("optimizer.lr", ["1e-3", "1e-2", "1e-1"], "model")


@pytest.mark.parametrize("keys", [("temperature", "model"), ("model", "temperature"), ("alpha", "model")])
def test_temperature_stays_to_the_right_and_alpha_upwards(keys: tuple[str, str]) -> None:
    grid = grid_of(product(**dict.fromkeys(keys, "1,2")))
    assert grid is not None
    assert (grid.x_key == "temperature") == ("temperature" in keys)
    assert (grid.y_key == "alpha") == ("alpha" in keys)


def test_of_more_keys_temperature_and_alpha_are_drawn_where_the_best_is_and_it_is_said() -> None:
    rows = product(model="a,b", temperature="1,2", alpha="0.1,0.9", lr="1,2,3,4")
    grid = grid_of(rows)
    assert grid is not None
    assert (grid.x_key, grid.y_key, grid.fixed) == ("temperature", "alpha", {"model": "b", "lr": "4"})
    assert grid_note(rows) == "Drawn at model=b lr=4, as in the best; the table has all 32 settings."
    best = max(range(len(rows)), key=lambda k: rows[k].numbers.val_top1 or 0)
    assert rows[best].overrides == {"model": "b", "temperature": "2", "alpha": "0.9", "lr": "4"}
    assert grid.means("val_top1")[1][1] == rows[best].numbers.val_top1


def test_of_more_keys_without_both_the_two_with_most_values_are_drawn() -> None:
    grid = grid_of(product(model="a,b", temperature="1,2,3", lr="1,2,3,4"))
    assert grid is not None
    assert {grid.x_key, grid.y_key} == {"temperature", "lr"}
    assert grid.fixed == {"model": "b"}


def test_without_validation_nothing_is_marked_and_the_first_of_the_rest_is_drawn() -> None:
    rows = [job(None, **row.overrides) for row in product(model="a,b", temperature="1,2", alpha="0.1,0.9")]
    grid = grid_of(rows)
    assert grid is not None
    assert (grid.best, grid.fixed) == (None, {"model": "a"})
    assert "the first of the grid" in grid_note(rows)


def test_seeds_are_no_axis() -> None:
    rows = [job(temperature=t, seed=seed, data_seed=seed) for t in ("1", "2") for seed in ("0", "1")]
    assert list(swept_values(rows)) == ["temperature"]
    assert grid_of(rows) is None
    assert line_key(rows) == "temperature"


def test_what_cannot_be_drawn_is_left_out_and_it_is_said() -> None:
    sparse = [job(temperature=str(k / 7), alpha=str(k / 30)) for k in range(30)]
    assert grid_of(sparse) is None
    assert grid_note(sparse) == "There is no grid of 30 x 30 settings: it would be too large, or mostly empty."
    wide = product(temperature=",".join(map(str, range(41))), alpha="0.1,0.9")
    assert grid_of(wide) is None
    assert "41 x 2" in grid_note(wide)
    many = [job(model=f"m{k}") for k in range(41)]
    assert line_key(many) is None
    assert line_key([job(lr=str(k)) for k in range(41)]) == "lr"


def test_nothing_is_drawn_of_nothing() -> None:
    rows = [job(status="failed", temperature=t, alpha=a) for t in "12" for a in "12"]
    assert (grid_of(rows), line_key(rows), grid_note(rows)) == (None, None, "")
