"""Why samples have no certificate: which requirement stands in the way, and how far off it is."""

import math
from dataclasses import dataclass

from torch import Tensor

from xattr_check.generation.certify import NINETIETH
from xattr_check.generation.objectives import OWN, ratios
from xattr_check.generation.scenarios import Scenario

LETTERS = "abcd"
# What is told are averages, and certificates ask for percentiles. A change that is normal over draws has its
# 90th at 1.645 root mean squares; of the probability it is what is aimed at.
PROBABILITY, SHARE = math.exp(-OWN), NINETIETH / 1.645
# Where the effects of patches add up, one of them adds more than this share of what it would add alone.
ADDING = 0.5


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
    """The names of the M + J requirements, in the order of their figures."""
    found = []
    for coalition, _ in scenario.made:
        makers = letters(coalition)
        how = "makes alone" if len(makers) == 1 else "make together"
        found.append(f"the probability of the class that {' and '.join(makers)} {how}")
    for change in scenario.changes:
        beside = f" beside {' and '.join(letters(change.smaller))}" if change.smaller else " alone"
        does = f"what {LETTERS[change.feature]}{beside} does to output {LETTERS[change.output]}"
        far = f"how far {does} is from {change.share:.2f} of the effect"
        found.append(far if change.share else does)
    return found


def bounds(scenario: Scenario) -> list[str]:
    """What the M + J requirements have to come to, in words."""
    found = [f"about {PROBABILITY:.2f} at least"] * len(scenario.made)
    return found + [f"about {SHARE:.2f} of the effect at most"] * len(scenario.changes)


def letters(coalition: int) -> list[str]:
    """The names of the features of a coalition."""
    return [letter for feature, letter in enumerate(LETTERS) if coalition >> feature & 1]


def median_figures(misses: Tensor) -> list[float]:
    """The medians of figures (m, M + J), not numbers where there are none."""
    if not len(misses):
        return [math.nan] * misses.shape[1]
    medians: list[float] = misses.nanquantile(0.5, dim=0).tolist()
    return medians


def reasons(misses: Tensor, scenario: Scenario) -> list[Reason]:
    """What stands in the way of samples, of their figures (m, M + J); what does so most often first."""
    known = misses[misses.isfinite().all(1)]
    if not len(known):
        return []
    worst, middle = ratios(known, scenario).argmax(1), known.quantile(0.5, dim=0)
    found = []
    for number, name in enumerate(requirements(scenario)):
        probability = number < len(scenario.made)
        bound = PROBABILITY if probability else SHARE
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
        figure = f"is {first.figure:.2f} on average and has to be about {first.bound:.2f}"
    else:
        figure = f"comes to {first.figure:.2f} of the effect and may be about {first.bound:.2f}"
    within = first.figure >= first.bound if first.probability else first.figure <= first.bound
    if within:
        figure += ", so that it is some draws that fail, and more steps may help"
    told = f"for {first.samples} of the {count} left it is {first.name} that stands in the way: it {figure}"
    # Alone it has all of the effect where one of them suffices, else its part.
    whole = 1 if scenario.saturating else scenario.features
    if scenario.together and not first.probability and first.figure > ADDING / whole:
        told += ", since what the patches do adds up"
    return told
