"""Stopping after any number of steps and going on in another process: the same bits as without a stop."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter
from torch import Tensor, nn

from kdcli import checkpoint
from kdcli.engine.fit import Fit, FitState
from kdcli.engine.results import EpochResult
from kdcli.engine.update import AdamWRule, MomentumRampRule, SgdRule
from kdcli.schedules import Constant, CosineDecay, Linear, Plateau

STEPS = 4
Make = Callable[[], Fit]


def foreign(seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 3))


def alone(world: Any) -> Fit:
    member = world.member(rule=AdamWRule(), lr=0.01, alpha=Linear(1.0, 0.0), rate=CosineDecay(0.2))
    return world.fit([member], make=world.mlp(dropout=0.5, batch_norm=True))


def stacked(world: Any) -> Fit:
    members = [world.member(seed=k, rule=MomentumRampRule(0.5, 0.9, 2), temperature=Linear(8.0, 1.0)) for k in range(3)]
    return world.fit(members, make=world.mlp(dropout=0.3, input_dropout=0.2, batch_norm=True))


def own_rates(world: Any) -> Fit:
    members = [world.member(seed=k, lr=0.5 * k, rule=SgdRule(0.9), rate=Plateau(0.5, 0, 0.1)) for k in range(3)]
    return world.fit(members, epochs=4, early_stopping=2, batch_size=28, make=world.mlp(dropout=0.3))


def teaching_each_other(world: Any) -> Fit:
    members = [world.member(seed=k, temperature=Linear(4.0, 1.0)) for k in range(3)]
    return world.fit(members, soft_loss="mutual", make=world.mlp(dropout=0.3, batch_norm=True))


def stopping(world: Any) -> Fit:
    members = [world.member(seed=k, lr=0.7) for k in range(4)]
    return world.fit(members, epochs=5, early_stopping=1, batch_size=28, make=world.mlp(batch_norm=True))


def in_turn(world: Any) -> Fit:
    return world.fit([world.member(seed=k) for k in range(2)], make=foreign)


def diverging(world: Any) -> Fit:
    members = [world.member(seed=k, lr=lr) for k, lr in enumerate((0.1, 1e25))]
    return world.fit(members, make=world.mlp(dropout=0.3))


def own_examples(world: Any) -> Fit:
    members = [world.member(seed=k, alpha=Constant(0.0)) for k in range(3)]
    parts = list(torch.arange(54).view(3, 18))
    return world.fit(members, make=world.mlp(dropout=0.3), indices=parts, batch_size=5)


SCENES = [alone, stacked, own_rates, teaching_each_other, stopping, in_turn, diverging, own_examples]


def stop_after(steps: int) -> Callable[[], bool]:
    done = 0

    def stop() -> bool:
        nonlocal done
        done += 1
        return done >= steps

    return stop


def through_a_checkpoint(fit: Fit, fresh: Fit, store: Path) -> None:
    """Write one training down and let another go on from the files."""
    pointer = checkpoint.commit(store, fit.step, fit.tensors(), {"fit": fit.state()})
    checkpoint.point(store, "last", pointer)
    loaded = checkpoint.load(store)
    assert loaded.note is None
    fresh.load(loaded.tensors, TypeAdapter(FitState).validate_python(loaded.state["fit"]))


def everything(fit: Fit) -> dict[str, Tensor]:
    """All tensors: networks, optimizer, noise, snapshots, the log and the mask."""
    return {f"{kind}/{name}": t.detach().clone() for kind, table in fit.tensors().items() for name, t in table.items()}


def course(results: list[EpochResult]) -> list[str]:
    """Everything but the clock; as text, since NaN is not equal to itself."""
    return [repr((result.epoch, result.step, result.members)) for result in results]


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.__name__)
def test_going_on_gives_the_same_bits(world: Any, train: Any, tmp_path: Path, scene: Callable[[Any], Fit]) -> None:
    whole = scene(world)
    expected = course(train(whole))
    reference = everything(whole)
    for steps in range(1, whole.step + 1):
        first, second = scene(world), scene(world)
        before = train(first, stop_after(steps))
        through_a_checkpoint(first, second, tmp_path / str(steps))
        assert (second.step, second.finished) == (first.step, first.finished)
        after = train(second)
        assert course(before) + course(after) == expected
        found = everything(second)
        assert found.keys() == reference.keys()
        assert [name for name in found if not torch.equal(found[name], reference[name])] == []
        assert repr(second.standings) == repr(whole.standings)
        assert repr(second.state()["plateaus"]) == repr(whole.state()["plateaus"])


def test_the_scenes_hold_what_they_are_named_for(world: Any, train: Any) -> None:
    outcomes = {}
    for scene in SCENES:
        fit = scene(world)
        outcomes[scene.__name__] = (fit, train(fit))
    assert all(any(result.members[0].is_best for result in results) for _, results in outcomes.values())
    assert outcomes["diverging"][0].standings[1].divergence is not None
    stopped = [standing.stopped_epoch for standing in outcomes["stopping"][0].standings]
    assert len(set(stopped)) > 1
    assert len({result.members[2].lr for result in outcomes["own_rates"][1] if hasattr(result.members[2], "lr")}) > 1


@pytest.mark.parametrize("forgotten", ["noise/000", "update/000.mean.000", "log"])
def test_the_comparison_notices_what_is_not_restored(world: Any, train: Any, forgotten: str) -> None:
    whole = alone(world)
    expected = course(train(whole))
    first, second = alone(world), alone(world)
    before = train(first, stop_after(STEPS - 1))
    tensors = {kind: dict(table) for kind, table in first.tensors().items()}
    fresh = second.tensors()["state"][forgotten]
    tensors["state"][forgotten] = fresh
    second.load(tensors, TypeAdapter(FitState).validate_python(first.state()))
    after = train(second)
    assert course(before) + course(after) != expected


def test_a_stop_in_the_last_step_of_an_epoch_still_yields_its_result(world: Any, train: Any) -> None:
    fit = alone(world)
    results = train(fit, stop_after(STEPS))
    assert len(results) == 1
    assert not fit.finished
    assert fit.step == STEPS + 1


def test_nothing_is_trained_after_the_end(world: Any, train: Any) -> None:
    fit = alone(world)
    train(fit)
    reference = everything(fit)
    assert train(fit) == []
    found = everything(fit)
    assert all(torch.equal(found[name], tensor) for name, tensor in reference.items())


def test_seconds_of_training_add_up_over_a_stop(world: Any, train: Any, tmp_path: Path) -> None:
    first, second = alone(world), alone(world)
    train(first, stop_after(STEPS + 2))
    through_a_checkpoint(first, second, tmp_path)
    state = first.state()
    before, within = float(str(state["train_seconds"])), float(str(state["seconds"]))
    assert before > 0
    assert within > 0
    [result] = train(second)
    assert result.seconds > within
    assert second.train_seconds == pytest.approx(before + result.seconds)


def test_one_network_s_tensors_bear_its_own_names(world: Any) -> None:
    assert list(alone(world).tensors()["model"]) == list(world.mlp(batch_norm=True)(0).state_dict())
    names = list(stacked(world).tensors()["model"])
    assert {name.split("/")[0] for name in names} == {"000", "001", "002"}
