"""The cache of a teacher's answers."""

from __future__ import annotations

import json
import multiprocessing
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from kdcli import targets
from kdcli.data.normalize import Normalization
from kdcli.data.source import TensorSource
from kdcli.data.views import Shift
from kdcli.errors import DivergedError
from kdcli.teachers import LiveTargets, Teacher

CPU = torch.device("cpu")
EXAMPLES, CLASSES = 40, 3


class Counting(nn.Module):
    """A linear teacher that counts how many examples it was asked about."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.layer = nn.Linear(64, CLASSES)
        self.asked = 0

    def forward(self, inputs: Tensor) -> Tensor:
        self.asked += len(inputs)
        logits: Tensor = self.layer(inputs.flatten(1))
        return logits


def make_teacher(*seeds: int, std: float = 0.5) -> Teacher:
    normalization = Normalization((0.1,), (std,))
    return Teacher([Counting(seed) for seed in seeds], [normalization] * len(seeds), "arithmetic")


def make_examples(fingerprint: str = "f", count: int = EXAMPLES) -> targets.Examples:
    images = torch.randint(256, (60, 1, 8, 8), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    return targets.Examples(TensorSource(images, CPU), torch.arange(5, 5 + count), Shift(1), fingerprint)


def ask(store: Path, teacher: Teacher, examples: targets.Examples, dtype: str = "float32") -> Tensor:
    asked = targets.question(teacher, examples, CLASSES, dtype)  # type: ignore[arg-type]
    return targets.find_or_ask(store, asked, teacher, examples, CPU, lambda line: None).table


def asked_of(teacher: Teacher) -> int:
    return sum(network.asked for network in teacher.networks if isinstance(network, Counting))


def test_cached_answers_are_those_of_the_teacher_asked_live(tmp_path: Path) -> None:
    teacher, examples = make_teacher(0, 1), make_examples()
    asked = targets.question(teacher, examples, CLASSES, "float32")
    table = targets.find_or_ask(tmp_path, asked, teacher, examples, CPU, lambda line: None)
    positions = torch.tensor([0, 39, 7, 7])
    views = torch.tensor([0, 8, 3, 4])
    raw = examples.view.apply(examples.source.gather(examples.indices[positions]), views)
    live = LiveTargets(teacher).logits(positions, views, raw)
    torch.testing.assert_close(table.logits(positions, views, raw), live)
    assert live.shape == (2, 4, CLASSES)


def test_a_teacher_is_asked_once_about_every_view_of_every_example(tmp_path: Path) -> None:
    teacher, examples = make_teacher(0), make_examples()
    first = ask(tmp_path, teacher, examples).clone()
    assert asked_of(teacher) == EXAMPLES * 9
    assert torch.equal(ask(tmp_path, teacher, examples), first)
    assert asked_of(teacher) == EXAMPLES * 9


def test_half_precision_takes_half_the_space_and_stays_close(tmp_path: Path) -> None:
    teacher, examples = make_teacher(0), make_examples()
    whole, half = ask(tmp_path, teacher, examples), ask(tmp_path, teacher, examples, "float16")
    sizes = sorted(path.stat().st_size for path in tmp_path.glob("*/answers.bin"))
    assert sizes == [EXAMPLES * 9 * CLASSES * 2, EXAMPLES * 9 * CLASSES * 4]
    torch.testing.assert_close(half.float(), whole, atol=2e-3, rtol=2e-3)


def variants() -> Iterator[tuple[Teacher, targets.Examples]]:
    yield make_teacher(1), make_examples()
    yield make_teacher(0, std=0.4), make_examples()
    yield make_teacher(0), make_examples(fingerprint="other")
    yield make_teacher(0), make_examples(count=39)
    yield make_teacher(0, 0), make_examples()


def test_answers_to_another_question_are_never_used(tmp_path: Path) -> None:
    ask(tmp_path, make_teacher(0), make_examples())
    for teacher, examples in variants():
        ask(tmp_path, teacher, examples)
        assert asked_of(teacher) > 0
    same = make_teacher(0)
    ask(tmp_path, same, make_examples())
    assert asked_of(same) == 0, "the negative control: the same question is answered from the cache"


@pytest.mark.parametrize("damage", ["flip", "cut", "manifest", "swap", "missing"])
def test_damaged_answers_are_asked_again(tmp_path: Path, damage: str) -> None:
    teacher, examples = make_teacher(0), make_examples()
    expected = ask(tmp_path, teacher, examples).clone()
    (folder,) = (path for path in tmp_path.iterdir() if path.is_dir())
    file, manifest = folder / "answers.bin", folder / "manifest.json"
    data = bytearray(file.read_bytes())
    match damage:
        case "flip":
            data[len(data) // 2] ^= 1
            file.write_bytes(data)
        case "cut":
            file.write_bytes(data[:-1])
        case "manifest":
            manifest.write_text("{")
        case "swap":
            content = json.loads(manifest.read_text())
            content["question"]["data_fingerprint"] = "another"
            manifest.write_text(json.dumps(content))
        case "missing":
            file.unlink()
    before = asked_of(teacher)
    assert torch.equal(ask(tmp_path, teacher, examples), expected)
    assert asked_of(teacher) > before


def test_an_answer_that_is_not_finite_stops_before_anything_is_kept(tmp_path: Path) -> None:
    teacher = make_teacher(0)
    with torch.no_grad():
        next(iter(teacher.networks[0].parameters())).fill_(torch.nan)
    with pytest.raises(DivergedError):
        ask(tmp_path, teacher, make_examples())
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == []


def _ask_in_process(store: str, results: multiprocessing.Queue[int]) -> None:
    torch.set_num_threads(1)
    teacher = make_teacher(0)
    ask(Path(store), teacher, make_examples())
    results.put(asked_of(teacher))


def test_of_several_processes_one_asks_and_the_others_wait(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    results: multiprocessing.Queue[int] = context.Queue()
    workers = [context.Process(target=_ask_in_process, args=(str(tmp_path), results)) for _ in range(3)]
    for worker in workers:
        worker.start()
    counts = [results.get(timeout=120) for _ in workers]
    for worker in workers:
        worker.join()
    assert sorted(counts) == [0, 0, EXAMPLES * 9]


def test_a_linked_folder_is_not_followed(tmp_path: Path) -> None:
    teacher, examples = make_teacher(0), make_examples()
    asked = targets.question(teacher, examples, CLASSES, "float32")
    ask(tmp_path / "other", teacher, examples)
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / asked.key).symlink_to(tmp_path / "other" / asked.key)
    assert targets.find(tmp_path / "store", asked, CPU) is None
    assert (tmp_path / "other" / asked.key / "answers.bin").exists()
    shutil.rmtree(tmp_path / "other")
