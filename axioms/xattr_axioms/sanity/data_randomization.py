"""Data randomisation."""

from xattr_axioms.sanity._randomization import either_sign, likeness_above_chance, signed_maps
from xattr_check.core import AtMost, Draw, Explainer, Measurement, Subject, axiom
from xattr_check.statistics.similarity import spearman


@axiom(
    statement="The map becomes another one when the network was trained on shuffled labels.",
    family="sanity",
    # On the digits, maps that pass in the literature come to 0.09 at most, guided backpropagation to 0.42,
    # deep Taylor to 0.38, excitation backpropagation to 0.45 and a map without a model to 1. Those between
    # are left to the cascade: the shuffled network has learned filters of its own, so that a map of its edges
    # is not quite the old one.
    gate=AtMost(0.5),
    cites="adebayo2018",
    reads="rank correlation with the map for shuffled labels, above that of unrelated inputs",
    bounds=(-1, 1),
    needs=("sibling shuffled_labels",),
    negative=("random", "edges", "input_magnitude"),
)
def data_randomization(method: Explainer, subject: Subject, draw: Draw) -> Measurement:
    """Spearman correlation of the maps of the two networks, up to their sign; 0 is that of unrelated maps."""
    before, after = (
        signed_maps(method, model, draw) for model in (subject.model, subject.siblings["shuffled_labels"])
    )
    evidence = {"spearman": spearman(before, after)}
    return Measurement(likeness_above_chance(before, after, either_sign), evidence=evidence)
