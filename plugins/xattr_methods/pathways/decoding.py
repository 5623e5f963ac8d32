"""What a pathway has encoded of its input."""

import math

import torch
from torch import Tensor, nn

from xattr_check.core.outputs import score
from xattr_check.perturbation.gradients import MEMORY, in_chunks
from xattr_methods._arguments import expect_above, expect_at_least, expect_images
from xattr_methods.pathways._neurons import activations_of, call_by_call, flat, gated
from xattr_methods.pathways.selection import Pathways

# Of the first noise, and what half of the range is to the sigmoid, as of images in [olah2017].
DEVIATION, CONTRAST = 0.01, 4.0
SHIFT = 16 / 224  # of a side, by which an image is moved at most


class Spectrum:
    """Images (n, C, H, W) between bounds from their frequencies, the higher the slower to change. [olah2017]

    low, high: (n, C, 1, 1).
    """

    def __init__(self, low: Tensor, high: Tensor, sides: tuple[int, int], seed: int) -> None:
        height, width = sides
        down, across = torch.fft.fftfreq(height), torch.fft.rfftfreq(width)
        frequency = (down[:, None] ** 2 + across**2).sqrt().clamp_min(1 / max(sides))
        self.scale = (math.sqrt(height * width) / frequency).to(low)
        self.low, self.high, self.sides = low, high, sides
        generator = torch.Generator().manual_seed(seed)
        # Alike for all inputs, so that no image depends on the other inputs of its batch.
        noise = torch.randn(low.shape[1], *frequency.shape, 2, generator=generator, dtype=torch.float64)
        self.parts = DEVIATION * noise.to(low).repeat(len(low), 1, 1, 1, 1)

    def images(self) -> Tensor:
        """The images, differentiable in `parts`."""
        spectrum = torch.view_as_complex(self.parts) * self.scale
        shares = (torch.fft.irfft2(spectrum, s=self.sides) / CONTRAST).sigmoid()
        return torch.lerp(self.low, self.high, shares)


def decoded(
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    pathways: Pathways,
    *,
    iterations: int = 256,
    rate: float = 0.05,
    seed: int = 0,
    memory: int = MEMORY,
) -> Tensor:
    """Images (N, C, H, W) that make the target's output largest with only a pathway's neurons let through.

    pathways: of these inputs; every other neuron is multiplied by 0. Nothing of the input is in it but its
    pathway, and the range of each channel, within which the image stays. [khakzar2021], Sec. 3.4, at 0.98.

    iterations, rate: of Adam, on frequencies, as the image is moved to and fro by up to a fourteenth of its
    sides [olah2017]. seed: of the first noise and of the moves, the same for all inputs. memory: bytes of one
    chunk. Raises ValueError for inputs that are not images, for the pathways of others, and for other
    parameters.
    """
    expect_images("decoded", inputs)
    expect_at_least("decoded", 1, iterations=iterations)
    expect_above("decoded", 0, rate=rate)
    if len(pathways) != len(inputs):
        raise ValueError(f"decoded: expected the pathways of {len(inputs)} inputs, came {len(pathways)}")
    if not len(inputs):  # of which there is no Fourier transform
        return torch.zeros_like(inputs)
    height, width = inputs.shape[2:]
    reach = torch.tensor([max(1, round(SHIFT * side)) for side in (height, width)])
    generator = torch.Generator().manual_seed(seed)
    shifts = (torch.rand(iterations, 2, generator=generator) * (2 * reach + 1)).floor().long() - reach

    def decode(some: Tensor, wanted: Tensor, chosen: Tensor) -> Tensor:
        found = activations_of(model, some, "decoded")
        if chosen.shape[1] != (neurons := flat(found, len(some)).shape[1]):
            raise ValueError(
                f"decoded: expected pathways through the model's {neurons} neurons for these inputs, "
                f"came ones through {chosen.shape[1]}"
            )
        gates = call_by_call(chosen.to(some), found)
        spectrum = Spectrum(
            some.amin((2, 3), keepdim=True), some.amax((2, 3), keepdim=True), (height, width), seed
        )
        spectrum.parts.requires_grad_()
        descent = torch.optim.Adam([spectrum.parts], lr=rate)
        for shift in shifts.tolist():
            moved = spectrum.images().roll(shift, (2, 3))
            with gated(gates):
                # Each input has an output of its own; one backward pass serves them all.
                loss = -score(model(moved), wanted).sum()
            (spectrum.parts.grad,) = torch.autograd.grad(loss, spectrum.parts)
            descent.step()
        return spectrum.images().detach()

    return in_chunks(decode, model, inputs, targets, memory, flat(pathways.neurons, len(pathways)))
