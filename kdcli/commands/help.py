"""Help: examples first, then what can be set. Everything about settings is read from ``conf/`` by listing its files."""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Iterable

from kdcli.commands import COMMANDS, Command
from kdcli.commands.conf_files import NUMERIC_GROUPS, Scan, conf_dir, options, scan
from kdcli.commands.flags import HYDRA, OWN, SHORT, SPECIAL, Flags
from kdcli.commands.width import terminal_width
from kdcli.errors import UsageError

WIDEST = 110
_TEXT_OF_ROW = re.compile(r" *\S+(?: \S+)* {2,}(?=\S)| *")
FORMULA = """\
total = (1 - alpha) * hard + alpha * soft
  hard    cross-entropy with the labels, at temperature 1
  soft    distance to the teacher's distribution at the temperature (loss=kd: T^2 * KL)
  alpha   weighs the SOFT term: 0 is plain training, 1 never looks at a label
"""
EXIT_CODES = """\
Exit codes
  0    done
  1    a bug of ours
  2    wrong usage or configuration
  3    data missing, damaged or not fitting
  4    checkpoint rejected
  5    diverged (a loss or gradient that is not finite)
  6    environment or I/O: disk, permissions, device, a missing package
  7    a sweep, study or run finished with failed jobs or networks
  130  Ctrl-C
  143  SIGTERM
"""
_RUNS = """\
Filters: a list a,b takes any of them; * and ? stand for other letters
  command=   train-teacher, distill-student, train-specialists, import,
             evaluate, sweeps, search or studies
  status=    finished, running, created, interrupted, failed, diverged or broken
  model= dataset= teacher= label=    teacher is a run's name or a network's
  sweep=     a sweep's name: its jobs
  sort=      started, top1, difference, time: the newest, best or longest first; id, model: from A to Z
             a minus turns it round: sort=-top1
  limit=     how many, as -n
  output_dir=outputs
"""
_COMPARED = """\
Keys
  metric=    what --pivot shows: val_top1 (without it, where all have it), test_top1, test_errors, ...
  output_dir=outputs
"""
_SEARCHED = """\
Values to search; in quotes, for the shell
  key=a,b,c                        one of these
  key=interval(low,high)           a number between them
  key=int(interval(low,high))      a whole number
  key=range(start,stop,step)       one of start, start + step, ... below stop
  key=tag(log,interval(low,high))  on a logarithmic scale
  keys: any of COMMAND's (kd COMMAND --help); those with one value are the same in all trials
"""
_EXPORTED = (
    ("format=onnx", "onnx, or torch: a torch.export program (.pt2)"),
    ("int8=false", "of format=onnx: 8-bit integers, ranges from training examples"),
    ("file=RUN/export/model.onnx", "where to"),
    ("ensemble=arithmetic", "how an ensemble's members are combined: arithmetic or geometric"),
    ("trust_code=false", "let the run name code of its own (model=custom, dataset=custom)"),
    ("output_dir=outputs", "where RUN is looked for"),
)
_FOOT = "Exit code 0: done; 2: wrong usage or configuration; the others: kd help exit-codes\n"


def run(args: list[str], flags: Flags) -> int:
    """``kd help``, ``kd help COMMAND``, ``kd help exit-codes``."""
    topic = args[0] if args else ""
    if len(args) > 1:
        raise UsageError(f"kd help takes one topic, got {' '.join(args)}", where="help", fix="kd help COMMAND")
    if not topic:
        return show_overview(full=True)
    if topic == "exit-codes":
        sys.stdout.write(_fitted(EXIT_CODES))
        return 0
    if topic in COMMANDS:
        return show_command(COMMANDS[topic], [])
    from kdcli.commands.nearest import did_you_mean

    topics = [*COMMANDS, "exit-codes"]
    hint = did_you_mean(topic, topics)
    raise UsageError(f"no help on {topic!r}{hint}", where="help", fix=f"topics: {', '.join(topics)}")


def show_overview(*, full: bool) -> int:
    """The commands; short and as a refusal (exit 2, on stderr) where nothing at all was asked for."""
    parts = [
        "kd: knowledge-distillation experiments from the command line\n",
        _examples(COMMANDS[name].examples[0] for name in ("train-teacher", "distill-student", "evaluate")),
        _table("Commands", ((command.name, command.summary) for command in COMMANDS.values())),
    ]
    if full:
        parts += ["Settings are key=value; -m runs one job for each combination of values.\n", FORMULA]
        parts += [_table("Flags", _flag_rows(OWN)), EXIT_CODES]
    parts.append("kd COMMAND --help explains one command.\n")
    stream = sys.stdout if full else sys.stderr
    stream.write(_fitted("\n".join(parts)))
    return 0 if full else UsageError.exit_code


def show_command(command: Command, hydra_flags: list[str]) -> int:
    """One command: three examples, the formula, keys, groups with their options, flags."""
    parts = [f"kd {command.name} {command.usage}\n  {command.summary}\n", _examples(command.examples)]
    if command.composed:
        primary = scan(conf_dir() / f"{command.config_name}.yaml")
        if "alpha" in primary.choices:
            parts.append(FORMULA)
        parts += [_keys(primary), *_groups(primary)]
    if command.name == "search":
        parts += [_keys(scan(conf_dir() / "search.yaml")), _SEARCHED]
    if command.name == "export":
        parts.append(_table("Keys and defaults", _EXPORTED))
    if command.name == "study":
        parts.append(f"Studies\n  {', '.join(options('study'))}\n")
    taken = HYDRA if command.composed else {name: HYDRA[name] for name in command.hydra_flags}
    parts += [text for name, text in (("runs", _RUNS), ("compare", _COMPARED)) if name == command.name]
    special = {name: SPECIAL[name] for name in command.flags}
    rows = _flag_rows({**special, **OWN, **taken})
    parts += [_table("Flags", rows), _FOOT]
    sys.stdout.write(_fitted("\n".join(parts)))
    return 0


def _fitted(text: str) -> str:
    """The text as wide as the terminal; what is there to be pasted stays on one line."""
    width = min(terminal_width(), WIDEST)
    lines = (line if line.lstrip().startswith("kd ") else _broken(line, width) for line in text.splitlines())
    return "\n".join(lines) + "\n"


def _broken(line: str, width: int) -> str:
    """A line in several, of which those of a row of a table begin where the text of the row does."""
    row = _TEXT_OF_ROW.match(line)
    indent = " " * min(row.end() if row else 0, width // 2)
    return textwrap.fill(line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def _examples(examples: Iterable[tuple[str, str]]) -> str:
    return "Examples\n" + "".join(f"  {line}\n      {meaning}\n" for line, meaning in examples)


def _table(title: str, rows: Iterable[tuple[str, str]]) -> str:
    rows = list(rows)
    width = max(len(name) for name, _ in rows) + 2
    return f"{title}\n" + "".join(f"  {name:<{width}}{text}\n" for name, text in rows)


def _flag_rows(flags: dict[str, str]) -> Iterable[tuple[str, str]]:
    short = {long: short for short, long in SHORT.items()}
    for name, text in flags.items():
        yield f"{name}, {short[name]}" if name in short else name, text


def _keys(primary: Scan) -> str:
    rows = [(f"{key.path}={key.value}", key.comment) for key in primary.keys if key.value]
    return _table("Keys and defaults (???: to be given)", rows)


def _groups(primary: Scan) -> Iterable[str]:
    if not primary.choices:
        return
    yield (
        "Config groups: GROUP=OPTION, the default in brackets; GROUP.key=value sets a key of the option\n"
        + "".join(_group(group, default) for group, default in primary.choices.items())
        + "  (--cfg job prints every key with its value)\n"
    )


def _group(group: str, default: str) -> str:
    names = [f"[{name}]" if name == default else name for name in options(group)]
    if group in NUMERIC_GROUPS:
        names.append("or any number")
    return f"  {group:<13}{', '.join(names)}\n"
