"""The commands of kd: what each is for, and the module that carries it out. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Command:
    """One command of the program.

    Args:
        name: As it is typed.
        module: The module of ``kdcli.commands`` that runs it.
        summary: One line for ``kd --help``.
        usage: What follows the name.
        examples: Three lines to paste, each with what it does.
        composed: Its settings are composed by Hydra from ``conf/`` and ``key=value`` overrides.
        positional: Of a composed command: the key that a first word without ``=`` is the value of.
        hydra_flags: Those of Hydra's flags that it takes though it is not composed as a whole.
        flags: Those of its own that not all commands take.
    """

    name: str
    module: str
    summary: str
    usage: str
    examples: tuple[tuple[str, str], ...]
    composed: bool = False
    positional: str = ""
    hydra_flags: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()

    @property
    def config_name(self) -> str:
        """The primary file of the command in ``conf/``, without its ending."""
        return self.name.replace("-", "_")


_ALL = (
    Command(
        "train-teacher",
        "train",
        "train a network, or an ensemble with members=10",
        "[key=value ...]",
        (
            ("kd train-teacher", "the defaults: MNIST, two layers of 1200 units"),
            ("kd train-teacher model=lenet epochs=5 optimizer.lr=0.001", "another network and other settings"),
            ("kd train-teacher -m seed=0,1,2", "three runs, one for each seed"),
        ),
        composed=True,
    ),
    Command(
        "distill-student",
        "distill",
        "distil a teacher into a student, with its baseline beside it",
        "teacher=RUN [key=value ...]",
        (
            ("kd distill-student teacher=latest", "from the newest finished teacher"),
            ("kd distill-student teacher=latest model=mlp_30 temperature=3.3 alpha=0.9", "a small student"),
            ("kd distill-student teacher=latest -m temperature=1,2,4,8 alpha=0.1,0.5,0.9", "a sweep of twelve jobs"),
        ),
        composed=True,
    ),
    Command(
        "train-specialists",
        "specialists",
        "train specialists for the classes that a network confuses, and combine them with it",
        "teacher=RUN [key=value ...]",
        (
            ("kd train-specialists teacher=latest", "six specialists beside the newest finished network"),
            ("kd train-specialists teacher=latest specialists.count=8 specialists.size=5", "sets that may overlap"),
            ("kd train-specialists teacher=latest specialists.full_softmax=true alpha=0.5", "no dustbin: section 6.1"),
        ),
        composed=True,
    ),
    Command(
        "evaluate",
        "evaluate",
        "measure one run, or several side by side",
        "RUN [key=value ...]",
        (
            ("kd evaluate latest", "the newest finished training"),
            ("kd evaluate run=[RUN,RUN]", "two runs in one table"),
            ("kd evaluate latest --json", "the numbers on stdout, for a script"),
        ),
        composed=True,
        positional="run",
    ),
    Command(
        "export",
        "export",
        "write a run as one file that needs no kd: ONNX, or a torch.export program",
        "RUN [key=value ...]",
        (
            ("kd export latest", "model.onnx in the run's directory, checked against the run"),
            ("kd export RUN int8=true", "8-bit integers, with what that costs in accuracy"),
            ("kd export RUN format=torch file=model.pt2", "a program for torch.export.load"),
        ),
    ),
    Command(
        "import",
        "importing",
        "make a RUN of weights that another program wrote",
        "FILE model=... dataset=... mean=... std=... [key=value ...]",
        (
            ("kd import digits.pt model=lenet mean=0.1307 std=0.3081", "a state_dict of the network of model=lenet"),
            ("kd import my.safetensors model=custom model.target=nets:Net mean=0 std=1", "of a class of yours"),
            ("kd import digits.pt model=mlp model.hidden=[128] match=order mean=0 std=1", "where only names differ"),
        ),
        composed=True,
        positional="file",
    ),
    Command(
        "study",
        "study",
        "run a whole experiment and compare it with what is expected",
        "NAME",
        (
            ("kd study quickstart", "a teacher on MNIST, a student on a tenth of it with and without"),
            ("kd study hinton2015/no_threes omit=[5] --budget=short", "another parameter, a smaller budget"),
            ("kd study quickstart --json", "the results on stdout, for a script"),
        ),
    ),
    Command(
        "search",
        "search",
        "find the best values of any keys of a training command, by validation",
        "COMMAND [key=value ...] key=values ...",
        (
            (
                "kd search distill-student teacher=latest 'temperature=interval(1,20)' alpha=0.3,0.5,0.9",
                "20 trials, six at a time",
            ),
            (
                "kd search train-teacher 'optimizer.lr=tag(log,interval(1e-4,1e-2))' search.trials=40",
                "a rate, on a logarithmic scale",
            ),
            (
                "kd search distill-student teacher=latest 'temperature=int(interval(1,20))' search.objective=nll",
                "whole temperatures, by the likelihood",
            ),
        ),
        hydra_flags=("--config-dir", "--config-name"),
    ),
    Command(
        "runs",
        "runs",
        "list runs, sweeps, searches and studies; rm, restore: take a run away, and bring it back",
        "[rm RUN ... | restore RUN ...] [key=value ...]",
        (
            ("kd runs", "the newest 20"),
            ("kd runs command=distill-student model=mlp_* sort=top1 -n 5", "the five best small students"),
            ("kd runs rm RUN", "into the trash of the output directory; kd runs restore RUN brings it back"),
        ),
        flags=("--all", "--limit", "--purge", "--force"),
    ),
    Command(
        "compare",
        "compare",
        "compare runs: what differs in their settings, and what came of it, over seeds",
        "RUN RUN ... | SWEEP | --last N",
        (
            ("kd compare RUN RUN", "two runs side by side"),
            ("kd compare SWEEP --pivot temperature:alpha", "the jobs of a sweep as a grid"),
            ("kd compare --last 5 --format md", "the newest five, as a table for a README"),
        ),
        flags=("--last", "--pivot", "--format"),
    ),
    Command(
        "report",
        "report",
        "write figures and report.html of a run, job, member, baseline, sweep or study, and print its path",
        "RUN",
        (
            ("kd report latest", "the newest finished training"),
            ("kd report SWEEP/03", "a job of a sweep"),
            ("kd report outputs/studies/quickstart/STUDY", "a study, by its directory"),
        ),
    ),
    Command(
        "data",
        "data",
        "show what a network would be given: images after their views, labels, counts, ranges",
        "show [dataset=... key=value ...]",
        (
            ("kd data show dataset=mnist dataset.views=shift", "images as the first epoch brings them"),
            ("kd data show dataset=letter", "rows of a table: what each column holds"),
            ("kd data show transfer.fraction=0.1 transfer.omit=[3]", "with a part of the training set"),
        ),
        hydra_flags=("--config-dir", "--config-name"),
    ),
    Command(
        "resume",
        "resume",
        "go on with a run, sweep, search or study that was stopped",
        "[RUN|latest]",
        (
            ("kd resume", "the newest that can go on"),
            ("kd resume outputs/train-teacher/RUN", "a run by its directory"),
            ("kd resume RUN", "a run by its name"),
        ),
    ),
    Command(
        "verify",
        "verify",
        "check a run directory whole: every file, checkpoint and run inside it",
        "RUN",
        (
            ("kd verify latest", "the newest finished training"),
            ("kd verify outputs/sweeps/SWEEP", "a sweep with all its jobs"),
            ("kd verify RUN --json", "the findings on stdout, for a script"),
        ),
    ),
    Command(
        "doctor",
        "doctor",
        "check the installation: versions, device, disk, a write, a determinism self-test",
        "",
        (
            ("kd doctor", "a table, and what to do about each problem"),
            ("kd doctor output_dir=/scratch/me", "with the disk that runs will be written to"),
            ("kd doctor --redact", "without your directories, to paste into a bug report"),
        ),
        flags=("--redact",),
    ),
    Command(
        "completion",
        "completion",
        "print the tab completion for a shell",
        "bash|zsh|fish",
        (
            ('eval "$(kd completion bash)"', "in ~/.bashrc"),
            ('eval "$(kd completion zsh)"', "in ~/.zshrc, after compinit"),
            ("kd completion fish | source", "in ~/.config/fish/config.fish"),
        ),
    ),
    Command(
        "help",
        "help",
        "explain a command, or the exit codes",
        "[COMMAND|exit-codes]",
        (
            ("kd help distill-student", "the same as kd distill-student --help"),
            ("kd help exit-codes", "what the exit codes mean"),
            ("kd help", "the same as kd --help"),
        ),
    ),
)

COMMANDS: dict[str, Command] = {command.name: command for command in _ALL}
