"""Dead neurons."""

import torch
from torch import Tensor, nn

from xattr_axioms.exact._copies import INPUTS, MORE, SHARE, UNITS, Affine, dense, with_network
from xattr_check.core import AtMost, Draw, Explainer, Measurement, Subject, axiom
from xattr_check.networks.rewrite import Plain


class DeadNeurons(nn.Module):
    """Neurons that no input activates, with random weights to the outputs: (N, *F) to zeros (N, K).

    relu(h − h′ − k − 1) with h = relu(u), h′ the same once more, and k = relu(v): dead for every input, and
    yet alive as soon as h′ is taken away.

    u, v: weights (H, P) and biases (H,); mixing: (K, H).
    """

    def __init__(self, u: Affine, v: Affine, mixing: Tensor) -> None:
        super().__init__()
        self.first = dense(*(torch.cat(parts) for parts in zip(u, u, v, strict=True)))
        one = torch.eye(UNITS).to(mixing)
        self.second = dense(torch.cat([one, -one, -one], dim=1), -torch.ones(UNITS).to(mixing))
        self.last = dense(mixing)
        self.alive, self.dead = nn.ReLU(), nn.ReLU()

    def forward(self, inputs: Tensor) -> Tensor:
        """Zeros (N, K)."""
        found: Tensor = self.last(self.dead(self.second(self.alive(self.first(inputs.flatten(1))))))
        return found


@axiom(
    statement="Neurons that no input activates change no map, whatever their weights.",
    family="exact",
    # The maps of what holds it are the same; of deconvnet they are 0.4 on columns and 0.9 on the digits
    # apart, of deeplift's reveal-cancel rule 0.07.
    gate=AtMost(SHARE),
    cites="khakzar2021",
    reads="of inputs get another map with dead neurons beside the model",
    bounds=(0, 1),
    claimed=True,
    rows="shares",
    inputs=INPUTS,
    then=MORE,
)
def dead_neurons(method: Explainer, subject: Subject, draw: Draw) -> Measurement:
    """1 where a(f, x) and a(g, x) are apart, else 0, for each input; g is f with `DeadNeurons` added.

    A dead neuron contributes nothing (Lemma 1 of [khakzar2021]).
    """

    def compute(plain: Plain, inputs: Tensor, beside: nn.Module) -> Tensor:
        zeros: Tensor = beside(inputs)
        return zeros + plain(inputs)

    return with_network(method, draw, "dead", DeadNeurons, compute)
