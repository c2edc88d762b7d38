"""The loop that people write by hand, for comparison: everything per image, the teacher asked at every step.

torchvision's MNIST through PIL, ToTensor, Normalize and a DataLoader; the teacher's forward pass in every step; Adam;
KL and cross-entropy; ``loss.item()`` in every step. It prints a line an epoch, as kd does, and its threads.

    python -m benchmarks.ordinary --data DIR --teacher model.safetensors --units 30 --batch 64 --workers 0
"""

from __future__ import annotations

import argparse
import gzip
import sys
from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset, Subset

from kdcli.data.mnist import SHIPPED
from kdcli.models.torchvision_shim import import_beside_torchvision

MEAN, STD = 0.1307, 0.3081
TEMPERATURE, ALPHA, LEARNING_RATE = 4.0, 0.9, 0.001


def unpack(folder: Path) -> None:
    """Put MNIST where torchvision looks for it."""
    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for file in SHIPPED.glob("*.gz"):
        (raw / file.stem).write_bytes(gzip.decompress(file.read_bytes()))


def digits(folder: Path, examples: int | None) -> Dataset[tuple[Tensor, int]]:
    """MNIST's training images, or the first ``examples`` of them."""
    transforms = import_beside_torchvision("torchvision.transforms")
    datasets = import_beside_torchvision("torchvision.datasets")
    transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize((MEAN,), (STD,))])
    everything: Dataset[tuple[Tensor, int]] = datasets.MNIST(str(folder), train=True, transform=transform)
    return everything if examples is None else Subset(everything, range(examples))


def perceptron(widths: list[int]) -> nn.Sequential:
    """Linear layers with ReLU between them."""
    layers: list[nn.Module] = [nn.Flatten()]
    for inputs, outputs in zip(widths, widths[1:], strict=False):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def read_teacher(path: Path) -> nn.Sequential:
    """The network of a train-teacher's checkpoint."""
    state = load_file(path)
    hidden = sorted(name for name in state if name.startswith("hidden.") and name.endswith("weight"))
    names = [*hidden, "output.weight"]
    net = perceptron([state[names[0]].shape[1], *(len(state[name]) for name in names)])
    linear = [layer for layer in net if isinstance(layer, nn.Linear)]
    for layer, name in zip(linear, names, strict=True):
        layer.load_state_dict({"weight": state[name], "bias": state[name.replace("weight", "bias")]})
    return net.eval()


def distillation_loss(student_logits: Tensor, teacher_logits: Tensor, labels: Tensor) -> Tensor:
    """Hinton, Vinyals and Dean's, as it is usually written down."""
    log_student = functional.log_softmax(student_logits / TEMPERATURE, dim=1)
    teacher = functional.softmax(teacher_logits / TEMPERATURE, dim=1)
    soft = functional.kl_div(log_student, teacher, reduction="batchmean") * TEMPERATURE**2
    return (1 - ALPHA) * functional.cross_entropy(student_logits, labels) + ALPHA * soft


def train_epoch(
    student: nn.Module,
    teacher: nn.Module,
    loader: Iterable[tuple[Tensor, Tensor]],
    optimizer: torch.optim.Optimizer,
    device: str,
) -> float:
    """One epoch; the mean of the steps' losses."""
    total, steps = 0.0, 0
    for images, labels in loader:
        inputs, targets = images.to(device), labels.to(device)
        with torch.no_grad():
            teacher_logits = teacher(inputs)
        loss = distillation_loss(student(inputs), teacher_logits, targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item()
        steps += 1
    return total / steps


def main() -> None:
    """Train as the command line says."""
    given = _parser().parse_args()
    torch.manual_seed(0)
    teacher = read_teacher(given.teacher).to(given.device)
    student = perceptron([784, given.units, given.units, 10]).to(given.device)
    loader = DataLoader(
        digits(given.data, given.examples), batch_size=given.batch, shuffle=True, num_workers=given.workers
    )
    optimizer = torch.optim.Adam(student.parameters(), lr=LEARNING_RATE)
    sys.stdout.write(f"threads {torch.get_num_threads()}\n")
    for epoch in range(given.epochs):
        loss = train_epoch(student, teacher, loader, optimizer, given.device)
        sys.stdout.write(f"epoch {epoch + 1}/{given.epochs}  loss {loss:.4f}\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="where torchvision finds MNIST")
    parser.add_argument("--teacher", type=Path, required=True, help="model.safetensors of a train-teacher")
    parser.add_argument("--units", type=int, required=True, help="of both hidden layers of the student")
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--workers", type=int, required=True)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--examples", type=int, default=None, help="only the first so many images")
    parser.add_argument("--device", default="cpu")
    return parser


if __name__ == "__main__":
    main()
