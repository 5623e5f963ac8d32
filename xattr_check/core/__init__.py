"""The nouns: method, subject, check, run, verdict; and how a method is called.

What the author of a check needs is here under one name: `from xattr_check.core import axiom, Measurement, …`.
"""

from xattr_check.core.checks import Axiom, Measurement, axiom, contract, violation
from xattr_check.core.explainer import Explainer
from xattr_check.core.figure import Lines
from xattr_check.core.run import Draw, Run
from xattr_check.core.subject import Subject
from xattr_check.errors import Invalid, Undefined
from xattr_check.statistics.gate import AtLeast, AtMost, Beats, Reaches, Within

__all__ = [
    "AtLeast",
    "AtMost",
    "Axiom",
    "Beats",
    "Draw",
    "Explainer",
    "Invalid",
    "Lines",
    "Measurement",
    "Reaches",
    "Run",
    "Subject",
    "Undefined",
    "Within",
    "axiom",
    "contract",
    "violation",
]
