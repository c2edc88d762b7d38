"""The displays, as real processes on a terminal and in a pipe, and in this process with a clock of our own."""

from __future__ import annotations

import fcntl
import io
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kdcli.engine.results import Divergence, EpochResult, MemberResult, Stopped, Tick
from kdcli.metrics import Measures
from kdcli.report.course import Cohort, Pace
from kdcli.report.display import SilentDisplay, make_display
from kdcli.report.live import LiveDisplay
from kdcli.report.plain import PlainDisplay
from kdcli.report.stream import SafeStream
from kdcli.report.text import clean, width_of

ROOT = Path(__file__).parents[2]
NAN = float("nan")
PAIR = ["student", "baseline"]
MANY = [*PAIR, *(f"member {k}" for k in range(2, 30))]

# Stands in for the engine's results, so that the child does not wait for torch.
CHILD = """
import json, sys
from types import SimpleNamespace as Event
from kdcli.report.display import make_display

mode, epochs, color, names = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "color", json.loads(sys.argv[4])


def member(epoch, k):
    val = Event(top1=0.9 + 0.001 * epoch - 0.0001 * k, nll=0.3)
    return Event(temperature=4.0, alpha=0.9, lr=0.01, total=0.412, hard=0.105, soft=0.446, val=val, is_best=True)


with make_display(
    mode, title=f"distil {names[0]}", names=names, epochs=epochs, teacher_top1=0.9843, color=color, quiet=False
) as display:
    for epoch in range(epochs):
        display.tick(Event(epoch=epoch, step=5, steps_per_epoch=10, images_per_second=51200.0))
        members = tuple(member(epoch, k) for k in range(len(names)))
        display.epoch(Event(epoch=epoch, step=10, members=members, seconds=0.1, images_per_second=51200.0))
    display.note(f"note about {names[0]}")
print("trained")
"""


def child_environment(**changes: str) -> dict[str, str]:
    kept = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "TERM": "xterm-256color", "LANG": "C.UTF-8"}
    return kept | changes


def start(
    stderr: int, names: Sequence[str], mode: str = "auto", epochs: int = 3, color: bool = True, **changes: str
) -> subprocess.Popen[bytes]:
    shown = "color" if color else "none"
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", CHILD, mode, str(epochs), shown, json.dumps(names)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=stderr,
        env=child_environment(**changes),
    )


def on_terminal(columns: int, names: Sequence[str], **how: Any) -> str:
    """What the child writes to a terminal of 24 rows."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = start(slave, names, **how)
    os.close(slave)
    written = b"".join(iter(lambda: _read(master), b""))
    os.close(master)
    assert process.stdout is not None
    assert (process.stdout.read(), process.wait()) == (b"trained\n", 0)
    process.stdout.close()
    return written.decode().replace("\r\n", "\n")


def _read(master: int) -> bytes:
    try:
        return os.read(master, 65536)
    except OSError:  # what Linux answers once the other end is closed
        return b""


def in_pipe(names: Sequence[str], **how: Any) -> str:
    """What the child writes to a pipe."""
    process = start(subprocess.PIPE, names, **how)
    out, error = process.communicate()
    assert (out, process.returncode) == (b"trained\n", 0), error.decode()
    return error.decode()


def last_panel(written: str) -> list[str]:
    """The lines of the last panel, without its colours."""
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written)
    return plain[plain.rindex("╭") :].split("\n")[:-1]


@pytest.mark.parametrize(("columns", "count"), [(40, 2), (40, 30), (80, 1), (80, 2), (80, 30), (160, 2), (200, 30)])
def test_the_panel_fits_a_terminal_of_24_rows(columns: int, count: int) -> None:
    panel = last_panel(on_terminal(columns, MANY[:count]))
    assert (panel[0][0], panel[-1][0]) == ("╭", "╰")
    assert len(panel) <= 23
    assert {width_of(line) for line in panel} == {min(columns, 100)}
    text = "\n".join(panel)
    for shown in ("epoch 3/3", "val top-1", "90.20 %", "98.43 %", "51,200 images/s"):
        assert shown in text
    assert ("and 18 more" in text) is (count == 30)


def test_at_80_columns_every_loss_term_is_there() -> None:
    panel = "\n".join(last_panel(on_terminal(80, PAIR)))
    assert re.search(r"student +0\.412 +0\.105 +0\.446 +90\.20 % +-8\.23 +0\.3000", panel)
    assert "T 4   alpha 0.9   lr 0.01" in panel


@pytest.mark.parametrize("mode", ["auto", "rich"])
def test_the_cursor_is_never_hidden_and_the_last_line_is_ended(mode: str) -> None:
    written = on_terminal(80, PAIR, mode=mode)
    assert "\x1b[?25l" not in written
    assert written.endswith("\n")


@pytest.mark.parametrize(
    ("how", "is_colored"), [({}, True), ({"color": False}, False), ({"NO_COLOR": "1"}, False)], ids=str
)
def test_no_color_drops_the_colour_and_keeps_the_panel(how: dict[str, Any], is_colored: bool) -> None:
    written = on_terminal(80, PAIR, **how)
    assert bool(re.search(r"\x1b\[[0-9;]*?(3[0-7]|38|4[0-8]|9[0-7])[0-9;]*m", written)) is is_colored
    assert last_panel(written)[0].startswith("╭─ distil student")


@pytest.mark.parametrize("columns", [40, 80])
@pytest.mark.parametrize("first", [3, 6, 12])
def test_hostile_names_neither_move_the_cursor_nor_break_the_panel(
    hostile_names: Sequence[str], columns: int, first: int
) -> None:
    names = [*hostile_names[first:], *hostile_names[:first]][:9]
    written = on_terminal(columns, names, color=False)
    panel = last_panel(written)
    assert panel[0].startswith(f"╭─ distil {clean(names[0])[:4]}")
    assert {width_of(line) for line in panel} == {columns}
    assert all(line.isprintable() for line in panel)
    sequences = set(re.findall(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b|[\x80-\x9f]", written))
    assert sequences <= {"\x1b[1A", "\x1b[2K", "\x1b[0m", "\x1b[1m", "\x1b[2m", "\x1b[1;2m"}


@pytest.mark.parametrize("changes", [{"TERM": "dumb"}, {"TERM": "dumb", "FORCE_COLOR": "1"}], ids=str)
def test_a_dumb_terminal_gets_plain_lines(changes: dict[str, str]) -> None:
    written = on_terminal(80, PAIR, **changes)
    assert "\x1b" not in written
    assert written.count("epoch ") == 3


@pytest.mark.parametrize(("mode", "count"), [("auto", 1), ("auto", 2), ("auto", 30), ("rich", 2), ("plain", 2)])
def test_a_pipe_gets_one_line_an_epoch_and_no_control_byte_even_under_force_color(mode: str, count: int) -> None:
    forced = {"FORCE_COLOR": "1", "TTY_COMPATIBLE": "1", "TTY_INTERACTIVE": "1", "CLICOLOR_FORCE": "1"}
    lines = in_pipe(MANY[:count], mode=mode, epochs=5, **forced).split("\n")
    assert all(line.isprintable() for line in lines)
    assert lines[0] == "distil student  teacher val 98.43 %"
    assert [line.split("  ")[0] for line in lines[1:6]] == [f"epoch {epoch}/5" for epoch in range(1, 6)]
    assert lines[6:] == ["note about student", ""]


def test_hostile_names_are_visible_in_a_log(hostile: str) -> None:
    stream = io.StringIO()
    with PlainDisplay(SafeStream(stream), Cohort(hostile, [hostile, "b"], 2, None)) as display:
        display.epoch(epoch_of(0, STUDENT, DIVERGED))
        display.note(hostile)
    lines = stream.getvalue().split("\n")
    assert all(line.isprintable() for line in lines)
    assert len(lines) == 4 + hostile.count("\n") + 1


def test_a_log_in_an_ascii_locale_spells_out_what_it_lacks() -> None:
    assert in_pipe(["é"], PYTHONIOENCODING="ascii").startswith("distil \\xe9")


def test_silence_is_silent() -> None:
    assert in_pipe(PAIR, mode="none") == ""


def test_a_reader_of_stderr_that_goes_away_does_not_end_the_training() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    process = start(writer, PAIR, epochs=50)
    os.close(writer)
    out, _ = process.communicate()
    assert (out, process.returncode) == (b"trained\n", 0)


def test_a_terminal_that_hangs_up_does_not_end_the_training() -> None:
    master, slave = pty.openpty()
    process = start(slave, PAIR, epochs=50)
    os.close(slave)
    os.read(master, 1)
    os.close(master)
    out, _ = process.communicate()
    assert (out, process.returncode) == (b"trained\n", 0)


def test_stderr_that_is_closed_from_the_start_does_not_end_the_training() -> None:
    command = f'exec "{sys.executable}" -c "$CHILD" auto 2 color \'["a"]\' 2>&-'
    environment = child_environment(CHILD=CHILD)
    done = subprocess.run(["sh", "-c", command], env=environment, stdin=subprocess.DEVNULL, capture_output=True)
    assert (done.stdout, done.returncode) == (b"trained\n", 0)


# In this process, with the engine's own results.


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def validated(top1: float) -> Measures:
    return Measures(1000, round(1000 * (1 - top1)), top1, 1.0, 0.1, 0.05, 0.01, 0.05, None, None)


STUDENT = MemberResult(4.0, 0.9, 0.01, 0.412, 0.105, 0.446, validated(0.9781), True)
BASELINE = MemberResult(None, None, 0.01, 0.131, 0.131, None, validated(0.9702), True)
DIVERGED = Stopped(Divergence(1, 450, 0.1, 4.0, 0.9, NAN, 0.3, NAN))
STOPPED = Stopped(None)


def epoch_of(number: int, *members: MemberResult | Stopped) -> EpochResult:
    return EpochResult(number, 100 * (number + 1), members, 6.0, 51_200.0)


def plain(names: list[str], epochs: int = 20, teacher: float | None = None) -> tuple[PlainDisplay, io.StringIO, Clock]:
    clock, stream = Clock(), io.StringIO()
    cohort = Cohort("title", names, epochs, teacher)
    return PlainDisplay(SafeStream(stream), cohort, now=clock), stream, clock


def test_a_student_and_its_baseline_share_a_line() -> None:
    display, stream, clock = plain(["student", "baseline"])
    clock.now = 6.0
    display.epoch(epoch_of(0, STUDENT, BASELINE))
    assert stream.getvalue() == (
        "epoch 1/20  student total 0.412 hard 0.105 soft 0.446 val 97.81 %  baseline val 97.02 %  51,200 images/s"
        "  ETA 1:54\n"
    )


def test_without_validation_losses_are_shown() -> None:
    display, stream, _ = plain(["student", "baseline"])
    display.epoch(epoch_of(0, replace(STUDENT, val=None), replace(BASELINE, val=None)))
    assert "student total 0.412 hard 0.105 soft 0.446  baseline total 0.131  " in stream.getvalue()


def test_a_cohort_has_its_best_its_mean_and_its_size_on_a_line() -> None:
    display, stream, _ = plain([f"member {k}" for k in range(4)])
    members = [replace(STUDENT, val=validated(top1)) for top1 in (0.97, 0.99, 0.98)]
    display.epoch(epoch_of(0, *members, STOPPED))
    assert "  3 of 4 networks  best member 1 val 99.00 %  mean 98.00 %  " in stream.getvalue()


def test_a_cohort_without_validation_has_its_losses_on_a_line() -> None:
    display, stream, _ = plain([f"member {k}" for k in range(3)])
    display.epoch(epoch_of(0, *(replace(STUDENT, val=None, total=total) for total in (0.1, 0.2, 0.6))))
    assert "  3 networks  total mean 0.300 lowest 0.100  " in stream.getvalue()


@pytest.mark.parametrize("count", [1, 3])
def test_a_cohort_that_stopped_as_a_whole_is_still_a_line(count: int) -> None:
    display, stream, _ = plain([f"member {k}" for k in range(count)])
    display.epoch(epoch_of(0, *[STOPPED] * count))
    assert "nothing trains any more" in stream.getvalue()


def test_divergence_and_early_stopping_are_said_once() -> None:
    display, stream, _ = plain([f"member {k}" for k in range(7)])
    for number in range(3):
        display.epoch(epoch_of(number, STUDENT, STOPPED, *[DIVERGED] * 5))
    text = stream.getvalue()
    assert text.count("member 1 stopped early") == 1
    assert text.count("member 2, member 3, member 4 and 2 more diverged") == 1
    assert "not finite in epoch 2, step 450 (lr 0.1, temperature 4, alpha 0.9, total nan, hard 0.3, soft nan)" in text


def test_a_long_epoch_gives_a_sign_of_life_each_minute() -> None:
    display, stream, clock = plain(["student"], epochs=2)
    for second in range(1, 200):
        clock.now = float(second)
        display.tick(Tick(0, second, 400, 1000.0))
    lines = stream.getvalue().split("\n")
    assert lines == [
        "epoch 1/2  step 60/400  1,000 images/s  ETA 12:20",
        "epoch 1/2  step 120/400  1,000 images/s  ETA 11:20",
        "epoch 1/2  step 180/400  1,000 images/s  ETA 10:20",
        "",
    ]


def test_a_clock_set_back_never_gives_a_negative_time() -> None:
    pace = Pace(10, now=100.0)
    pace.epoch(epoch_of(0, STUDENT), 50.0)
    assert pace.remaining(20.0) == 0.0 or (pace.remaining(20.0) or 0.0) >= 0.0


def test_time_to_go_follows_the_last_epochs_and_ends_with_the_training() -> None:
    pace = Pace(20, now=0.0)
    assert pace.remaining(0.0) is None
    now = 0.0
    for number in range(20):
        now += 100.0 if number < 5 else 10.0
        pace.epoch(epoch_of(number, STUDENT), now)
        if number == 14:
            assert pace.remaining(now) == pytest.approx(50.0)
    assert pace.remaining(now) is None


def test_time_to_go_of_a_resumed_training_counts_only_what_was_seen() -> None:
    pace = Pace(20, now=0.0)
    pace.epoch(epoch_of(9, STUDENT), 10.0)
    assert pace.remaining(10.0) == pytest.approx(100.0)


def live(names: list[str]) -> tuple[LiveDisplay, io.StringIO, Clock]:
    clock, stream = Clock(), io.StringIO()
    return LiveDisplay(SafeStream(stream), Cohort("title", names, 10, 0.99), color=False, now=clock), stream, clock


def test_the_panel_is_drawn_at_most_four_times_a_second() -> None:
    display, stream, clock = live(["student"])
    with display:
        for step in range(1000):
            clock.now = step / 100
            display.tick(Tick(0, step, 1000, 1000.0))
            display.epoch(epoch_of(0, STUDENT))
    assert 35 <= stream.getvalue().count("title") <= 10 * 4 + 2


def test_the_best_of_a_cohort_come_first_and_those_that_stopped_last() -> None:
    display, stream, _ = live([f"net {k}" for k in range(20)])
    members: list[MemberResult | Stopped] = [replace(STUDENT, val=validated(0.9 + k / 1000)) for k in range(18)]
    with display:
        display.epoch(epoch_of(0, *members, STOPPED, DIVERGED))
    panel = stream.getvalue()[stream.getvalue().rindex("network") :]
    assert re.findall(r"net \d+", panel) == [f"net {k}" for k in range(17, 5, -1)]
    assert "and 8 more" in panel


def test_few_networks_show_who_stopped_and_who_diverged() -> None:
    display, stream, _ = live(["student", "baseline", "third"])
    with display:
        display.epoch(epoch_of(0, STOPPED, STUDENT, DIVERGED))
    panel = stream.getvalue()[stream.getvalue().rindex("network") :]
    assert re.findall(r"(student|baseline|third)\s.*?(stopped|diverged|97\.81 %)", panel) == [
        ("baseline", "97.81 %"),
        ("student", "stopped"),
        ("third", "diverged"),
    ]


def test_settings_that_differ_get_columns_and_common_ones_a_place_below() -> None:
    display, stream, _ = live(["a", "b"])
    with display:
        display.epoch(epoch_of(0, STUDENT, replace(STUDENT, temperature=8.0)))
    panel = stream.getvalue()[stream.getvalue().rindex("network") :]
    assert re.search(r"97\.81 % +-1\.19 +0\.1000 +8", panel)
    assert "alpha 0.9   lr 0.01" in panel


def test_warnings_come_out_above_the_panel_and_stderr_is_given_back(capfd: pytest.CaptureFixture[str]) -> None:
    before = sys.stderr
    display, stream, _ = live(["student"])
    with display:
        sys.stderr.write("careful\n")
    assert sys.stderr is before
    assert "careful" in stream.getvalue()


def test_an_error_inside_leaves_the_last_state_and_gives_stderr_back() -> None:
    before = sys.stderr
    display, stream, _ = live(["student"])
    with pytest.raises(RuntimeError, match="broken"), display:
        raise RuntimeError("broken")
    assert sys.stderr is before
    assert stream.getvalue().endswith("\n")


@pytest.mark.parametrize(("mode", "quiet"), [("none", False), ("auto", True)])
def test_none_and_quiet_show_nothing(mode: str, quiet: bool, capsys: pytest.CaptureFixture[str]) -> None:
    display = make_display(mode, title="t", names=["a"], epochs=1, teacher_top1=None, color=True, quiet=quiet)  # type: ignore[arg-type]
    assert isinstance(display, SilentDisplay)
    with display:
        display.tick(Tick(0, 1, 2, 3.0))
        display.epoch(epoch_of(0, STUDENT))
        display.note("unseen")
    assert capsys.readouterr() == ("", "")
