"""Why samples have no certificate: which requirement stands in the way, and how far off it is."""

from dataclasses import dataclass

from torch import Tensor

from xattr_check.generation.certify import NINETIETH, SOFTMAX
from xattr_check.generation.objectives import ratios
from xattr_check.generation.scenarios import Scenario

LETTERS = "abcd"
# A change that is normal over draws has its 90th percentile at so many root mean squares.
NORMAL = 1.645


@dataclass(frozen=True)
class Reason:
    """A requirement, and the samples that fail it by most.

    name: in words. samples: how many. figure: the median over all samples without a certificate.
    bound: what it has to be, at least (`probability`) or at most.
    """

    name: str
    samples: int
    figure: float
    bound: float
    probability: bool


def requirements(scenario: Scenario) -> list[str]:
    """The names of the F + J requirements, in the order of their figures."""
    found = [f"the probability of the class that {LETTERS[f]} makes alone" for f in range(scenario.features)]
    for change in scenario.changes:
        company = [LETTERS[f] for f in range(scenario.features) if change.smaller >> f & 1]
        beside = f" beside {' and '.join(company)}" if company else " alone"
        found.append(f"what {LETTERS[change.feature]}{beside} does to output {LETTERS[change.output]}")
    return found


def reasons(misses: Tensor, scenario: Scenario) -> list[Reason]:
    """What stands in the way of samples, of their figures (m, F + J); what does so most often first."""
    known = misses[misses.isfinite().all(1)]
    if not len(known):
        return []
    worst, middle = ratios(known, scenario).argmax(1), known.quantile(0.5, dim=0)
    found = []
    for number, name in enumerate(requirements(scenario)):
        probability = number < scenario.features
        bound = SOFTMAX if probability else NINETIETH / NORMAL
        count = int((worst == number).sum())
        if count:
            found.append(Reason(name, count, float(middle[number]), bound, probability))
    return sorted(found, key=lambda reason: -reason.samples)


def render_misses(misses: Tensor, scenario: Scenario) -> str:
    """What stands most often in the way of samples, in words."""
    found = reasons(misses, scenario)
    if not found:
        return "their outputs are not finite numbers"
    first, count = found[0], sum(reason.samples for reason in found)
    if first.probability:
        figure = f"is {first.figure:.2f} and has to be {first.bound:.2f}"
    else:
        figure = f"comes to {first.figure:.2f} of the effect and may be about {first.bound:.2f}"
    told = f"for {first.samples} of the {count} others it is {first.name} that stands in the way: it {figure}"
    if scenario.saturating and not first.probability:
        told += ", since what the patches do adds up"
    return told
