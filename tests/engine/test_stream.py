"""The order and the views of the examples: functions of seeds, and of nothing else."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from kdcli.data.views import Crop, Flip, Identity, Shift, View
from kdcli.engine import stream as stream_module
from kdcli.engine.stream import Batch, Stream


class Listener:
    """Targets that write down what they are asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[Tensor, Tensor, Tensor]] = []

    def logits(self, positions: Tensor, views: Tensor, inputs: Tensor) -> Tensor:
        """Zeros."""
        self.asked.append((positions, views, inputs.clone()))
        return torch.zeros(1, len(positions), 3)


def joined(stream: Stream, epoch: int, first_step: int = 0) -> Batch:
    """An epoch's batches as one."""
    found = list(stream.epoch(epoch, first_step))
    axis = 1 if found[0].own else 0
    inputs, labels = ([getattr(batch, name) for batch in found] for name in ("inputs", "labels"))
    return Batch(torch.cat(inputs, axis), torch.cat(labels, axis), None, found[0].own)


def same(first: Batch, second: Batch) -> bool:
    return torch.equal(first.inputs, second.inputs) and torch.equal(first.labels, second.labels)


VIEWS = [Identity(), Shift(2), Flip(), Crop(1)]
each_view = pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.name)


@each_view
@pytest.mark.parametrize("batch_size", [1, 7, 56, 1000])
def test_order_and_views_do_not_depend_on_the_batch_size(image_world: Any, view: View, batch_size: int) -> None:
    expected = joined(image_world.stream(view=view, batch_size=16), 3)
    assert same(joined(image_world.stream(view=view, batch_size=batch_size), 3), expected)


@each_view
def test_data_seed_and_epoch_change_order_and_views(image_world: Any, view: View) -> None:
    reference = joined(image_world.stream(view=view, data_seed=0), 0)
    assert same(joined(image_world.stream(view=view, data_seed=0), 0), reference)
    for data_seed, epoch in ((1, 0), (0, 1)):
        assert not same(joined(image_world.stream(view=view, data_seed=data_seed), epoch), reference)


def test_views_change_with_the_data_seed_too(image_world: Any) -> None:
    """Told apart from the order: the same example in another epoch or seed is shown otherwise."""
    drawn = [Shift(2).draw(seed, epoch, 76) for seed, epoch in ((0, 0), (1, 0), (0, 1))]
    assert not torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_the_number_of_networks_does_not_change_what_each_sees(image_world: Any) -> None:
    alone = image_world.stream(view=Shift(1), indices=[torch.arange(40)])
    several = image_world.stream(view=Shift(1), indices=[torch.arange(40), torch.arange(16, 56)])
    expected, found = joined(alone, 2), joined(several, 2)
    assert torch.equal(found.inputs[0], expected.inputs)
    assert torch.equal(found.labels[0], expected.labels)
    other = joined(image_world.stream(view=Shift(1), indices=[torch.arange(16, 56)]), 2)
    assert torch.equal(found.inputs[1], other.inputs)
    assert torch.equal(found.labels[1], other.labels)


def test_an_epoch_shows_every_example_once_with_its_own_label(world: Any) -> None:
    found = joined(world.stream(), 0)
    rows = world.normalization(world.split.inputs[:56])
    position = (found.inputs[:, None] == rows[None]).all(2).int().argmax(1)
    assert position.sort().values.tolist() == list(range(56))
    assert position.tolist() != list(range(56))
    assert torch.equal(found.labels, world.split.labels[position])


@pytest.mark.parametrize("together", [1, 2, 4, 100])
def test_an_epoch_can_begin_at_any_step(image_world: Any, monkeypatch: pytest.MonkeyPatch, together: int) -> None:
    monkeypatch.setattr(stream_module, "TOGETHER_NUMBERS", together * 10 * image_world.split.inputs[0].numel())
    listener = Listener()
    stream = image_world.stream(view=Shift(2), batch_size=10, targets=listener)
    whole = list(stream.epoch(1))
    for first_step in range(6):
        rest = list(stream.epoch(1, first_step))
        assert len(rest) == len(whole) - first_step
        assert all(same(*pair) for pair in zip(rest, whole[first_step:], strict=True))
    assert {len(raw) for _, _, raw in listener.asked} <= {10 * together, 56 % (10 * together)}


@each_view
def test_student_and_teacher_see_the_same_view(image_world: Any, view: View) -> None:
    listener = Listener()
    stream = image_world.stream(view=view, targets=listener, indices=[torch.arange(10, 50)])
    shown = list(stream.epoch(0))
    views = view.draw(0, 0, 76)
    positions, chosen, raw = (torch.cat(parts) for parts in zip(*listener.asked, strict=True))
    examples = positions + 10
    assert torch.equal(chosen, views[examples])
    assert torch.equal(raw, view.apply(image_world.split.inputs[examples], chosen))
    assert torch.equal(torch.cat([batch.inputs for batch in shown]), image_world.normalization(raw))
    assert torch.equal(torch.cat([batch.labels for batch in shown]), image_world.split.labels[examples])
    assert all(batch.teacher_logits is not None for batch in shown)
    assert any(bool(chosen.any()) for _, chosen, _ in listener.asked) or isinstance(view, Identity)


@pytest.mark.parametrize(
    ("batch_size", "sizes"), [(16, [16, 16, 16, 8]), (56, [56]), (100, [56]), (11, [11] * 5), (27, [27, 27, 2])]
)
def test_batch_sizes_are_those_of_the_batches(world: Any, batch_size: int, sizes: list[int]) -> None:
    stream = world.stream(batch_size=batch_size)
    assert stream.batch_sizes == sizes
    assert [len(batch.labels) for batch in stream.epoch(0)] == sizes


def test_an_epoch_can_be_cut_to_the_length_of_another(world: Any) -> None:
    stream = world.stream(epoch_examples=20, batch_size=8)
    assert stream.num_examples == 20
    assert stream.batch_sizes == [8, 8, 4]
    seen = [joined(stream, epoch).inputs for epoch in range(2)]
    assert [len(inputs) for inputs in seen] == [20, 20]
    assert torch.equal(seen[0], joined(world.stream(), 0).inputs[:20])
    assert world.stream(epoch_examples=1000).num_examples == 56
