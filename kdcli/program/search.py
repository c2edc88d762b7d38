"""The memory of a search: what was tried and what came of it, in a study of Optuna, which says what to try next.

The study is kept in Optuna's journal, one JSON object a line: a plain file that ``optuna-dashboard`` and
``optuna.load_study`` read, without the database driver that its SQLite storage needs. kd itself never reads it: the
runs are the record, and the study is made again from them when a search goes on.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kdcli.disk import translated
from kdcli.extras import need
from kdcli.schema.search import Choice, Dimension, Value

if TYPE_CHECKING:
    from optuna import Trial
    from optuna.distributions import BaseDistribution

JOURNAL = "optuna.jsonl"
LEFT_OUT = "left out"
"""Marks in the journal what was asked for but not tried."""

_LOCK = JOURNAL + ".lock"
_FEWEST = 10


def require_optuna() -> None:
    """See that Optuna is there, which kd does not need for anything else.

    Raises:
        MachineError: It is not installed.
    """
    need("kd search", "search", "optuna")
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)


class Memory:
    """A study of Optuna's that begins empty; a journal that was there is replaced.

    Args:
        folder: Where its journal is kept.
        dimensions: The keys that are searched, and the values they may take.
        maximize: The greatest value is the best, not the least.
        seed: Of the sampler.
    """

    def __init__(self, folder: Path, dimensions: Mapping[str, Dimension], *, maximize: bool, seed: int) -> None:
        from optuna import create_study
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
        from optuna.study import StudyDirection

        path = folder / JOURNAL
        with translated(path):
            for name in (path, folder / _LOCK):  # a process that was killed leaves its lock
                with suppress(FileNotFoundError):
                    os.unlink(name)
            backend = JournalFileBackend(str(path), lock_obj=JournalFileOpenLock(str(path)))
        direction = StudyDirection.MAXIMIZE if maximize else StudyDirection.MINIMIZE
        self._study = create_study(storage=JournalStorage(backend), study_name="kd search", direction=direction)
        self._distributions = {key: _distribution(dimension) for key, dimension in dimensions.items()}
        self._seed = seed
        self._asked: Trial | None = None
        self._running: list[Trial] = []

    def remember(self, point: Mapping[str, Value], value: float | None) -> None:
        """Take in a trial of an earlier process; ``value`` is None where it failed."""
        from optuna.trial import TrialState, create_trial

        state = TrialState.FAIL if value is None else TrialState.COMPLETE
        distributions = self._distributions
        self._study.add_trial(create_trial(params=dict(point), distributions=distributions, value=value, state=state))

    def begin_batch(self, number: int) -> None:
        """Sample from here on as batch ``number`` does: from what was tried before, whichever process tried it."""
        from optuna.samplers import TPESampler

        seed = int(np.random.SeedSequence([self._seed, number]).generate_state(1)[0])
        self._study.sampler = TPESampler(seed=seed)

    def ask(self, point: Mapping[str, Value] | None = None) -> dict[str, Value]:
        """What to try next, or ``point`` if one is given; it must be accepted or refused."""
        if point is not None:
            self._study.enqueue_trial(dict(point))
        self._asked = self._study.ask(self._distributions)
        return dict(self._asked.params)

    def accept(self) -> None:
        """Try what was asked for, as one more trial of the batch."""
        assert self._asked is not None
        self._running.append(self._asked)

    def refuse(self) -> None:
        """Leave what was asked for: it has been tried, or is not allowed."""
        from optuna.trial import TrialState

        assert self._asked is not None
        self._asked.set_user_attr(LEFT_OUT, True)
        self._study.tell(self._asked, state=TrialState.FAIL)

    def tell(self, values: Sequence[float | None]) -> None:
        """What came of the batch, in the order in which its trials were accepted; None where a trial failed."""
        from optuna.trial import TrialState

        for trial, value in zip(self._running, values, strict=True):
            self._study.tell(trial, value, state=TrialState.FAIL if value is None else None)
        self._running = []

    def importance(self) -> dict[str, float] | None:
        """How much each key matters for being among the best quarter, in shares of 1; None where too few trials tell.

        PED-ANOVA: Watanabe, Bansal and Hutter 2023, arXiv:2304.10255. Their tenth is but two trials of twenty.
        """
        from optuna.trial import TrialState

        done = self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        if len(done) < _FEWEST:
            return None
        from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

        evaluator = PedAnovaImportanceEvaluator(target_quantile=0.25)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", UserWarning)  # how it says that all trials are equally good
                shares = get_param_importances(self._study, evaluator=evaluator)
        except UserWarning:
            return None
        return {key: float(share) for key, share in shares.items()}


def _distribution(dimension: Dimension) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(dimension, Choice):
        return CategoricalDistribution(dimension.values)
    low, high, step, log = dimension.low, dimension.high, dimension.step, dimension.log
    if dimension.whole:
        assert step is not None
        return IntDistribution(int(low), int(high), log=log, step=int(step))
    return FloatDistribution(low, high, log=log, step=step)
