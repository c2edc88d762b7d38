"""Examples of the test set worth looking at, and small pictures of them."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from kdcli.data.source import Source
from kdcli.schema.findings import Answer, Example, Gallery, Pictures

SHOWN = 24
LARGEST = 64


def galleries(witnesses: Sequence[tuple[str, Tensor]], labels: Tensor) -> list[Gallery]:
    """Where the first network and the last, its teacher, disagree, and where both are wrong; of one alone, its errors.

    Args:
        witnesses: Names, and logits ``(N, C)`` on the CPU.
        labels: The classes, ``(N,)``.
    """
    answers = {name: logits.softmax(1).max(1) for name, logits in witnesses}
    sureness = {name: values for name, (values, _) in answers.items()}
    said = {name: classes for name, (_, classes) in answers.items()}
    own, teacher = witnesses[0][0], witnesses[-1][0]
    both_sure = torch.minimum(sureness[own], sureness[teacher])

    def gallery(chosen: Tensor) -> tuple[int, list[Example]]:
        places = chosen.nonzero().squeeze(1)
        first = places[both_sure[places].argsort(descending=True, stable=True)][:SHOWN].tolist()
        return len(places), [_example(place, int(labels[place]), said, sureness) for place in first]

    total, examples = gallery((said[own] != labels) & (said[teacher] != labels))
    found = [Gallery(kind="wrong", total=total, examples=examples)]
    if own != teacher:
        total, examples = gallery(said[own] != said[teacher])
        found.insert(0, Gallery(kind="disagree", total=total, examples=examples))
    return found


def _example(place: int, label: int, said: dict[str, Tensor], sureness: dict[str, Tensor]) -> Example:
    answers = {
        name: Answer(prediction=int(said[name][place]), confidence=float(sureness[name][place])) for name in said
    }
    return Example(index=place, label=label, answers=answers)


def pictures(places: Sequence[int], source: Source) -> Pictures | None:
    """The images at ``places``, each side at most 64 pixels long; None where there are none."""
    if not places:
        return None
    images = source.gather(torch.tensor(places)).cpu()
    height, width = images.shape[2:]
    shrink = min(1.0, LARGEST / max(height, width))
    if shrink < 1:
        height, width = max(1, round(shrink * height)), max(1, round(shrink * width))
        images = functional.interpolate(images.float(), (height, width), mode="area").round().to(torch.uint8)
    data = base64.b64encode(images.contiguous().numpy().tobytes()).decode()
    channels: Literal[1, 3] = 1 if images.shape[1] == 1 else 3
    return Pictures(indices=list(places), channels=channels, height=height, width=width, data=data)
