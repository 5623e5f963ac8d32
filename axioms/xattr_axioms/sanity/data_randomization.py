"""Data randomisation."""

from xattr_axioms.sanity._randomization import NEAR, curves, maps_of, reading, without_noise
from xattr_check.core import Draw, Explainer, Measurement, Subject, axiom


@axiom(
    statement="The map becomes another one when the network was trained on shuffled labels.",
    family="sanity",
    gate=NEAR,
    cites="adebayo2018",
    reads="rank correlation with the map for shuffled labels, above that of unrelated inputs",
    bounds=(-1, 1),
    needs=("sibling shuffled_labels",),
    negative=("random", "edges", "input_magnitude"),
)
def data_randomization(method: Explainer, subject: Subject, draw: Draw) -> Measurement:
    """Spearman correlation of the maps of the two networks; 0 is that of unrelated maps.

    Read, and freed of noise, as in `parameter_randomization`.
    """
    before = maps_of(method, subject.model, draw)
    after = maps_of(method, subject.siblings["shuffled_labels"], draw)
    evidence = {name: curve[:, 0] for name, curve in curves(before, iter([after]), subject).items()}
    return Measurement(without_noise(evidence[reading(method)], method, before, draw), evidence=evidence)
