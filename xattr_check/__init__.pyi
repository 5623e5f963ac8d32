from .api import Results, parametrize_with_checks, run_battery
from .battery.disagreement import Disagreement, disagreement
from .battery.judge import Judge
from .concepts.attribution import SemanticAttribution, semantic_attribution
from .concepts.dissection import Dissection, network_dissection
from .concepts.evolution import concept_evolution
from .config.loaders import load_method, load_subject
from .config.settings import Settings
from .core.checks import Axiom, Measurement, axiom, contract, violation
from .core.explainer import Explainer
from .core.figure import Lines
from .core.method import Method, claims, method, sensitivity, stochastic, takes_numpy
from .core.recipe import Recipe
from .core.registry import checks, fixture, methods, subjects
from .core.run import Draw, Run
from .core.subject import Subject
from .core.verdict import Verdict
from .errors import (
    ConceptError,
    Declined,
    Invalid,
    MethodError,
    SubjectError,
    Undefined,
    UsageError,
    XattrError,
)
from .generation.subjects import generated
from .statistics.gate import AtLeast, AtMost, Beats, Reaches, Within
from .storage.store import Store
from .uses.model import ModelReport, model_report

__all__ = [
    "AtLeast",
    "AtMost",
    "Axiom",
    "Beats",
    "ConceptError",
    "Declined",
    "Disagreement",
    "Dissection",
    "Draw",
    "Explainer",
    "Invalid",
    "Judge",
    "Lines",
    "Measurement",
    "Method",
    "MethodError",
    "ModelReport",
    "Reaches",
    "Recipe",
    "Results",
    "Run",
    "SemanticAttribution",
    "Settings",
    "Store",
    "Subject",
    "SubjectError",
    "Undefined",
    "UsageError",
    "Verdict",
    "Within",
    "XattrError",
    "axiom",
    "checks",
    "claims",
    "concept_evolution",
    "contract",
    "disagreement",
    "fixture",
    "generated",
    "load_method",
    "load_subject",
    "method",
    "methods",
    "model_report",
    "network_dissection",
    "parametrize_with_checks",
    "run_battery",
    "semantic_attribution",
    "sensitivity",
    "stochastic",
    "subjects",
    "takes_numpy",
    "violation",
]
