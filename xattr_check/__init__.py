"""xattr-check turns any attribution function into a battery of checks with verdicts.

A method is a function `explain(model, inputs, targets) -> attributions`. `run_battery(explain)` judges it;
`pytest --xattr-method=mymod:explain` does the same from a command line.
"""

from xattr_check.api import Results, parametrize_with_checks, run_battery
from xattr_check.axiom import Axiom, Invalid, Measurement, Undefined, axiom, contract
from xattr_check.errors import MethodError, SubjectError, UsageError, XattrError
from xattr_check.gate import AtLeast, AtMost, Beats
from xattr_check.method import Method, claims, method, sensitivity, stochastic, takes_numpy
from xattr_check.recipe import Recipe
from xattr_check.registry import checks, fixture, methods, subjects
from xattr_check.specs import load_method, load_subject
from xattr_check.store import Store
from xattr_check.subject import Subject
from xattr_check.verdict import Verdict

__all__ = [
    "AtLeast",
    "AtMost",
    "Axiom",
    "Beats",
    "Invalid",
    "Measurement",
    "Method",
    "MethodError",
    "Recipe",
    "Results",
    "Store",
    "Subject",
    "SubjectError",
    "Undefined",
    "UsageError",
    "Verdict",
    "XattrError",
    "axiom",
    "checks",
    "claims",
    "contract",
    "fixture",
    "load_method",
    "load_subject",
    "method",
    "methods",
    "parametrize_with_checks",
    "run_battery",
    "sensitivity",
    "stochastic",
    "subjects",
    "takes_numpy",
]
