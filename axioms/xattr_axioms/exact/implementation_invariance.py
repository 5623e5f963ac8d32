"""Implementation invariance."""

from torch import Tensor, nn

from xattr_axioms.exact._copies import INPUTS, MORE, SHARE, Affine, dense, fill_layer, with_network
from xattr_check.core import AtMost, Draw, Explainer, Measurement, Subject, axiom
from xattr_check.networks.rewrite import Plain


class TwoWays(nn.Module):
    """One function computed in two ways: inputs (N, *F) to (N, K) twice.

    C relu(relu(u) − relu(v)) and C relu(u − relu(v)) for linear maps u and v of the input. They agree because
    relu(v) is not negative. The first computes u by a convolution over all features, the second by a dense
    layer. No module is used twice.

    u, v: weights (H, P) and biases (H,); mixing: C, (K, H).
    """

    def __init__(self, u: Affine, v: Affine, mixing: Tensor) -> None:
        super().__init__()
        weight, bias = u
        units, features = weight.shape
        self.convolution = fill_layer(nn.Conv1d(1, units, features, device="meta"), weight[:, None], bias)
        self.dense = dense(*u)
        self.others = nn.ModuleList([dense(*v), dense(*v)])
        self.rectified = nn.ModuleList([nn.ReLU() for _ in range(5)])
        self.mixed = nn.ModuleList([dense(mixing), dense(mixing)])

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """(N, K) twice."""
        features = inputs.flatten(1)
        inner, first, second, *ends = self.rectified
        one = inner(self.convolution(features.unsqueeze(1)).squeeze(2)) - first(self.others[0](features))
        two = self.dense(features) - second(self.others[1](features))
        return self.mixed[0](ends[0](one)), self.mixed[1](ends[1](two))


@axiom(
    statement="Two networks that compute the same function for all inputs get the same maps.",
    family="exact",
    # On the digits the maps of what holds it are up to 6e-7 apart; of deeplift 0.1, of guided backpropagation
    # 0.5, of deconvnet and lrp 0.9 on average, with captum's the same.
    gate=AtMost(SHARE),
    cites="sundararajan2017",
    reads="of inputs get another map from a network that computes the same function",
    bounds=(0, 1),
    claimed=True,
    rows="shares",
    inputs=INPUTS,
    then=MORE,
)
def implementation_invariance(method: Explainer, subject: Subject, draw: Draw) -> Measurement:
    """1 where a(f, x) and a(g, x) are apart, else 0, for each input.

    g adds a random network to f and subtracts it again, computed in another way (see `TwoWays`, after the
    pair of [sundararajan2017], where DeepLIFT and LRP differ). A pass says that this way of computing makes
    no difference; other ways may.
    """

    def compute(plain: Plain, inputs: Tensor, beside: nn.Module) -> Tensor:
        one, other = beside(inputs)
        found: Tensor = plain(inputs) + one - other
        return found

    return with_network(method, draw, "two ways", TwoWays, compute)
