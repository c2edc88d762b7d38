"""Trained networks come back whole, or not at all, and never as something else."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from kdcli import checkpoint
from kdcli.build import build_network
from kdcli.data.normalize import Normalization
from kdcli.data.types import Dataset, Split
from kdcli.errors import CheckpointError, UsageError
from kdcli.rundir import RunDir, create_child, create_run
from kdcli.schema import convert
from kdcli.schema.card import NetworkCard
from kdcli.schema.model import CifarResnet, Cnn, Custom, Lenet, Mlp, Model, Torchvision, Wrn
from kdcli.trained import check_same_classes, check_weights, load_trained, make_card, member_runs, rebuild

CPU = torch.device("cpu")
MLP = Mlp(kind="mlp", hidden=[5, 4], dropout=0.5, batch_norm=True)
NORMALIZATION = Normalization((0.2,), (0.3,))
CONTENTS: Any = {"label": None, "smoke": False, "argv": [], "config": {}, "overrides": [], "environment": {}}


def dataset(classes: tuple[str, ...] = ("a", "b", "c"), size: int = 28) -> Dataset:
    split = Split(torch.zeros(3, 1, size, size, dtype=torch.uint8), torch.arange(3))
    return Dataset.of("toy", "image", classes, split, split)


def card(model: Model = MLP) -> NetworkCard:
    return make_card(model, dataset(), NORMALIZATION)


def weights(model: Model = MLP, seed: int = 3) -> dict[str, Tensor]:
    return dict(build_network(model, dataset(), seed).state_dict())


def commit(run: RunDir, step: int, name: checkpoint.PointerName, model: Mapping[str, Tensor], **state: Any) -> None:
    described = {"card": card().model_dump(), "epoch": 0, "step": step} | state
    tensors = {"model": dict(model)} if model else {}
    checkpoint.point(run.checkpoints, name, checkpoint.commit(run.checkpoints, step, tensors, described))


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return create_run(tmp_path, "train-teacher", **CONTENTS)


def test_a_card_says_what_is_needed_to_rebuild_and_to_feed() -> None:
    made = card()
    assert (made.model, made.input_shape, made.classes) == (MLP, [1, 28, 28], ["a", "b", "c"])
    assert (made.dataset, made.fingerprint) == ("toy", dataset().fingerprint)
    assert (made.mean, made.std) == ([0.2], [0.3])
    assert NetworkCard.model_validate(made.model_dump()) == made


@pytest.mark.parametrize("select", ["best", "last"])
def test_the_selected_checkpoint_is_loaded(run: RunDir, select: str) -> None:
    commit(run, 4, "best", weights(seed=1))
    commit(run, 9, "last", weights(seed=2))
    trained = load_trained(run, CPU, trust_code=False, select=select)
    expected = weights(seed=1 if select == "best" else 2)
    found = trained.network.state_dict()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert (trained.run, trained.card, trained.note) == (run.path, card(), None)
    assert trained.normalization == NORMALIZATION
    assert not any(module.training for module in trained.network.modules())


def test_where_there_is_no_best_the_last_is_taken(run: RunDir) -> None:
    commit(run, 9, "last", weights(seed=2))
    trained = load_trained(run, CPU, trust_code=False)
    assert torch.equal(trained.network.state_dict()["output.weight"], weights(seed=2)["output.weight"])


def test_a_lost_pointer_to_the_best_is_said(run: RunDir) -> None:
    commit(run, 4, "best", weights(seed=1))
    commit(run, 9, "last", weights(seed=2))
    run.write_summary({"schema": 1, "selected": {"checkpoint": "step-000004", "epoch": 1, "by": "best"}})
    assert load_trained(run, CPU, trust_code=False).note is None
    (run.checkpoints / "best.json").unlink()
    note = load_trained(run, CPU, trust_code=False).note
    assert note is not None
    assert "best.json could not be used" in note


def test_a_damaged_checkpoint_gives_way_to_another_with_a_note(run: RunDir) -> None:
    commit(run, 4, "best", weights(seed=1))
    commit(run, 9, "last", weights(seed=2))
    damaged = run.checkpoints / "step-000009" / "model.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"\x7f")
    trained = load_trained(run, CPU, trust_code=False, select="last")
    assert trained.note is not None
    assert "step-000004" in trained.note


MODELS: list[Model] = [
    MLP,
    Lenet(kind="lenet"),
    Cnn(kind="cnn", channels=[2, 3]),
    CifarResnet(kind="resnet_cifar", depth=8, widths=[2, 2, 3, 4]),
    Wrn(kind="wrn", depth=10, widen=1),
]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.kind)
def test_every_family_is_rebuilt_with_its_weights(model: Model) -> None:
    expected = weights(model)
    network = rebuild(card(model), expected, "here", trust_code=False)
    assert list(network.state_dict()) == list(expected)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in network.state_dict().items())
    assert network(torch.zeros(2, 1, 28, 28)).shape == (2, 3)


def test_weights_of_torchvision_come_from_the_checkpoint_alone() -> None:
    """A card may say that training began from pretrained weights; nothing is downloaded for it again."""
    plain = Torchvision(kind="torchvision", name="squeezenet1_1")
    expected = weights(plain)
    pretrained = Torchvision(kind="torchvision", name="squeezenet1_1", pretrained=True)
    network = rebuild(card(pretrained), expected, "here", trust_code=False)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in network.state_dict().items())


def without(name: str) -> dict[str, Tensor]:
    return {key: tensor for key, tensor in weights().items() if key != name}


CHANGES: dict[str, tuple[dict[str, Tensor], str]] = {
    "missing": (without("output.bias"), "output.bias: the network has float32[3], the file nothing"),
    "extra": (weights() | {"more": torch.zeros(2)}, "more: the network has nothing, the file float32[2]"),
    "shape": (
        weights() | {"output.bias": torch.zeros(4)},
        "output.bias: the network has float32[3], the file float32[4]",
    ),
    "type": (weights() | {"output.bias": torch.zeros(3).half()}, "the file float16[3]"),
    "prefix": ({f"module.{name}": t for name, t in weights().items()}, "module."),
    "nothing": ({}, "the file nothing"),
    "nan": (weights() | {"output.bias": torch.full((3,), float("nan"))}, "3 of 3 numbers in 'output.bias'"),
    "infinity": (weights() | {"output.bias": torch.tensor([0.0, float("inf"), 0.0])}, "1 of 3 numbers"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_weights_that_do_not_fit_are_rejected(change: str) -> None:
    found, words = CHANGES[change]
    with pytest.raises(CheckpointError) as caught:
        rebuild(card(), found, "here", trust_code=False)
    assert words in caught.value.what
    assert caught.value.where == "here"
    assert caught.value.fix


def test_five_differences_are_shown_and_all_are_counted() -> None:
    with pytest.raises(CheckpointError, match=r" 16 tensors differ: ([^;]*; ){4}[^;]*$"):
        check_weights(weights(), {}, "here")


def test_a_run_without_weights_is_rejected(run: RunDir) -> None:
    commit(run, 4, "last", {})
    with pytest.raises(CheckpointError, match="the file nothing"):
        load_trained(run, CPU, trust_code=False)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"classes": []}, "classes"),
        ({"mean": [0.1, 0.2]}, "mean and std must have one number for each of the 1 channels"),
        ({"std": [0.0]}, "std.0"),
        ({"std": [float("nan")]}, "std.0"),
        ({"input_shape": [1, 28, 28, 28]}, "input_shape"),
        ({"model": {"kind": "mlp", "hidden": [0]}}, "model.hidden.0"),
        ({"model": {"kind": "mlp", "hidden": [4], "_target_": "os.system"}}, "_target_"),
        ({"model": {"kind": "os.system"}}, "model.kind"),
        ({"more": 1}, "more"),
    ],
)
def test_a_card_that_is_wrong_is_rejected(change: dict[str, Any], words: str) -> None:
    data = card().model_dump() | change
    with pytest.raises(CheckpointError) as caught:
        convert(NetworkCard, data, error=CheckpointError, where="state.json")
    assert words in f"{caught.value.what} {caught.value.where}"


def test_a_run_without_a_card_is_rejected(run: RunDir) -> None:
    commit(run, 4, "last", weights(), card=None)
    with pytest.raises(CheckpointError, match="group of keys"):
        load_trained(run, CPU, trust_code=False)


def test_a_card_for_another_kind_of_data_is_rejected() -> None:
    rows = card().model_copy(update={"model": Lenet(kind="lenet"), "input_shape": [6], "mean": [0.0] * 6})
    with pytest.raises(CheckpointError, match="lenet needs images") as caught:
        rebuild(rows, {}, "here", trust_code=False)
    assert caught.value.where == "here"


@pytest.mark.parametrize(
    "giant",
    [Mlp(kind="mlp", hidden=[10_000_000, 10_000_000]), Cnn(kind="cnn", channels=[1_000_000, 10_000_000])],
    ids=lambda giant: giant.kind,
)
def test_a_card_of_a_giant_is_rejected_without_taking_its_memory(giant: Model) -> None:
    """Hundreds of terabytes of weights, in a file of a few bytes."""
    with pytest.raises(CheckpointError, match="do not fit"):
        rebuild(card(giant), weights(), "here", trust_code=False)


@pytest.fixture
def own_net(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Custom]:
    """A network in a module of the user's, which leaves a mark when it is imported."""
    (tmp_path / "own_net.py").write_text(
        "from torch import nn\nimported = True\n"
        "def make(input_shape, classes, units):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(784, units), nn.Linear(units, classes))\n"
    )
    monkeypatch.chdir(tmp_path)
    yield Custom(kind="custom", target="own_net:make", arguments={"units": 4})
    sys.modules.pop("own_net", None)


def test_code_that_a_checkpoint_names_is_not_imported_unasked(own_net: Custom) -> None:
    with pytest.raises(UsageError, match="own_net:make") as caught:
        rebuild(card(own_net), {}, "here", trust_code=False)
    assert caught.value.where == "model.target"
    assert "own_net" not in sys.modules
    expected = weights(own_net)
    network = rebuild(card(own_net), expected, "here", trust_code=True)
    assert isinstance(network, nn.Sequential)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in network.state_dict().items())
    with pytest.raises(CheckpointError, match="1.weight"):
        rebuild(card(own_net), {}, "here", trust_code=True)


def test_the_networks_of_a_run_are_its_members_or_itself(run: RunDir) -> None:
    assert [each.path for each in member_runs(run)] == [run.path]
    for name in ("01", "00", "02"):
        create_child(run, f"members/{name}", command="train-teacher", **CONTENTS)
    assert [each.path.name for each in member_runs(run)] == ["00", "01", "02"]


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (dataset(("a", "c", "b")), "classes (a, b, c; 3 in all), the dataset toy has (a, c, b; 3 in all)"),
        (dataset(("a", "b", "c", "d")), "the dataset toy has (a, b, c, d; 4 in all)"),
        (dataset(tuple(map(str, range(100)))), "(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, ...; 100 in all)"),
        (dataset(("a",)), "(a; 1 in all)"),
        (dataset(size=32), "examples of shape (1, 28, 28; 3 in all), the dataset toy has (1, 32, 32; 3 in all)"),
    ],
)
def test_a_network_of_other_classes_or_shapes_is_refused(other: Dataset, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_same_classes(card(), other, Path("outputs/some"))
    assert words in caught.value.what
    assert caught.value.where == "teacher=outputs/some, dataset=toy"


def test_a_network_of_the_same_classes_is_accepted() -> None:
    check_same_classes(card(), dataset(), Path("outputs/some"))
