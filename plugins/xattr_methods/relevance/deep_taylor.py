"""Deep Taylor decomposition."""

from torch import Tensor, nn

from xattr_check.core.layouts import is_image
from xattr_check.core.method import method
from xattr_check.perturbation.gradients import MEMORY
from xattr_methods.relevance._rules import RECTIFIERS, Bound, Rules, propagate

INPUT_RULES = ("box", "wsquare", "zplus")


@method(claims=("permutation_equivariance",))
def deep_taylor(
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    *,
    input_rule: str | None = None,
    low: Bound = None,
    high: Bound = None,
    memory: int = MEMORY,
) -> Tensor:
    """The target's logit, shared out by Taylor expansions of single units, (N, *F). [montavon2017]

    input_rule: of the layers that read the input: `box` (zᴮ) for inputs between low and high, `wsquare` (w²)
        for unbounded ones, `zplus` for non-negative ones; by default `box` for images and else `wsquare`.
    low, high: the box; by default the range of each input, and zero.
    memory: bytes that one chunk of inputs may take, activations included.

    Hidden layers and additions get z⁺, without biases, so that all maps sum to the logit, but for relevance
    that arrives at a unit without any positive contribution. A map has the sign of its logit throughout.
    BatchNorm is made one map with the linear layer before it. Raises ValueError where the model has other
    nonlinearities than ReLUs, or calls a function without a rule.
    """
    chosen = input_rule or ("box" if is_image(inputs) else "wsquare")
    if chosen not in INPUT_RULES:
        raise ValueError(
            f"deep_taylor: expected input_rule= one of {', '.join(INPUT_RULES)}, came {chosen!r}"
        )
    rules = Rules(
        dense="zplus",
        convolution="zplus",
        sums="zplus",
        first=chosen,
        bias=False,
        passed=RECTIFIERS,
        low=low,
        high=high,
    )
    return propagate("deep_taylor", model, inputs, targets, rules, memory)
