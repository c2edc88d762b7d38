"""Where a network of the user's or of torchvision's, which draws from torch's global generator, gets its noise."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn

from kdcli.errors import UsageError


def draws_global_noise(net: nn.Module) -> bool:
    """Whether a network may draw from torch's global generator: our own do not, any other might."""
    return not type(net).__module__.startswith("kdcli.models.")


@contextmanager
def global_noise_from(generator: torch.Generator) -> Iterator[None]:
    """Let the global generator of the same device go on where ``generator`` stands, and hand its new state back."""
    get, put = _global_state(generator.device)
    before = get()
    put(generator.get_state())
    try:
        yield
        generator.set_state(get())
    finally:
        put(before)


@contextmanager
def no_global_noise(device: torch.device) -> Iterator[None]:
    """Refuse draws from the global generator of a device, which would differ from process to process.

    Raises:
        UsageError: Something was drawn.
    """
    get, put = _global_state(device)
    before = get()
    yield
    if not torch.equal(before, get()):
        put(before)
        raise UsageError(
            "the network draws random numbers otherwise than by torch's Dropout layers, "
            "which cannot be told apart by example among several processes",
            where="model",
            fix="train it in one process, without torchrun, or use nn.Dropout",
        )


def _global_state(device: torch.device) -> tuple[Callable[[], Tensor], Callable[[Tensor], None]]:
    """How to read and write the state of a device's global generator."""
    if device.type == "cpu":
        return torch.get_rng_state, torch.set_rng_state
    module = torch.get_device_module(device)
    return partial(module.get_rng_state, device), partial(module.set_rng_state, device=device)
