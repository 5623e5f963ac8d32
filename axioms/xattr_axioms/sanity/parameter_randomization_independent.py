"""Parameter randomisation, one group of layers at a time."""

from xattr_axioms.sanity._randomization import NEAR, along_cascade
from xattr_check.core import Draw, Explainer, Measurement, Subject, axiom
from xattr_check.networks.randomize import cascade


@axiom(
    statement="The map becomes another one when one layer's weights are randomised and the others stay.",
    family="sanity",
    gate=NEAR,
    cites="adebayo2018",
    reads="rank correlation with maps of models with one random layer, above that of unrelated inputs",
    bounds=(-1, 1),
    negative=("random", "edges", "input_magnitude"),
    cost="standard",
)
def parameter_randomization_independent(method: Explainer, subject: Subject, draw: Draw) -> Measurement:
    """As `parameter_randomization`, with the groups of its cascade randomised one at a time."""
    groups = cascade(subject.model, draw.inputs)
    return along_cascade(method, groups, groups, draw, "randomised alone")
