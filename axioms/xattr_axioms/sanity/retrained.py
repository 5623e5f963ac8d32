"""A second network, trained independently."""

from xattr_axioms.sanity._randomization import Randomised, by_network, curves, maps_by_network, maps_of
from xattr_check.core import Draw, Explainer, Measurement, Subject, Within, axiom
from xattr_check.networks.randomize import every_layer


@axiom(
    statement="A network trained anew on the same task is explained more alike than one with random weights.",
    family="sanity",
    # Magnitudes, since two networks agree on where they look and not on each sign. How much they agree on is
    # another matter on each subject: a gradient comes to 0.7 on the digits, 0.15 on a small transformer and
    # to 0 on deep networks for small images, where a bound of 0.2 failed all that is right. Maps without a
    # model, noise that is seeded by the outputs, and edges with a little of the gradient come to 0.05.
    gate=Within(0.1, of=("gradient", "occlusion")),
    cites="adebayo2018",
    reads="more rank correlation with the maps of a second trained network than with those of random ones",
    needs=("sibling retrained",),
    negative=("random", "edges", "input_magnitude"),
)
def retrained(method: Explainer, subject: Subject, draw: Draw) -> Measurement:
    """Difference of the similarities to the second network and to random ones, a row for each of these.

    Similarity is the Spearman correlation of magnitudes above that of unrelated inputs. That maps change with
    the weights, as the randomisation checks ask, noise does too; what is explained is the same here.
    """
    chosen = every_layer(subject.model, draw.inputs)
    second = maps_of(method, subject.siblings["retrained"], draw)
    evidence = curves(
        maps_of(method, subject.model, draw),
        iter([second, maps_by_network(method, draw, Randomised(draw, chosen))]),
        subject,
    )
    trained, random = evidence["spearman_magnitude"].unbind(1)
    return Measurement(by_network(trained - random, draw), evidence=evidence)
