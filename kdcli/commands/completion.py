"""Tab completion: ``kd completion SHELL`` prints a script that asks ``kd __complete LINE`` at each TAB.

Standard library only: the answer must come at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path

from kdcli.commands import COMMANDS, Command
from kdcli.commands.conf_files import NOT_COMPARED, NUMERIC_GROUPS, conf_dir, keys_of, options, scan
from kdcli.commands.flags import CHOICES, HYDRA, OWN, SHORT, WITH_VALUE, Flags
from kdcli.commands.nearest import did_you_mean
from kdcli.commands.run_entries import FILTERS, KINDS, ORDERS, STATUSES
from kdcli.errors import UsageError

_TRAININGS = ("train-teacher", "distill-student", "train-specialists")
_RUN_KEYS = {"teacher": ("train-teacher", "import"), "run": (*_TRAININGS, "import")}
_RESUMABLE = (*_TRAININGS, "sweeps", "search", "studies")
_SEARCHABLE = ("train-teacher", "distill-student")
_OUTPUTS = Path("outputs")
_TAKE_RUNS = ("runs", "compare", "report", "verify")
_MOST_RUNS = 50

BASH = r"""# kd's tab completion for bash: eval "$(kd completion bash)"
_kd_complete() {
    local line="${COMP_LINE:0:COMP_POINT}" program="${1/#\~/$HOME}" word prefix answer
    word="${line##*[[:space:]]}"
    # bash completes only what stands behind the last = or : of a word
    prefix="${word%"${word##*[=:]}"}"
    COMPREPLY=()
    while IFS= read -r answer; do
        COMPREPLY+=("${answer#"$prefix"}")
    done < <("$program" __complete "$line" 2>/dev/null)
    if [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *[=./:] ]]; then
        compopt -o nospace 2>/dev/null
    fi
}
complete -o default -F _kd_complete kd kdcli
"""
ZSH = r"""# kd's tab completion for zsh, after compinit: eval "$(kd completion zsh)"
_kd_complete() {
    local -a answers open closed
    answers=("${(@f)$(${~words[1]} __complete "${(pj: :)words[1,CURRENT-1]} ${PREFIX}" 2>/dev/null)}")
    open=(${(M)answers:#*[=./:]})
    closed=(${answers:#*[=./:]})
    (( ${#open} )) && compadd -Q -S '' -- $open
    (( ${#closed} )) && compadd -Q -- $closed
    (( ${#open} + ${#closed} )) || _files
}
compdef _kd_complete kd kdcli
"""
FISH = r"""# kd's tab completion for fish: kd completion fish | source
function __kd_complete
    set -l words (commandline -opc)
    $words[1] __complete "$words "(commandline -ct) 2>/dev/null
end
complete -c kd -f -a '(__kd_complete)'
complete -c kdcli -f -a '(__kd_complete)'
"""
_SCRIPTS = {"bash": BASH, "zsh": ZSH, "fish": FISH}


def run(args: list[str], flags: Flags) -> int:
    """Print the completion script of a shell."""
    shell = args[0] if len(args) == 1 else ""
    if shell not in _SCRIPTS:
        hint = did_you_mean(shell, _SCRIPTS) if shell else ""
        what = f"kd completion needs one shell, got {' '.join(args) or 'nothing'}{hint}"
        raise UsageError(what, where="completion", fix=f"kd completion {'|'.join(_SCRIPTS)}")
    sys.stdout.write(_SCRIPTS[shell])
    return 0


def answer(args: list[str]) -> int:
    """Print what the last word of a line can become, one a line; never an error, which would garble the prompt."""
    try:
        found = candidates(args[0] if args else "")
        sys.stdout.write("".join(f"{word}\n" for word in found))
    except (OSError, ValueError):  # a file of the user's that is no text
        return 1
    return 0


def candidates(line: str) -> list[str]:
    """The words that the last word of ``line`` can become, each whole; '' is a word after a final space."""
    *before, word = line.split() if line and not line[-1].isspace() else [*line.split(), ""]
    given = _words(before)
    command = COMMANDS.get(given[0]) if given else None
    return [found for found in _possible(word, before, command) if found.startswith(word)]


def _words(before: list[str]) -> list[str]:
    """What stands behind kd, without flags and their values."""
    return [
        word
        for last, word in zip(before, before[1:], strict=False)
        if not word.startswith("-") and SHORT.get(last, last) not in WITH_VALUE
    ]


def _possible(word: str, before: list[str], command: Command | None) -> Iterable[str]:
    last = SHORT.get(before[-1], before[-1]) if before else ""
    if last in CHOICES or last in WITH_VALUE:
        return _flag_values(last, word)
    if word.startswith("--") and "=" in word:
        name, _, value = word.partition("=")
        return [f"{name}={choice}" for choice in _flag_values(name, value)]
    if word.startswith("-"):
        return _flags(command)
    return COMMANDS if command is None else _arguments(command, word, before)


def _flags(command: Command | None) -> Iterable[str]:
    if command is None:
        return [*OWN, *HYDRA]
    return [*command.flags, *OWN, *(HYDRA if command.composed else command.hydra_flags)]


def _arguments(command: Command, word: str, before: list[str]) -> Iterable[str]:
    if command.composed:
        return [*_first_word(command, word, before), *_settings(command, word, before)]
    if command.name == "study":
        return _study(before)
    if command.name == "search":
        return _search(word, before)
    if command.name in _TAKE_RUNS:
        return _named(command.name, word, before)
    if command.name == "data":
        return _settings(COMMANDS["distill-student"], word, before) if "show" in before else ["show"]
    return _of_few(command.name, _root(before))


def _flag_values(flag: str, written: str) -> Iterable[str]:
    """What the value of a flag can become: of --pivot two keys with a colon between."""
    if flag != "--pivot":
        return CHOICES.get(flag, ())
    rows, colon, _ = written.partition(":")
    apart = (*NUMERIC_GROUPS, *NOT_COMPARED)
    keys = [key for key in keys_of("distill_student", {}) if key.partition(".")[0] not in apart]
    return [f"{rows}:{key}" if colon else f"{key}:" for key in (*NUMERIC_GROUPS, *keys)]


def _first_word(command: Command, word: str, before: list[str]) -> list[str]:
    """The runs that a first word without ``=`` can name, where it stands for a key that takes them."""
    key, (_, *given) = command.positional, _words(before)
    taken = any("=" not in each or each.startswith(f"{key}=") for each in given)
    return [] if key not in _RUN_KEYS or taken or "=" in word else _run_names(key, word, _root(before))


def _study(before: list[str]) -> list[str]:
    """The studies, or the parameters of the one that is named."""
    names = [word for word in _words(before)[1:] if "=" not in word]
    if not names:
        return options("study")
    own = conf_dir() / "study" / f"{names[0]}.yaml"
    path = own if own.is_file() else Path(names[0])
    keys = [key.path for key in scan(path).keys] if path.is_file() else []
    return [*(f"{key.removeprefix('parameters.')}=" for key in keys if key.startswith("parameters.")), "output_dir="]


def _named(command: str, word: str, before: list[str]) -> Iterable[str]:
    """What may follow a command that takes RUNs."""
    root = _root(before)
    key, equals, _ = word.partition("=")
    if command == "runs" and "restore" in before:
        return [name for kind in (*_RESUMABLE, "evaluate") for name in _names(root / ".trash", kind)]
    if command == "runs" and "rm" not in before:
        own = ["rm", "restore"] if before[-1] == "runs" else []
        return (
            _filter_values(key, word) if equals else [*own, *(f"{name}=" for name in (*FILTERS, "sort", "output_dir"))]
        )
    if "/" in word:
        return _jobs(word, root)
    return ["latest", *runs(_RESUMABLE, root)]


def _filter_values(key: str, word: str) -> list[str]:
    """What a filter of ``kd runs`` can be, behind what is written already."""
    known: dict[str, Iterable[str]] = {"status": STATUSES, "command": KINDS, "sort": ORDERS}
    values = known.get(key, options(key) if key in ("model", "dataset") else ())
    start = word[: max(word.rfind(","), word.find("=")) + 1]
    return [start + value for value in values]


def _jobs(word: str, root: Path) -> list[str]:
    """The jobs of a sweep whose name and a slash are written, or the studies of that name."""
    name = word.rpartition("/")[0]
    inside = [f"{name}/{job}" for job in _names(root / "sweeps", name) if job.isdigit()]
    return [*sorted(inside), *_names(root, "studies")] if ".." not in name else []


def _root(before: list[str]) -> Path:
    """Where the line says that runs are."""
    given = [word.partition("=")[2] for word in before if word.startswith("output_dir=")]
    return Path(given[-1] if given and given[-1] else _OUTPUTS)


def _of_few(command: str, root: Path) -> Iterable[str]:
    """What may follow a command that takes no settings."""
    match command:
        case "doctor":
            return ["output_dir="]
        case "help":
            return [*COMMANDS, "exit-codes"]
        case "completion":
            return _SCRIPTS
        case "resume":
            return ["latest", *runs(_RESUMABLE, root)]
        case "export":
            return ["latest", *runs(_RUN_KEYS["run"], root), "format=onnx", "format=torch", "int8=true", "file="]
    return []


def _search(word: str, before: list[str]) -> list[str]:
    """The command to search over, then its settings and the search's own."""
    inner = next((COMMANDS[name] for name in before if name in _SEARCHABLE), None)
    if inner is None:
        return list(_SEARCHABLE)
    if word.startswith("search.objective="):
        return ["search.objective=top1", "search.objective=nll"]
    own = [f"{key}=" for key in keys_of("search", {}) if "." in key]
    return [*_settings(inner, word, before), *(own if "." in word else ["search."])]


def _settings(command: Command, word: str, before: list[str]) -> list[str]:
    """Keys and groups, each with its ``=``, or the values of the one that is being written."""
    key, equals, value = word.partition("=")
    more = _config_dirs(before)
    if equals:
        start = f"{key}={value[: max(value.rfind(','), value.rfind('[')) + 1]}"
        written, root = word[len(start) :], _root(before)
        values = _run_names(key, written, root) if key in _RUN_KEYS else options(key, *more)
        if not values:
            from kdcli.commands.key_values import values_of

            values = values_of(command.name, key)
        return [start + choice for choice in values]
    chosen = dict(setting.split("=", 1) for setting in before if "=" in setting and not setting.startswith("-"))
    keys = [key for key in keys_of(command.config_name, chosen) if not key.endswith(".kind")]
    if "." in word:
        return [f"{key}=" for key in keys if "." in key]
    groups = scan(conf_dir() / f"{command.config_name}.yaml").choices
    inner = dict.fromkeys(key.partition(".")[0] for key in keys if "." in key)
    plain = [key for key in [*groups, *keys] if "." not in key and (key in groups or key not in inner)]
    return [*(f"{key}=" for key in plain), *(f"{name}." for name in inner)]


def _run_names(key: str, written: str, root: Path) -> list[str]:
    return _jobs(written, root) if "/" in written else ["latest", *runs(_RUN_KEYS[key], root)]


def _config_dirs(words: list[str]) -> list[Path]:
    named = [after for word, after in zip(words, words[1:], strict=False) if word in ("--config-dir", "-cd")]
    named += [word.partition("=")[2] for word in words if word.startswith(("--config-dir=", "-cd="))]
    return [Path(name) for name in named]


def runs(kinds: Iterable[str], root: Path = _OUTPUTS) -> list[str]:
    """The newest runs of these kinds under an output directory, by name, the newest first; then the studies."""
    found = [name for kind in kinds if kind != "studies" for name in _names(root, kind)]
    return [*sorted(found, reverse=True)[:_MOST_RUNS], *(_names(root, "studies") if "studies" in kinds else ())]


def _names(root: Path, kind: str) -> list[str]:
    """The runs of a kind; a study is called by its name, which may be in two parts, and its directory."""
    if kind == "studies":
        places = [study for path in sorted((root / kind).glob("*/*")) for study in _studies(path)]
        return [str(study.relative_to(root / kind)) for study in places]
    try:
        with os.scandir(root / kind) as entries:
            return [entry.name for entry in entries if os.path.exists(Path(entry.path, "run.json"))]
    except OSError:
        return []


def _studies(path: Path) -> list[Path]:
    """The study in a directory, or those inside where that is the second part of their name."""
    if (path / "run.json").exists():
        return [path]
    return [record.parent for record in sorted(path.glob("*/run.json"))]
