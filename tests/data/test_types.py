from __future__ import annotations

import hashlib
import json

import torch

from kdcli.data.types import Dataset, Split, fingerprint


def _split(seed: int, num: int = 4) -> Split:
    draws = torch.Generator().manual_seed(seed)
    pixels = torch.randint(256, (num, 1, 3, 3), generator=draws, dtype=torch.uint8)
    return Split(pixels, torch.arange(num) % 2)


def test_subset_takes_examples_in_the_order_asked() -> None:
    split = _split(0)
    part = split.subset(torch.tensor([3, 1]))
    assert len(part) == 2
    assert part.labels.tolist() == [1, 1]
    assert torch.equal(part.inputs[0], split.inputs[3])


def test_input_shape_is_that_of_one_example() -> None:
    assert Dataset.of("x", "image", ("a", "b"), _split(0), _split(1)).input_shape == (1, 3, 3)


def test_fingerprint_is_sha256_of_description_and_bytes() -> None:
    train, test = _split(0), _split(1, num=2)
    layout = [
        ([4, 1, 3, 3], "torch.uint8"),
        ([4], "torch.int64"),
        ([2, 1, 3, 3], "torch.uint8"),
        ([2], "torch.int64"),
    ]
    text = json.dumps(["image", ["a", "b"], layout]).encode()
    for numbers, width in (
        (train.inputs.flatten().tolist(), 1),
        (train.labels.tolist(), 8),
        (test.inputs.flatten().tolist(), 1),
        (test.labels.tolist(), 8),
    ):
        text += b"".join(number.to_bytes(width, "little") for number in numbers)
    assert fingerprint("image", ("a", "b"), train, test) == hashlib.sha256(text).hexdigest()


def test_fingerprint_changes_with_anything_that_matters() -> None:
    train, test = _split(0), _split(1)
    flipped = Split(train.inputs.clone(), train.labels)
    flipped.inputs[0, 0, 0, 0] ^= 1
    reshaped = Split(train.inputs.view(4, 1, 1, 9), train.labels)
    variants = [
        fingerprint("image", ("a", "b"), train, test),
        fingerprint("table", ("a", "b"), train, test),
        fingerprint("image", ("b", "a"), train, test),
        fingerprint("image", ("a", "b"), flipped, test),
        fingerprint("image", ("a", "b"), reshaped, test),
        fingerprint("image", ("a", "b"), train, Split(test.inputs, 1 - test.labels)),
        fingerprint("image", ("a", "b"), test, train),
    ]
    assert len(set(variants)) == len(variants)


def test_fingerprint_does_not_depend_on_the_layout_in_memory() -> None:
    train, test = _split(0), _split(1)
    transposed = Split(train.inputs.transpose(2, 3).contiguous().transpose(2, 3), train.labels)
    assert not transposed.inputs.is_contiguous()
    assert fingerprint("image", ("a", "b"), transposed, test) == fingerprint("image", ("a", "b"), train, test)


def test_class_names_that_are_not_unicode_have_a_fingerprint() -> None:
    assert len(fingerprint("image", ("a", "\udcff"), _split(0), _split(1))) == 64
