from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from kdcli.data.views import VIEW_NAMES, Crop, Elastic, Flip, Identity, Shift, View, make_view
from kdcli.errors import DataError, UsageError

FAMILIES: tuple[View, ...] = (Identity(), Shift(1), Shift(2), Flip(), Crop(1), Crop(3), Elastic(1))


def _images(num: int, channels: int = 2, height: int = 5, width: int = 4) -> Tensor:
    draws = torch.Generator().manual_seed(num)
    return torch.randint(1, 256, (num, channels, height, width), generator=draws, dtype=torch.uint8)


def _shifted(image: Tensor, down: int, right: int) -> Tensor:
    """Pixel by pixel."""
    out = torch.zeros_like(image)
    _, height, width = image.shape
    for y in range(height):
        for x in range(width):
            if 0 <= y - down < height and 0 <= x - right < width:
                out[:, y, x] = image[:, y - down, x - right]
    return out


@pytest.mark.parametrize("pixels", [0, 1, 2, 5])
def test_a_shift_moves_every_pixel_by_its_offset(pixels: int) -> None:
    view = Shift(pixels)
    batch = _images(view.count)
    out = view.apply(batch, torch.arange(view.count))
    for number, (before, after) in enumerate(zip(batch, out, strict=True)):
        assert torch.equal(after, _shifted(before, *view.offset(number)))


def test_the_offsets_of_a_shift_are_all_offsets_once() -> None:
    offsets = [Shift(2).offset(number) for number in range(Shift(2).count)]
    assert sorted(offsets) == [(down, right) for down in range(-2, 3) for right in range(-2, 3)]


def test_a_flip_mirrors_left_to_right() -> None:
    batch = _images(2)
    out = Flip().apply(batch, torch.tensor([1, 0]))
    assert out[0].tolist() == [[row[::-1] for row in plane] for plane in batch[0].tolist()]
    assert torch.equal(out[1], batch[1])


def test_a_crop_is_a_shift_then_a_flip() -> None:
    view, shift = Crop(1), Shift(1)
    batch = _images(1).expand(view.count, -1, -1, -1)
    out = view.apply(batch, torch.arange(view.count))
    for number in range(9):
        shifted = _shifted(batch[0], *shift.offset(number))
        assert torch.equal(out[number], shifted)
        assert torch.equal(out[number + 9], torch.stack([plane.fliplr() for plane in shifted]))


@pytest.mark.parametrize("view", FAMILIES, ids=lambda view: view.name)
def test_all_views_of_an_image_differ_and_the_first_is_the_image(view: View) -> None:
    image = _images(1, height=9, width=9)
    out = view.apply(image.expand(view.count, -1, -1, -1), torch.arange(view.count))
    assert len({tuple(one.flatten().tolist()) for one in out}) == view.count
    assert torch.equal(out[0], image[0])


@pytest.mark.parametrize("view", FAMILIES, ids=lambda view: view.name)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_a_view_keeps_shape_and_dtype_and_its_input(view: View, dtype: torch.dtype) -> None:
    batch = _images(7).to(dtype)
    before = batch.clone()
    out = view.apply(batch, view.draw(0, 0, 7))
    assert (out.shape, out.dtype) == (batch.shape, dtype)
    assert torch.equal(batch, before)


def test_images_in_another_memory_layout_shift_the_same() -> None:
    batch, ids = _images(9, channels=3), Shift(1).draw(0, 0, 9)
    assert torch.equal(
        Shift(1).apply(batch.to(memory_format=torch.channels_last), ids), Shift(1).apply(batch.contiguous(), ids)
    )


@pytest.mark.parametrize("view", FAMILIES, ids=lambda view: view.name)
def test_every_view_is_drawn_about_equally_often(view: View) -> None:
    num = 400 * view.count
    counts = view.draw(3, 1, num).bincount(minlength=view.count).double()
    assert len(counts) == view.count
    chi_square = float(((counts - 400) ** 2 / 400).sum())
    assert chi_square < view.count + 5 * (2 * view.count) ** 0.5


@given(st.integers(0, 2**32 - 1), st.integers(0, 500), st.integers(1, 100), st.sampled_from(FAMILIES))
def test_a_draw_depends_on_seed_epoch_and_example_only(data_seed: int, epoch: int, num: int, view: View) -> None:
    ids = view.draw(data_seed, epoch, num)
    assert ids.dtype == torch.int64
    assert torch.equal(ids, view.draw(data_seed, epoch, 2 * num)[:num])


def test_draws_differ_between_epochs_and_seeds() -> None:
    draws = {tuple(Shift(2).draw(seed, epoch, 20).tolist()) for seed in range(4) for epoch in range(4)}
    assert len(draws) == 16


def test_views_are_made_by_name() -> None:
    made = [make_view(name, 2) for name in VIEW_NAMES]
    assert [view.name for view in made] == ["none", "shift-2", "flip", "crop-2", "elastic-2"]
    assert [view.count for view in made] == [1, 25, 2, 50, 6400]
    with pytest.raises(UsageError, match="unknown view 'shfit'"):
        make_view("shfit", 2)


def test_rows_of_a_table_have_no_views() -> None:
    rows = torch.zeros(3, 16)
    assert make_view("none", 2, "table").apply(rows, torch.zeros(3, dtype=torch.int64)) is rows
    for name in ("shift", "flip", "crop"):
        with pytest.raises(DataError, match=f"no {name}"):
            make_view(name, 2, "table")
        with pytest.raises(ValueError, match=r"\(3, 16\)"):
            make_view(name, 2).apply(rows, torch.zeros(3, dtype=torch.int64))


class _Count(TorchDispatchMode):
    calls = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.calls += 1
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("view", FAMILIES, ids=lambda view: view.name)
def test_a_view_takes_as_many_operations_for_a_large_batch_as_for_one(view: View) -> None:
    counts = []
    view.apply(_images(1), view.draw(0, 0, 1))  # what is made once for a size of image
    for num in (1, 64):
        batch, ids = _images(num), view.draw(0, 0, num)
        with _Count() as count:
            view.apply(batch, ids)
        counts.append(count.calls)
    assert counts[0] == counts[1]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("view", FAMILIES, ids=lambda view: view.name)
def test_views_are_the_same_on_a_gpu(view: View) -> None:
    batch, ids = _images(64, 3, 32, 32), view.draw(0, 0, 64)
    there, here = view.apply(batch.cuda(), ids).cpu(), view.apply(batch, ids)
    # Between pixels a GPU multiplies in another order: a grey value may be rounded to its neighbour.
    torch.testing.assert_close(there.int(), here.int(), rtol=0, atol=int(isinstance(view, Elastic)))
