from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from kdcli.checkpoint.naming import fitted
from kdcli.errors import CheckpointError


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 4)
        self.norm = nn.BatchNorm1d(4)
        self.last = nn.Linear(4, 2)


EXPECTED = Net().state_dict()
THEIRS = Net().state_dict()


def fit(found: dict[str, Tensor], **options: Any) -> dict[str, Tensor]:
    return fitted(EXPECTED, found, **{"prefix": None, "match": "names", "where": "here"} | options)


def refusal(found: dict[str, Tensor], **options: Any) -> CheckpointError:
    with pytest.raises(CheckpointError) as caught:
        fit(found, **options)
    return caught.value


def is_theirs(found: dict[str, Tensor]) -> bool:
    return list(found) == list(EXPECTED) and all(torch.equal(found[name], THEIRS[name]) for name in EXPECTED)


@pytest.mark.parametrize("prefix", ["", "module.", "model.", "module.model.", "_orig_mod.module.", "net.backbone."])
def test_what_wrappers_put_in_front_of_all_names_is_left_out(prefix: str) -> None:
    assert is_theirs(fit({prefix + name: tensor for name, tensor in THEIRS.items()}))


def test_a_prefix_of_the_network_s_own_stays() -> None:
    own = {f"model.{name}": tensor for name, tensor in THEIRS.items()}
    assert list(fitted(own, own, prefix=None, match="names", where="here")) == list(own)


def test_a_given_prefix_takes_a_part_of_the_file() -> None:
    found = {f"student.{name}": tensor for name, tensor in THEIRS.items()} | {"loss.weight": torch.ones(1)}
    assert is_theirs(fit(found, prefix="student."))
    assert "no name begins with 'teacher.'" in refusal(found, prefix="teacher.").what
    assert "unexpected" in refusal(found).what


def test_missing_unexpected_and_differing_names_are_told_with_their_shapes() -> None:
    found = {name: tensor for name, tensor in THEIRS.items() if name != "first.bias"}
    found |= {"last.weight": torch.zeros(5, 4), "extra\x1b": torch.zeros(7)}
    said = refusal(found).what
    assert "1 missing: first.bias [4]" in said
    assert r"1 unexpected: extra\x1b [7]" in said
    assert "last.weight [5, 4] instead of [2, 4]" in said


def test_order_takes_the_place_of_names_only_where_it_is_asked_for_and_fits() -> None:
    found = {str(k): tensor for k, (name, tensor) in enumerate(THEIRS.items()) if not name.endswith("tracked")}
    assert "match=order" in str(refusal(found).fix)
    fitting = fit(found, match="order")
    assert all(torch.equal(fitting[name], THEIRS[name]) for name in EXPECTED)
    turned = dict(reversed(found.items()))
    assert "do not agree in their order: first.weight [4, 3] is not" in refusal(turned, match="order").what
    assert "the network has 8 of them, the file 9" in refusal(found | {"z": torch.ones(1)}, match="order").what


def test_numbers_of_other_precision_are_converted_and_broken_ones_refused() -> None:
    half = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in THEIRS.items()}
    assert fit(half)["first.weight"].dtype == torch.float32
    assert "another shape or kind" in refusal(THEIRS | {"last.bias": torch.zeros(2, dtype=torch.int64)}).what
    assert "NaN or infinite" in refusal(THEIRS | {"last.bias": torch.tensor([1.0, float("nan")])}).what
