"""Trained networks, read back from runs: weights that are verified, and the card that says what they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from kdcli import checkpoint
from kdcli.data.normalize import Normalization
from kdcli.data.types import Dataset
from kdcli.errors import CheckpointError, UsageError
from kdcli.models import build_model, placed
from kdcli.rundir import RunDir
from kdcli.rundir.run import SUMMARY
from kdcli.schema.card import NetworkCard
from kdcli.schema.convert import convert
from kdcli.schema.model import Cnn, Custom, Mlp, Model, Selection, Timm, Torchvision, build_options
from kdcli.selected import kept_ensemble

SHOWN_KEYS = 5


@dataclass(frozen=True)
class Trained:
    """A network as a run left it, in evaluation mode on its device.

    ``note`` says why it is of another checkpoint than the one asked for; None where it is not.
    """

    run: Path
    card: NetworkCard
    network: nn.Module
    normalization: Normalization
    note: str | None = None


def make_card(model: Model, dataset: Dataset, normalization: Normalization) -> NetworkCard:
    """The card of a network that is trained on ``dataset``."""
    return NetworkCard(
        model=model,
        input_shape=list(dataset.input_shape),
        classes=list(dataset.classes),
        dataset=dataset.name,
        fingerprint=dataset.fingerprint,
        mean=list(normalization.mean),
        std=list(normalization.std),
    )


def member_runs(run: RunDir) -> list[RunDir]:
    """The runs that hold the networks of a RUN: its members, or itself."""
    members = sorted((run.path / "members").glob("[0-9]*"))
    return [RunDir.open(path) for path in members] or [run]


def load_trained(
    run: RunDir,
    device: torch.device,
    *,
    trust_code: bool,
    select: str = "best",
    say: Callable[[str], None] = lambda line: None,
) -> Trained:
    """Load the selected network of a run that holds one, or the ensemble that it selected as one.

    Args:
        run: A training; of an ensemble, one of its ``member_runs``.
        device: Where the network goes.
        trust_code: Whether a ``custom`` model's code, which the checkpoint names, may be imported.
        select: The checkpoint, ``best`` or ``last``; where there is no best one, the last.
        say: Told how far it is where a network needs long before it answers.

    Raises:
        CheckpointError: Damaged, hostile, or weights that do not fit the card's network.
        UsageError: A custom model without ``trust_code``.
    """
    store = run.path / "checkpoints"
    best = select == "best" and ((store / "best.json").exists() or _has_selected_best(run))
    loaded = checkpoint.load(store, "best" if best else "last")
    where = str(loaded.path)
    card = convert(NetworkCard, loaded.state.get("card"), error=CheckpointError, where=where)
    weights = loaded.tensors.get("model", {})
    network = (
        kept_ensemble(run, card, weights, loaded.state, say)
        if isinstance(card.model, Selection)
        else rebuild(card, weights, where, trust_code=trust_code)
    )
    normalization = Normalization(tuple(card.mean), tuple(card.std)).to(device)
    return Trained(run.path, card, placed(network, device).eval(), normalization, loaded.note)


def _has_selected_best(run: RunDir) -> bool:
    """Whether the run's numbers are of a best checkpoint, whose pointer has been lost since then."""
    if not (run.path / SUMMARY).exists():
        return False
    selected = run.summary().get("selected")
    return isinstance(selected, dict) and selected.get("by") == "best"


def rebuild(card: NetworkCard, weights: Mapping[str, Tensor], where: str, *, trust_code: bool) -> nn.Module:
    """The network that a card describes, with these weights and no others.

    Raises:
        CheckpointError: Names or shapes differ, or a number is not finite.
        UsageError: A custom model without ``trust_code``.
    """
    if isinstance(card.model, Custom) and not trust_code:
        raise UsageError(
            f"{where} asks for code of its own: {card.model.target!r}",
            where="model.target",
            fix="add trust_code=true if you know what that code does",
        )
    if isinstance(card.model, Mlp | Cnn):
        # Before memory is taken: a card may name layers of any size, its file has the size it has.
        with torch.device("meta"):
            check_weights(_build(card, where).state_dict(), weights, where)
    network = _build(card, where)
    check_weights(network.state_dict(), weights, where)
    network.load_state_dict(dict(weights))
    return network


def _build(card: NetworkCard, where: str) -> nn.Module:
    options = build_options(card.model)
    if isinstance(card.model, Torchvision | Timm):
        options["pretrained"] = False  # its weights come from the checkpoint, not from a download
    try:
        return build_model(card.model.kind, tuple(card.input_shape), len(card.classes), options, seed=0)
    except UsageError as failure:
        raise CheckpointError(failure.what, where=where, fix=failure.fix) from failure


def check_weights(expected: Mapping[str, Tensor], found: Mapping[str, Tensor], where: str) -> None:
    """Raise CheckpointError unless names, shapes and types agree and every number is finite."""
    differing = [
        f"{name}: the network has {_shape(expected.get(name))}, the file {_shape(found.get(name))}"
        for name in sorted(expected.keys() | found.keys())
        if _shape(expected.get(name)) != _shape(found.get(name))
    ]
    if differing:
        shown = "; ".join(differing[:SHOWN_KEYS])
        raise CheckpointError(
            f"the weights do not fit the network they are for, {len(differing)} tensors differ: {shown}",
            where=where,
            fix="use a run that was trained as the network its card names",
        )
    checkpoint.check_finite(found, where)


def _shape(tensor: Tensor | None) -> str:
    return "nothing" if tensor is None else f"{str(tensor.dtype).removeprefix('torch.')}{list(tensor.shape)}"


def check_same_classes(card: NetworkCard, dataset: Dataset, run: Path) -> None:
    """Raise UsageError unless a network names the dataset's classes, in the same order, and takes its examples."""
    for what, of_network, of_dataset in (
        ("classes", tuple(card.classes), dataset.classes),
        ("examples of shape", tuple(card.input_shape), dataset.input_shape),
    ):
        if of_network != of_dataset:
            raise UsageError(
                f"the network knows {what} {_listed(of_network)}, the dataset {dataset.name} has {_listed(of_dataset)}",
                where=f"teacher={run}, dataset={dataset.name}",
                fix="say dataset=... as in its training, or use a network that knows these classes in this order",
            )


def _listed(values: Sequence[object]) -> str:
    shown = ", ".join(map(str, values[:12]))
    return f"({shown}{', ...' if len(values) > 12 else ''}; {len(values)} in all)"
