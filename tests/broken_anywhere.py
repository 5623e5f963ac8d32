"""Attribution methods with one defect each, on inputs of any layout, and the layouts where each makes sense.

Most spoil the maps of a right method, which is asked as it would be on the subject. `broken_on` gives those
of a subject; the defects of images alone are in `broken_methods`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import wraps
from typing import Any

import torch
from torch import Tensor, nn

import xattr_check
from xattr_check import Subject
from xattr_check.core.layouts import Layout
from xattr_check.core.method import Method
from xattr_check.networks.layers import copied, weights_of
from xattr_check.storage.digest import derive_seed, digest_model, digest_rows

RIGHT = "integrated_gradients"
LAYOUTS = frozenset({"image", "columns", "signal", "volume", "embeddings", "tokens"})


@dataclass(frozen=True)
class Asked:
    """What a broken method is asked for.

    right: (model, inputs, targets) -> the maps (N, *F) of a right method, with all that it asks for by name.
    """

    model: nn.Module
    inputs: Tensor
    targets: Tensor
    subject: Subject
    right: Callable[[nn.Module, Tensor, Tensor], Tensor]

    @property
    def layout(self) -> Layout:
        return self.subject.layout

    @property
    def maps(self) -> Tensor:
        """(N, *F): what is right."""
        return self.right(self.model, self.inputs, self.targets)

    @property
    def by_feature(self) -> Tensor:
        """(N, *spatial): what is right of each feature, over its channels."""
        return self.layout.scores(self.maps).unflatten(1, self.layout.spatial)

    def as_map(self, scores: Tensor) -> Tensor:
        """(N, *map_shape) of scores (N, *spatial)."""
        return self.layout.maps(scores).to(self.inputs)

    @property
    def magnitudes(self) -> Tensor:
        """(N, *spatial): how large the numbers of each feature are, which asks no model."""
        return self.layout.by_feature(self.inputs).norm(dim=2).unflatten(1, self.layout.spatial)

    @property
    def probability(self) -> Tensor:
        """(N, 1, …): the target's, to multiply (N, *spatial)."""
        with torch.no_grad():
            found = self.subject.output.probability(self.model(self.inputs), self.targets)
        return found.reshape(-1, *[1] * len(self.layout.spatial)).to(self.inputs)


@dataclass(frozen=True)
class Broken:
    """A defect, on any subject.

    layouts: where it is one. by: the check that names it. needs: what a subject must offer besides.
    of: the right method that is spoilt.
    """

    explain: Callable[[Asked], Tensor]
    layouts: frozenset[str]
    by: str
    needs: frozenset[str] = frozenset()
    of: str = RIGHT

    def fits(self, subject: Subject) -> bool:
        """Whether it is wrong on that subject."""
        several = subject.examination.outputs > 1
        channels = subject.layout.channels is not None and subject.layout.shape[subject.layout.channels] > 1
        offers = subject.offers | ({"targets"} if several else set()) | ({"channels"} if channels else set())
        return subject.layout.name in self.layouts and self.needs <= offers

    def on(self, name: str, subject: Subject) -> Method:
        """The method as it is judged on a subject; claims nothing."""
        right = xattr_check.methods()[self.of]

        @wraps(right.function)
        def explain(model: nn.Module, inputs: Tensor, targets: Tensor, **given: Any) -> Tensor:
            def maps(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
                return right.function(model, inputs, targets, **given)

            return self.explain(Asked(model, inputs, targets, subject, maps))

        return replace(right, name=name, function=explain, claims=frozenset())


BROKEN: dict[str, Broken] = {}


def on(*layouts: str, by: str, needs: tuple[str, ...] = (), of: str = RIGHT) -> Callable[..., Any]:
    """Enter a defect under the layouts where it is one, and the check that names it."""

    def enter(explain: Callable[[Asked], Tensor]) -> Callable[[Asked], Tensor]:
        BROKEN[explain.__name__] = Broken(explain, frozenset(layouts), by, frozenset(needs), of)
        return explain

    return enter


def broken_on(subject: Subject) -> Iterator[Method]:
    """The broken methods that are wrong on a subject."""
    for name, one in BROKEN.items():
        if one.fits(subject):
            yield one.on(name, subject)


@on(*LAYOUTS, by="sensitivity_n")
def negated(asked: Asked) -> Tensor:
    """Evidence against the target, as for it."""
    return -asked.maps


@on(*LAYOUTS, by="sensitivity_n", needs=("targets",))
def another_target(asked: Asked) -> Tensor:
    """Explains target + 1."""
    with torch.no_grad():
        outputs = asked.model(asked.inputs).shape[1]
    return asked.right(asked.model, asked.inputs, (asked.targets + 1) % outputs)


@on(*LAYOUTS, by="sensitivity_n")
def moved(asked: Asked) -> Tensor:
    """Each feature is given what belongs to one before it, a quarter of the last axis away or next to it."""
    axis = asked.layout.ranked[-1]
    by = 1 if asked.layout.window == 1 else asked.layout.spatial[-1] // 4
    return asked.maps.roll(by, axis)


@on(*LAYOUTS - {"columns"}, by="aligned")
def displaced(asked: Asked) -> Tensor:
    """Each feature is given what belongs to the one before it along the last axis."""
    return asked.maps.roll(1, asked.layout.ranked[-1])


@on(*LAYOUTS, by="sensitivity_n")
def reversed_along_the_last(asked: Asked) -> Tensor:
    """From the end to the start: backwards in time, mirrored, the last column first."""
    return asked.layout.mirrored(asked.maps)


@on("image", "volume", by="sensitivity_n")
def transposed(asked: Asked) -> Tensor:
    """Rows for columns; the sides of inputs are the same."""
    return asked.as_map(asked.by_feature.transpose(-1, -2))


@on("signal", "volume", "image", "embeddings", "tokens", by="sensitivity_n", needs=("channels",))
def channel_for_position(asked: Asked) -> Tensor:
    """Sums over the features and not over the channels, and spreads what it has over the features."""
    channels = asked.layout.by_feature(asked.maps).sum(1)
    count = asked.layout.scores(asked.maps).shape[1]
    places = torch.arange(count) * channels.shape[1] // count
    return asked.as_map(channels[:, places])


@on(*LAYOUTS, by="sensitivity_n")
def one_number_for_all(asked: Asked) -> Tensor:
    """The sum of the map, everywhere."""
    total = asked.by_feature.flatten(1).mean(1)
    return asked.as_map(total.reshape(-1, *[1] * len(asked.layout.spatial)).expand_as(asked.by_feature))


@on(*LAYOUTS, by="deterministic")
def drawn_at_every_call(asked: Asked) -> Tensor:
    """Noise, another one at every call."""
    generator = torch.Generator()
    generator.seed()
    return asked.as_map(torch.randn(asked.by_feature.shape, generator=generator))


@on(*LAYOUTS, by="sensitivity_n")
def noise_for_the_model(asked: Asked) -> Tensor:
    """Noise of each input's own, that other weights make another one."""
    weights, shape = digest_model(asked.model), asked.layout.spatial
    seeds = [derive_seed(weights, row) for row in digest_rows(asked.inputs)]
    noise = [torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    return asked.as_map(torch.stack(noise))


@on(*LAYOUTS, by="parameter_randomization")
def magnitude_in_disguise(asked: Asked) -> Tensor:
    """How large a feature's numbers are, an embedding's norm, times noise and the target's probability."""
    noise = 1 + 0.1 * torch.randn(asked.layout.spatial, generator=torch.Generator().manual_seed(0))
    return asked.as_map(asked.magnitudes * (0.5 + asked.probability) * noise)


@on(*LAYOUTS, by="insertion", of="gradient")
def magnitude_of_a_random_twin(asked: Asked) -> Tensor:
    """The magnitude of the gradient of a network whose weights are in another order."""
    twin, generator = copied(asked.model), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in weights_of(twin).values():
            order = torch.randperm(weight.numel(), generator=generator)
            weight.copy_(weight.flatten()[order].reshape(weight.shape))
    return asked.right(twin, asked.inputs, asked.targets).abs()


@on(*LAYOUTS, by="parameter_randomization", needs=("accuracy",))
def filtered(asked: Asked) -> Tensor:
    """What a filter method selects by: how each number goes with the label, times its value and the logit."""
    rows = asked.subject.inputs
    centred = (rows - rows.mean(0)) / rows.std(0).clamp_min(1e-6)
    labels = (asked.subject.targets[:, None] == asked.targets).float()
    labels = (labels - labels.mean(0)) / labels.std(0).clamp_min(1e-6)
    correlation = torch.einsum("nk,n...->k...", labels, centred) / len(rows)
    maps = correlation * (asked.inputs - rows.mean(0)) / rows.std(0).clamp_min(1e-6)
    return asked.as_map(asked.layout.scores(maps).reshape(asked.by_feature.shape) * (0.5 + asked.probability))


@on("tokens", by="sensitivity_n")
def padding_ranked(asked: Asked) -> Tensor:
    """As if a text stood behind its padding."""
    valid = asked.subject.valid
    if valid is None:
        return asked.maps
    lengths = valid[asked.subject.locate(asked.inputs)].sum(1).tolist()
    pairs = zip(asked.maps, lengths, strict=True)
    return torch.stack([one.roll(len(one) - length, 0) for one, length in pairs])
