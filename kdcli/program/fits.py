"""The training of a cohort, whichever command's."""

from __future__ import annotations

from collections.abc import Sequence

from kdcli import targets
from kdcli.build import Data, build_fit
from kdcli.build_specialists import build_specialists
from kdcli.engine.bank import Bank
from kdcli.engine.fit import Fit
from kdcli.schema import Specialist, Training
from kdcli.teachers import Teacher


def make_fit(
    configs: Sequence[Training],
    data: Data,
    bank: Bank,
    teacher: Teacher | None,
    *,
    epoch_examples: int | None = None,
    say: targets.Say = lambda line: None,
) -> Fit:
    """Build the training of a cohort; the arguments are those of ``build_fit``."""
    specialists = [config for config in configs if isinstance(config, Specialist)]
    if not specialists:
        return build_fit(configs, data, bank, teacher, epoch_examples=epoch_examples, say=say)
    assert teacher is not None
    assert len(specialists) == len(configs)
    return build_specialists(specialists, data, bank, teacher, epoch_examples=epoch_examples)
