"""Synthetic transfer sets: unlabelled cases made of a training set (Bucila, Caruana, Niculescu-Mizil 2006, sec. 2)."""

from __future__ import annotations

from kdcli.synthetic.munge import munge
from kdcli.synthetic.nbe import nbe
from kdcli.synthetic.random_cases import random_cases

__all__ = ["munge", "nbe", "random_cases"]
