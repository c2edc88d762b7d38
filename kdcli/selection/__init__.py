"""Ensemble selection from a library of models (Caruana 2004): the teacher of Bucila, Caruana, Niculescu-Mizil 2006.

The models are scikit-learn's, an extra. They are refitted where they are needed and never saved: what is kept of them
is what they say. docs/selection.md tells the whole course.
"""

from __future__ import annotations

from kdcli.selection.ensemble import Blend, FittedLibrary, SelectedEnsemble, fit_library, reselect, select_from
from kdcli.selection.estimators import require_scikit_learn
from kdcli.selection.library import Candidate, library
from kdcli.selection.network import KeptEnsemble, as_it_is, keep
from kdcli.selection.select import Hillclimb, Selection, select_ensemble

__all__ = [
    "Blend",
    "Candidate",
    "FittedLibrary",
    "Hillclimb",
    "KeptEnsemble",
    "SelectedEnsemble",
    "Selection",
    "as_it_is",
    "fit_library",
    "keep",
    "library",
    "require_scikit_learn",
    "reselect",
    "select_ensemble",
    "select_from",
]
