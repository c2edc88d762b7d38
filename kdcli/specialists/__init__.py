"""Specialists beside a generalist (Hinton, Vinyals, Dean 2015, section 5): the mathematics, as pure functions.

A specialist knows a few classes that the generalist confuses; all others are its dustbin. docs/specialists.md tells
the whole course.
"""

from __future__ import annotations

from kdcli.specialists.clusters import ClassSets, class_sets, membership, prediction_covariance
from kdcli.specialists.combine import active_specialists, combine
from kdcli.specialists.council import Council
from kdcli.specialists.coverage import CoverageRow, coverage_table
from kdcli.specialists.dustbin import DUSTBIN, aggregate, outputs_of
from kdcli.specialists.losses import dustbin_cross_entropy, target_divergence
from kdcli.specialists.sampling import dustbin_correction, half_and_half
from kdcli.specialists.scope import Scope
from kdcli.specialists.targets import full_softmax_targets

__all__ = [
    "DUSTBIN",
    "ClassSets",
    "Council",
    "CoverageRow",
    "Scope",
    "active_specialists",
    "aggregate",
    "class_sets",
    "combine",
    "coverage_table",
    "dustbin_correction",
    "dustbin_cross_entropy",
    "full_softmax_targets",
    "half_and_half",
    "membership",
    "outputs_of",
    "prediction_covariance",
    "target_divergence",
]
