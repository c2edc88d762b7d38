"""From a configuration to data, networks and their training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from kdcli import data, targets
from kdcli.build_method import build_objective, member_plan
from kdcli.data.normalize import Normalization
from kdcli.data.order import mix_seed
from kdcli.data.source import Source, make_source
from kdcli.data.split import cut_validation
from kdcli.data.types import Dataset
from kdcli.data.views import View, make_view
from kdcli.engine.bank import Bank, make_bank
from kdcli.engine.device import pick_device as pick_device
from kdcli.engine.fit import Fit, FitPlan
from kdcli.engine.predict import Validation
from kdcli.engine.ranks import current
from kdcli.engine.stream import Stream, Targets
from kdcli.errors import DataError, UsageError
from kdcli.models import build_model
from kdcli.schema import DistillStudent, Training
from kdcli.schema import data as data_schema
from kdcli.schema.model import Model, build_options
from kdcli.teachers import Answers, LiveTargets, PermutedTargets, Teacher, permutation_keys
from kdcli.transfer import make_transfer_set

SMOKE_BATCHES = 2
SMOKE_EXAMPLES = 256
_DROPOUT = 1
_MEMBER_DATA = 2


@dataclass(frozen=True)
class Data:
    """A dataset as a training sees it.

    ``train`` are the indices of the training part, ``transfer`` those that the networks learn from, ``val`` the
    validation part, all into what ``source`` and ``labels`` hold on the device: the dataset's training split, then
    synthetic cases, if any. ``fingerprint`` is of all of that.
    """

    dataset: Dataset
    source: Source
    labels: Tensor
    test: Source
    test_labels: Tensor
    train: Tensor
    transfer: Tensor
    val: Tensor
    view: View
    normalization: Normalization
    fingerprint: str

    @property
    def num_cases(self) -> int:
        """How many synthetic cases there are."""
        return len(self.source) - len(self.dataset.train)

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.dataset.classes)


def load_dataset(section: data_schema.Dataset) -> Dataset:
    """The dataset that the section names, decoded once a process."""
    options = section.model_dump(exclude={"kind", *data_schema.DatasetSection.model_fields})
    return data.load(section.kind, options)


def load_data(
    section: data_schema.Dataset,
    transfer: data_schema.Transfer,
    device: torch.device,
    *,
    smoke: bool,
    batch_size: int,
    say: targets.Say = lambda line: None,
) -> Data:
    """Load a dataset, cut its validation part, make the transfer set, and put it all on the device."""
    dataset = load_dataset(section)
    train, val = cut_validation(dataset, section.val_fraction, section.val_seed)
    normalization = Normalization.of(dataset.train.subset(train), dataset.kind)
    most = SMOKE_BATCHES * batch_size if smoke else None
    seen = make_transfer_set(transfer, dataset, train, most=most, say=say)
    test = dataset.test
    if smoke:
        val, test = _few(val), test.subset(_few(torch.arange(len(test))))
    return Data(
        dataset=dataset,
        source=make_source(seen.split.inputs, device),
        labels=seen.split.labels.to(device),
        test=make_source(test.inputs, device),
        test_labels=test.labels,
        train=train,
        transfer=seen.indices,
        val=val,
        view=make_view(section.views, section.view_pixels, dataset.kind),
        normalization=normalization.to(device),
        fingerprint=seen.fingerprint,
    )


def _few(indices: Tensor) -> Tensor:
    return indices[: SMOKE_BATCHES * SMOKE_EXAMPLES]


def build_network(model: Model, dataset: Dataset, seed: int) -> nn.Module:
    """The network a ``model`` section names, for this dataset, with the initial weights of ``seed``."""
    return build_model(model.kind, dataset.input_shape, len(dataset.classes), build_options(model), seed=seed)


def build_targets(teacher: Teacher, loaded: Data, config: DistillStudent, say: targets.Say) -> Targets:
    """The teacher's answers to every view, as the loss wants them: those that are kept, or asked now and kept.

    Where the training would not see every view, asking about all of them would cost more than asking in every step.
    """
    device = loaded.labels.device
    examples = targets.Examples(loaded.source, loaded.transfer.to(device), loaded.view, loaded.fingerprint)
    store = Path(config.targets.store or Path(config.output_dir) / "targets")
    asked = targets.question(teacher, examples, loaded.num_classes, config.targets.dtype)
    if loaded.view.count <= config.epochs:
        said: Answers = targets.find_or_ask(store, asked, teacher, examples, device, say)
    else:
        said = targets.find(store, asked, device) or LiveTargets(teacher)
    if config.loss.kind != "dkpp":
        return said
    keys = permutation_keys(len(loaded.transfer), loaded.num_classes, config.data_seed)
    return PermutedTargets(said, keys.to(device), config.ensemble)


def member_indices(loaded: Data, config: Training, members: int) -> list[Tensor]:
    """What each member of an ensemble sees: one tensor for all, or one for each (a bootstrap sample, or a part)."""
    how = getattr(config, "members_data", "all")
    if how == "all" or members == 1:
        return [loaded.transfer]
    size = len(loaded.transfer)
    draw = torch.Generator().manual_seed(mix_seed(_MEMBER_DATA, config.data_seed))
    if how == "bootstrap":
        return [loaded.transfer[torch.randint(size, (size,), generator=draw)] for _ in range(members)]
    if size < 2 * members:
        raise UsageError(
            f"{size} examples cannot be parted among {members} members", where="members_data", fix="use fewer members"
        )
    return list(loaded.transfer[torch.randperm(size, generator=draw)][: size // members * members].view(members, -1))


def build_bank(configs: Sequence[Training], loaded: Data) -> Bank:
    """The networks of a cohort, one for each configuration, with their initial weights."""
    nets = [build_network(config.model, loaded.dataset, config.seed) for config in configs]
    _check_batch_norm(nets[0], configs[0].batch_size, len(loaded.transfer))
    seeds = [mix_seed(_DROPOUT, config.seed) for config in configs]
    return make_bank(
        nets,
        seeds,
        loaded.labels.device,
        compiled=configs[0].compile,
        ranks=current(),
    )


def _check_batch_norm(net: nn.Module, batch_size: int, examples: int) -> None:
    alone = min(batch_size, examples) == 1
    if alone and any(isinstance(module, nn.BatchNorm1d) for module in net.modules()):
        raise DataError(
            f"batch normalisation cannot train on one example at a time: batch_size is {batch_size}, "
            f"the transfer set holds {examples}",
            where="batch_size, model",
            fix="raise batch_size or transfer.fraction, or choose a model without batch normalisation",
        )


def build_fit(
    configs: Sequence[Training],
    loaded: Data,
    bank: Bank,
    teacher: Teacher | None,
    *,
    epoch_examples: int | None = None,
    say: targets.Say = lambda line: None,
) -> Fit:
    """The training of a cohort, whose configurations agree in all but what a member may own.

    Args:
        configs: One for each network of ``bank``.
        loaded: Their data.
        bank: The networks.
        teacher: Who answers the soft term and the comparison on validation, if anybody.
        epoch_examples: See ``Stream``.
        say: Shows a line while the teacher is asked.
    """
    config, device = configs[0], loaded.labels.device
    plans = [member_plan(each) for each in configs]
    objective = build_objective(configs, plans)
    answers = None
    if teacher is not None and objective.uses_teacher and isinstance(config, DistillStudent):
        answers = build_targets(teacher, loaded, config, say)
    indices = [each.to(device) for each in member_indices(loaded, config, len(configs))]
    stream = Stream(
        loaded.source, loaded.labels, indices, loaded.view, loaded.normalization,
        config.batch_size, config.data_seed, answers, epoch_examples, current(),
    )  # fmt: skip
    plan = FitPlan(plans, config.epochs, config.early_stopping, bf16=config.precision == "bf16")
    return Fit(bank, stream, objective, plan, build_validation(loaded, teacher))


def build_validation(loaded: Data, teacher: Teacher | None) -> Validation | None:
    """The validation part with what the teacher says of it; None where no part was cut."""
    if len(loaded.val) == 0:
        return None
    asked = teacher if current().rank == 0 else None
    log_probs = None if asked is None else asked.log_probs(loaded.source, loaded.val)
    labels = loaded.labels.cpu()[loaded.val]
    return Validation(loaded.source, loaded.val, labels, loaded.normalization, log_probs, current())
