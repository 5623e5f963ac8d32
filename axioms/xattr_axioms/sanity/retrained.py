"""A second network, trained independently."""

from xattr_axioms.sanity._randomization import Randomised, by_network, curves, maps_by_network, maps_of
from xattr_check.core import Draw, Explainer, Measurement, Reaches, Subject, axiom
from xattr_check.networks.randomize import every_layer

# What is left above the likeness of random networks, at the least: of less, a difference is noise.
LEFT = 0.1


@axiom(
    statement="A network trained anew on the same task is explained more alike than one with random weights.",
    family="sanity",
    # Magnitudes, since two networks agree on where they look and not on each sign. How much they agree on is
    # another matter on each subject: a gradient comes to 0.7 on the digits, 0.15 on a small transformer and
    # to 0 on deep networks for small images, where a bound of 0.2 failed all that is right. Maps without a
    # model, and noise that is seeded by the outputs, come to 0.05. What multiplies by the input is alike in
    # random networks too (0.3 to 0.45 on tables, signals and regression), which leaves it less to gain: as a
    # difference, input × gradient and integrated gradients came to 0.25 to 0.3 less than gradient there. Half
    # lets smoothgrad through, which averages with signs: 0.51 on the digits, where gradient comes to 0.75,
    # occlusion to 0.81 and noise to 0. Half of less than 0.1 is what noise seeded by the outputs comes to.
    gate=Reaches(0.5, of=("gradient", "occlusion"), least=0.1),
    cites="adebayo2018",
    reads="of the way from the likeness of random networks to sameness is gone by a second trained network",
    needs=("sibling retrained",),
    negative=("random", "edges", "input_magnitude"),
)
def retrained(method: Explainer, subject: Subject, draw: Draw) -> Measurement:
    """(s − r) / (1 − r), of the similarities s to the second network and r to a random one, a row for each.

    Similarity is the Spearman correlation of magnitudes above that of unrelated inputs. That maps change with
    the weights, as the randomisation checks ask, noise does too; what is explained is the same here. Where
    maps are the same for random networks as well, nothing is left to tell, and counts as 0.
    """
    chosen = every_layer(subject.model, draw.inputs)
    second = maps_of(method, subject.siblings["retrained"], draw)
    evidence = curves(
        maps_of(method, subject.model, draw),
        iter([second, maps_by_network(method, draw, Randomised(draw, chosen))]),
        subject,
    )
    trained, random = by_network(evidence["spearman_magnitude"], draw).unbind(1)
    return Measurement((trained - random) / (1 - random).clamp_min(LEFT), evidence=evidence)
