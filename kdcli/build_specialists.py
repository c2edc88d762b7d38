"""From the configurations of specialists to their training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from kdcli.build import Data, build_validation
from kdcli.build_method import member_plan, span_of
from kdcli.engine.bank import Bank
from kdcli.engine.fit import Fit, FitPlan
from kdcli.engine.ranks import current
from kdcli.engine.specialists import Draws, SpecialistObjective
from kdcli.engine.stream import Stream
from kdcli.schema import Specialist
from kdcli.specialists import Scope
from kdcli.teachers import LiveTargets, Teacher


def scope_of(config: object, num_classes: int) -> Scope | None:
    """The classes that a network answers for; None for one that is no part of ``train-specialists``."""
    if not isinstance(config, Specialist):
        return None
    return Scope(num_classes, None if config.special is None else tuple(config.special))


def build_specialists(
    configs: Sequence[Specialist], loaded: Data, bank: Bank, generalist: Teacher, *, epoch_examples: int | None
) -> Fit:
    """The training of specialists, and of their baseline, as one cohort.

    Args:
        configs: One for each network of ``bank``, which differ in their seeds and classes.
        loaded: Their data.
        bank: The networks.
        generalist: Where they began.
        epoch_examples: How many examples each network sees in an epoch, None for as many as the transfer set has.

    Raises:
        DataError: There are no examples of a specialist's classes, or of others.
    """
    config, device = configs[0], loaded.labels.device
    scopes = [scope for each in configs if (scope := scope_of(each, loaded.num_classes)) is not None]
    pool = loaded.transfer.to(device)
    examples = (epoch_examples or len(pool)) // 2 * 2
    draws = Draws(pool, loaded.labels[pool], scopes, examples, [each.seed for each in configs], config.data_seed)
    corrections = [draws.correction(scope) * config.specialists.correction for scope in scopes]
    plans = [member_plan(each) for each in configs]
    full = config.specialists.full_softmax
    objective = SpecialistObjective.of(
        scopes, corrections, [span_of(plan.alpha) for plan in plans], full_softmax=full, device=device
    )
    stream = Stream(
        loaded.source, loaded.labels, draws(0), loaded.view, loaded.normalization, config.batch_size, config.data_seed,
        LiveTargets(generalist) if full else None, ranks=current(), redraw=draws,
    )  # fmt: skip
    plan = FitPlan(plans, config.epochs, config.early_stopping, bf16=config.precision == "bf16")
    validation = build_validation(loaded, generalist)
    return Fit(bank, stream, objective, plan, None if validation is None else replace(validation, scopes=scopes))
