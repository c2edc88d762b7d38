"""What a network costs whoever uses it, for the report of the run that trained it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from kdcli.build import Data, build_network
from kdcli.models import count_bytes, count_macs, count_parameters
from kdcli.program.latency import measure_latency
from kdcli.program.teaching import LoadedTeacher
from kdcli.schema import Training
from kdcli.schema.findings import Cost

LATENCY_SECONDS = 0.1


def cost_of_model(config: Training, data: Data, *, members: int = 1) -> Cost:
    """What the network of a configuration costs, whatever its weights; ``members`` of them answer one by one."""
    network = build_network(config.model, data.dataset, 0).to(data.labels.device).eval()

    def classify(raw: Tensor) -> Tensor:
        return torch.stack([network(data.normalization(raw)) for _ in range(members)])

    return _cost([network] * members, classify, data)


def cost_of_teacher(loaded: LoadedTeacher, data: Data) -> Cost:
    """What a teacher costs, all its members together."""
    return _cost(loaded.teacher.networks, loaded.teacher.logits, data)


def _cost(networks: Sequence[nn.Module], classify: Callable[[Tensor], Tensor], data: Data) -> Cost:
    shape = data.dataset.input_shape
    return Cost(
        parameters=sum(map(count_parameters, networks)),
        macs=sum(count_macs(network, shape) for network in networks),
        bytes=sum(map(count_bytes, networks)),
        latency=measure_latency(classify, data.test.gather(torch.tensor([0])), seconds=LATENCY_SECONDS),
    )
