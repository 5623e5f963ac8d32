"""Layer-wise relevance propagation."""

from torch import Tensor, nn

from xattr_check.core.method import method
from xattr_check.core.ranges import AtLeastOne, NotNegative
from xattr_check.perturbation.gradients import MEMORY
from xattr_methods._arguments import expect_at_least
from xattr_methods.relevance._rules import Bound, Rules, propagate

RULES = ("epsilon", "gamma", "alphabeta", "zplus")
COMPOSITES = {
    "plus": "zplus",
    "alphabeta": "alphabeta",
    "gamma": "gamma",
}  # what convolutions get beside epsilon
FIRST = ("box", "wsquare", "flat")  # for layers that read the input; and `shifted`


def read_rule(rule: str) -> tuple[str, str, str]:
    """The rule for dense layers and convolutions, and none for what reads the input. Raises ValueError."""
    if rule not in RULES:
        raise ValueError(f"lrp: expected rule= one of {', '.join(RULES)}, came {rule!r}")
    return rule, rule, ""


def read_composite(composite: str) -> tuple[str, str, str]:
    """The rules that a composite has for dense layers, convolutions and those that read the input, if any.

    Raises ValueError for one that there is not.
    """
    dense, *second, first = composite.split("_") if composite.endswith(FIRST) else [*composite.split("_"), ""]
    convolution = COMPOSITES.get("_".join(second))
    if dense != "epsilon" or convolution is None:
        raise ValueError(
            "lrp: expected composite=epsilon_plus, epsilon_alphabeta or epsilon_gamma, alone or with _box, "
            f"_wsquare or _flat behind it, came {composite!r}"
        )
    return dense, convolution, first


@method(claims=("permutation_equivariance",), keeps_rows=True)
def lrp(
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    *,
    composite: str = "epsilon_plus",
    rule: str | None = None,
    epsilon: NotNegative = 1e-6,
    gamma: NotNegative = 0.25,
    alpha: AtLeastOne = 2.0,
    beta: NotNegative = 1.0,
    low: Bound = None,
    high: Bound = None,
    memory: int = MEMORY,
) -> Tensor:
    """The target's logit, shared out layer by layer down to the input, (N, *F). [bach2015]

    composite: `epsilon_plus`, `epsilon_alphabeta` or `epsilon_gamma`: ε for dense layers, and z⁺, αβ or γ for
        convolutions [kohlbrenner2020]; with `_box`, `_wsquare` or `_flat` behind it, zᴮ, w² or equal shares
        for the layers that read the input.
    rule: `epsilon`, `gamma`, `alphabeta` or `zplus` for all layers, in place of a composite.
    epsilon, gamma, alpha, beta: of the rules [montavon2019]; α − β = 1.
    low, high: the box; by default the range of each input, and zero.
    memory: bytes that one chunk of inputs may take, activations included.

    Known of z⁺, and so of the default: through each layer all relevance passes by positive weights alone, the
    products of which converge to a matrix of rank one, so that in a deep network maps depend less and less on
    the layers above and on the target [sixt2020]. It may therefore fail parameter_randomization in a deep
    convolutional network where `rule=epsilon`, which keeps the signs, passes: that is the rule and no defect
    of the model.

    A BatchNorm counts as part of the linear layer before it, and passes all relevance where there is none.
    Additions and average pools share in proportion to the contributions (to the positive ones under
    `rule=zplus`), maxima give all to the winner, nonlinearities pass it on. Biases keep their share, as do
    tensors that are added behind the first layer, such as the places of tokens: the relevance sums to the
    logit in networks without biases alone, up to ε, and for αβ where each unit has contributions of both
    signs. A comparison with zennit needs its SequentialMergeBatchNorm, a Sum module for each addition, and
    the logit in place of 1 to start from; its rules other than ε are stabilised as well.

    Transformers have the rules of AttnLRP [achtibat2024]: a product of two activations, as of queries and
    keys or of attention and values, gives half to each, by ε; softmax has Rᵢ = xᵢ (R′ᵢ − sᵢ Σⱼ R′ⱼ), and
    keeps the rest; what a LayerNorm divides by is constant. A convolution that cuts the input into patches
    counts as dense, since z⁺ there loses the sign: on a small vision transformer `sensitivity_n` came to 0.11
    with it, and to 0.56 without.
    Raises Declined, a ValueError, where the model calls a function for which there is no rule, as an LSTM.
    """
    dense, convolution, first = read_composite(composite) if rule is None else read_rule(rule)
    expect_at_least("lrp", 0, epsilon=epsilon, gamma=gamma, beta=beta)
    expect_at_least("lrp", 1, alpha=alpha)
    if "alphabeta" in (convolution, dense) and abs(alpha - beta - 1) > 1e-9:
        raise ValueError(f"lrp: expected alpha − beta = 1, came {alpha:g} − {beta:g}")
    rules = Rules(
        dense=dense,
        convolution=convolution,
        sums="zplus" if rule == "zplus" else "epsilon",
        first=first or None,
        epsilon=epsilon,
        gamma=gamma,
        alpha=alpha,
        beta=beta,
        low=low,
        high=high,
        attention=True,
    )
    return propagate("lrp", model, inputs, targets, rules, memory)
