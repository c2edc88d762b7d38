"""The tensors of a foreign state_dict under the names of the network that they are for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from torch import Tensor

from kdcli.checkpoint.loading import check_finite
from kdcli.errors import CheckpointError

Weights = Mapping[str, Tensor]
PREFIXES = ("module.", "model.", "backbone.", "network.", "net.", "_orig_mod.")
"""What wrappers put in front of every name: DataParallel, Lightning, torch.compile and others."""

_COUNTER = "num_batches_tracked"  # only written by torch 0.4.1 and later, and only read where momentum is None
_SHOWN = 5


def fitted(
    expected: Weights, found: Weights, *, prefix: str | None, match: Literal["names", "order"], where: str
) -> dict[str, Tensor]:
    """The tensors of ``found`` under the names of ``expected``, in its types; all of them, and no others.

    Args:
        expected: A network's own state_dict.
        found: The foreign one.
        prefix: Only names that begin with it are looked at, without it; None: a prefix of all names is left out, where
            it is one of ``PREFIXES``.
        match: ``order``: by their order instead of their names, where every shape agrees.
        where: The file, for errors.

    Raises:
        CheckpointError: Names or shapes differ, or a number is not finite.
    """
    named = _under(found, prefix, where) if prefix is not None else _without_wrappers(found, expected)
    if match == "order":
        named = _in_order(expected, named, where)
    for name, tensor in expected.items():
        if name.endswith(_COUNTER) and name not in named:
            named[name] = tensor
    _check(expected, named, where)
    check_finite(named, where)
    return {name: named[name].to(tensor.dtype).contiguous() for name, tensor in expected.items()}


def _under(found: Weights, prefix: str, where: str) -> dict[str, Tensor]:
    named = {name.removeprefix(prefix): tensor for name, tensor in found.items() if name.startswith(prefix)}
    if not named:
        raise CheckpointError(
            f"no name begins with {prefix!r}; the first are {_listed(list(found))}", where=where, fix="correct prefix="
        )
    return named


def _without_wrappers(found: Weights, expected: Weights) -> dict[str, Tensor]:
    named = dict(found)
    while True:
        shared = [
            p for p in PREFIXES if all(n.startswith(p) for n in named) and not all(n.startswith(p) for n in expected)
        ]
        if not shared:
            return named
        named = {name.removeprefix(shared[0]): tensor for name, tensor in named.items()}


def _in_order(expected: Weights, found: Weights, where: str) -> dict[str, Tensor]:
    wanted, given = _learned(expected), _learned(found)
    if not _same_order(wanted, given):
        differing = [
            f"{name} {_shape(expected[name])} is not {other} {_shape(found[other])}"
            for name, other in zip(wanted, given, strict=False)
            if expected[name].shape != found[other].shape
        ]
        what = differing[0] if differing else f"the network has {len(wanted)} of them, the file {len(given)}"
        raise CheckpointError(
            f"the tensors do not agree in their order: {what}", where=where, fix="correct model=, or leave out match="
        )
    return dict(zip(wanted, given.values(), strict=True))


def _learned(weights: Weights) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in weights.items() if not name.endswith(_COUNTER)}


def _same_order(one: Weights, other: Weights) -> bool:
    return [t.shape for t in one.values()] == [t.shape for t in other.values()]


def _check(expected: Weights, named: Weights, where: str) -> None:
    faults = {
        "missing": [f"{name} {_shape(expected[name])}" for name in expected if name not in named],
        "unexpected": [f"{ascii(name)[1:-1]} {_shape(named[name])}" for name in named if name not in expected],
        "of another shape or kind": [
            f"{name} {_shape(named[name])} instead of {_shape(tensor)}"
            for name, tensor in expected.items()
            if name in named and not _alike(named[name], tensor)
        ],
    }
    said = [f"{len(names)} {kind}: {_listed(names)}" for kind, names in faults.items() if names]
    if said:
        raise CheckpointError(
            f"the weights do not fit model=: {'; '.join(said)}", where=where, fix=_fix(expected, named)
        )


def _fix(expected: Weights, named: Weights) -> str:
    if _same_order(_learned(expected), _learned(named)):
        return "the names differ, but the shapes agree in their order: add match=order"
    return "name the network that they are of, with its own keys; or prefix= where they are a part of the file"


def _alike(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and one.is_floating_point() == other.is_floating_point()


def _shape(tensor: Tensor) -> str:
    return str(list(tensor.shape))


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
