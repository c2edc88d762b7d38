"""S5-S8, S10: bombs, hostile names, files of datasets, symbolic links, and no network."""

from __future__ import annotations

import gzip
import html.parser
import io
import json
import shlex
import shutil
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

from faults.gadgets import gadgets, rewrite
from faults.hostile import Range, drop_others
from faults.machine import Ended
from faults.table import Row
from faults.world import World, write_table
from kdcli.report.paste import override

MOST_SECONDS = 5.0
MOST_BYTES = 500 * 2**20


def bombs(world: World) -> Row:
    """S5: small files that would take all memory or time."""
    row = Row(
        "S5", "bombs in checkpoints, YAML, tables and images", "refused within seconds and 500 MB, exit 2, 3 or 4"
    )
    place = Range(world)
    lines = {name: make(place) for name, make in BOMBS.items()}
    for name, line in lines.items():
        (ended,) = world.machine.lines([line], cwd=place.folder)
        row.add(name, _too_much(ended), silent=ended.code == 0)
    return row


def _too_much(ended: Ended) -> str | None:
    if ended.code not in (2, 3, 4) or "Traceback" in ended.err:
        return ended.shown
    if ended.seconds > MOST_SECONDS or ended.grown > MOST_BYTES:
        return f"it took {ended.seconds:.1f} s and {ended.grown / 2**20:.0f} MiB"
    return None


def _weights(data: bytes) -> Callable[[Range], list[str]]:
    def make(place: Range) -> list[str]:
        run = place.copy(place.world.teacher)
        rewrite(run, "best", "model.safetensors", lambda _: data)
        drop_others(run, "best")
        return ["evaluate", f"run={run}", "device=cpu", "latency=false", place.place()]

    return make


def _zip_bomb() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(200 * 2**20))
    return buffer.getvalue()


def _header(length: int, text: bytes = b"{}") -> bytes:
    return length.to_bytes(8, "little") + text


def _config(text: str) -> Callable[[Range], list[str]]:
    def make(place: Range) -> list[str]:
        run = place.copy(place.world.stopped)
        (run / "config.yaml").write_text(text)
        return ["resume", str(run)]

    return make


def _study(text: str) -> Callable[[Range], list[str]]:
    def make(place: Range) -> list[str]:
        path = place.copy(place.world.teacher).with_name("study.yaml")
        path.write_text(text)
        return ["study", str(path), place.place()]

    return make


def _own_yaml(text: str) -> Callable[[Range], list[str]]:
    def make(place: Range) -> list[str]:
        folder = place.copy(place.world.teacher).with_name("conf")
        (folder / "model").mkdir(parents=True)
        (folder / "model" / "mine.yaml").write_text(text)
        return ["train-teacher", f"--config-dir={folder}", "model=mine", place.place()]

    return make


def _state(place: Range) -> list[str]:
    run = place.copy(place.world.teacher)
    deep = b'{"schema": 1, "step": 1, "state": {"card": ' + b"[" * 10**6 + b"]" * 10**6 + b"}}"
    rewrite(run, "best", "state.json", lambda _: deep)
    return ["verify", str(run)]


def _table(place: Range) -> list[str]:
    path = place.copy(place.world.teacher).with_name("table.csv.gz")
    with gzip.open(path, "wb", 9) as file:
        file.write(b"a,kind\n")
        for _ in range(200):
            file.write(b"0.0,ape\n0.0,bee\n" * 2**16)
    return ["train-teacher", "dataset=csv", f"dataset.path={path}", "dataset.target=kind", place.place()]


def _one_line(place: Range) -> list[str]:
    path = place.copy(place.world.teacher).with_name("table.csv.gz")
    with gzip.open(path, "wb", 9) as file:
        for _ in range(200):
            file.write(b"a" * 2**20)
    return ["train-teacher", "dataset=csv", f"dataset.path={path}", "dataset.target=kind", place.place()]


def png(width: int, height: int, data: bytes = b"\0") -> bytes:
    """A PNG of grey pixels, whose header may say anything."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


def _image(place: Range) -> list[str]:
    top = place.copy(place.world.teacher).with_name("images")
    for name in ("ape", "bee"):
        (top / name).mkdir(parents=True)
        (top / name / "large.png").write_bytes(png(65_000, 65_000))
    return ["train-teacher", "dataset=imagefolder", f"dataset.root={top}", place.place()]


def _idx(place: Range) -> list[str]:
    top = place.copy(place.world.teacher).with_name("root") / "FashionMNIST" / "raw"
    top.mkdir(parents=True)
    header = struct.pack(">IIII", 0x803, 2**31, 28, 28)
    for name in (
        "train-images-idx3-ubyte.gz",
        "train-labels-idx1-ubyte.gz",
        "t10k-images-idx3-ubyte.gz",
        "t10k-labels-idx1-ubyte.gz",
    ):
        (top / name).write_bytes(gzip.compress(header + bytes(2**20)))
    return ["train-teacher", "dataset=fashion_mnist", f"dataset.root={top.parents[1]}", place.place()]


_ALIASES = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]\n" for level in range(1, 8)
)
_DEEP = "a: " + "[" * 2000 + "]" * 2000 + "\n"

BOMBS: dict[str, Callable[[Range], list[str]]] = {
    "a zip bomb as weights": _weights(_zip_bomb()),
    "a header of 2^63 bytes": _weights(_header(2**63)),
    "a header of 100 MB": _weights(_header(100 * 2**20, b" " * 100 * 2**20)),
    "a tensor of 2^80 numbers": _weights(
        _header(
            64, json.dumps({"t": {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 0]}}).encode().ljust(64)
        )
    ),
    "aliases in config.yaml": _config(_ALIASES),
    "2000 levels in config.yaml": _config(_DEEP),
    "aliases in a study": _study(_ALIASES),
    "2000 levels in a study": _study(_DEEP),
    "2000 levels in the user's YAML": _own_yaml("kind: mlp\nhidden: " + "[" * 2000 + "]" * 2000 + "\n"),
    "a million levels in state.json": _state,
    "a table that unpacks to 200 MB": _table,
    "a table of one line": _one_line,
    "an image of 65,000 x 65,000": _image,
    "an IDX file of 2^31 images": _idx,
}


NAMES = (
    "../../escape",
    "a\x1b[31mred\x1b]0;title\x07",
    "[/red][link=http://example.org]x[/link]",
    "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "=cmd|'/c calc'!A1",
    "-rf",
    "a\nb\rc",
    "\u202egnp.exe",
    "${oc.env:HOME}",
    "x" * 200,
    "CON",
    "/etc/passwd",
    "javascript:alert(1)",
    "'; DROP TABLE runs; --",
)


def names(world: World) -> Row:
    """S6: names of classes, columns, files and directories that are markup, controls or paths."""
    row = Row(
        "S6", "hostile names of classes, columns, files and directories",
        "no control byte on the terminal, no active content in the report, no file elsewhere, no traceback",
    )  # fmt: skip
    for name in NAMES[:: world.amount(4, 1)]:
        place = Range(world)
        outputs = place.allowed / _as_file_name(name) / "outputs"
        table = write_table(
            place.allowed / f"{_as_file_name(name)}.csv", classes=('"' + name.replace('"', '""') + '"', "bee", "cat")
        )
        line = ["train-teacher", *world.net(6, 1), _value("dataset.path", table), _value("output_dir", outputs)]
        trap = {"watch": [str(place.allowed)], "hostile": str(place.folder)}
        (trained,) = world.machine.lines([line], cwd=place.folder, trap=trap)
        row.add(f"{name[:30]!r}: kd train-teacher", _unsafe(trained, outputs), silent=trained.code == 0)
        for run in outputs.glob("train-teacher/*"):
            read = [
                ["evaluate", _value("run", run), "latency=false", "device=cpu", _value("output_dir", outputs)],
                ["verify", str(run)],
            ]
            for again, ended in zip(read, world.machine.lines(read, cwd=place.folder, trap=trap), strict=True):
                row.add(f"{name[:30]!r}: kd {again[0]}", _unsafe(ended, outputs), silent=ended.code == 0)
    return row


def _as_file_name(name: str) -> str:
    return name.replace("/", "\u2215")[:200]


def _value(key: str, value: Path) -> str:
    """An override, as it reaches kd behind a shell."""
    (word,) = shlex.split(override(key, str(value)))
    return word


def _unsafe(ended: Ended, outputs: Path) -> str | None:
    if ended.events:
        return f"forbidden: {ended.events[0]}"
    if ended.code not in (0, 2, 3) or "Traceback" in ended.err:
        return ended.shown
    controls = {mark for mark in ended.out + ended.err if (ord(mark) < 32 and mark not in "\n") or mark in "\x7f\u202e"}
    if controls:
        return f"{controls} reached the terminal"
    for report in outputs.rglob("report.html"):
        active = _active(report.read_text())
        if active:
            return f"the report holds {active}"
    return None


class _Active(html.parser.HTMLParser):
    """Finds what could run, or leave the page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.policies = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("script", "iframe", "object", "embed", "link", "base", "form"):
            self.found.append(f"<{tag}>")
        for name, value in attrs:
            text = (value or "").strip().lower()
            if name.startswith("on") or text.startswith(("javascript:", "vbscript:", "http:", "https:", "//")):
                self.found.append(f"<{tag} {name}={text[:40]}>")
            self.policies += name == "http-equiv" and text == "content-security-policy"


def _active(text: str) -> str | None:
    parser = _Active()
    parser.feed(text.split("<svg", 1)[0] + text.rsplit("</svg>", 1)[-1] if "<svg" in text else text)
    if not parser.policies:
        parser.found.append("no content security policy")
    return parser.found[0] if parser.found else None


def dataset_files(world: World) -> Row:
    """S7: files of a dataset that would run code or write elsewhere when they are unpacked."""
    row = Row(
        "S7", "pickles in place of CIFAR's, archives with ../ and links", "exit 3, nothing runs, no file elsewhere"
    )
    place = Range(world)
    made = gadgets(place.folder)
    import pickle

    for number, (name, gadget) in enumerate(list(made.items())[:: world.amount(4, 1)]):
        root = place.allowed / str(number)
        (root / "cifar-10-batches-py").mkdir(parents=True)
        for file in (*(f"data_batch_{k}" for k in range(1, 6)), "test_batch", "batches.meta"):
            (root / "cifar-10-batches-py" / file).write_bytes(pickle.dumps(gadget))
        place.try_line(name, ["train-teacher", "dataset=cifar10", f"dataset.root={root}", place.place()])
    place.judge(row, lambda _: {3})
    return row


LINKED = (
    "checkpoints", "figures", "report.html", "summary.json", "metrics.jsonl", ".lock", "cohort", "config.yaml",
    "run.json",
    "checkpoints/last.json", "checkpoints/best.json", "checkpoints/STEP", "checkpoints/STEP/model.safetensors",
)  # fmt: skip


def links(world: World) -> Row:
    """S8: parts of a run are symbolic links to other places."""
    row = Row(
        "S8", "a part of a run is a symbolic link", "nothing behind it is changed or deleted, whatever the exit code"
    )
    place = Range(world)
    for name in LINKED:
        run, target = place.copy(world.stopped), world.folder("target")
        _link_to(run, name.replace("STEP", sorted(run.glob("checkpoints/step-*"))[-1].name), target)
        before = _content(target)
        (ended,) = world.machine.lines([["resume", str(run)]], cwd=place.folder)
        problem = None if _content(target) == before else "what it leads to was changed"
        if ended.code not in (0, 2, 4, 6) or "Traceback" in ended.err:
            problem = problem or ended.shown
        row.add(name, problem, silent=_content(target) != before)
    return row


def _link_to(run: Path, name: str, target: Path) -> None:
    """Move a part of the run elsewhere, or make it there, and link it."""
    part, moved = run / name, target / "moved"
    if part.exists():
        shutil.move(part, moved)
    elif "." in name.strip("."):
        moved.write_text("precious\n")
    else:
        moved.mkdir()
        (moved / "precious").write_text("precious\n")
        (moved / "curves.png").write_text("precious\n")
    part.symlink_to(moved)


def _content(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def offline(world: World) -> Row:
    """S10: no command connects to anything."""
    row = Row("S10", "a command, watched", "no connection, and it works")
    place = Range(world)
    net = world.net(6, 1)
    place.try_line("train-teacher", ["train-teacher", *net, place.place()])
    place.try_line("distill-student", ["distill-student", f"teacher={world.teacher}", *net, place.place()])
    place.try_line("evaluate", ["evaluate", f"run={world.teacher}", "latency=false", "device=cpu", place.place()])
    place.try_line("verify", ["verify", str(world.teacher)])
    place.try_line("doctor", ["doctor", place.place()])
    place.judge(row, lambda _: {0})
    return row
