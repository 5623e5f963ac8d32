"""Writes docs/agreement.md: our methods beside those of captum, zennit, pytorch-grad-cam, saliency and shap.

    pip install -e '.[peers]'
    python docs/make/agreement.py [--write docs/agreement.md]

Three networks in float64 with random weights, so that what differs is the method and not its rounding. Two
minutes on one core.
"""

import argparse
import itertools
import re
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch
from pages import DOCS, Stamp, write
from torch import Tensor, nn
from torch.nn import functional

from xattr_check import Subject, load_method
from xattr_check.core.context import rows as in_rows
from xattr_check.perturbation.gradients import MEMORY
from xattr_methods import gradient, integrated_gradients, lrp
from xattr_methods.activations._watch import activation_and_gradient
from xattr_methods.activations.fullgrad import full_gradients
from xattr_methods.relevance._rules import Rules, propagate

Case = tuple[nn.Module, Tensor, Tensor]
# Of a network, its inputs and targets, and the layer explained.
Remedy = Callable[[nn.Module, Tensor, Tensor, str], Tensor]
PACKAGES = ("captum", "zennit", "grad-cam", "saliency", "shap")
ALIKE = 1e-4  # what needs no explanation
DRAWS = 6  # seeds of a method that samples


def plain() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(8, 12, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(12, 12, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2)),
        *(nn.Flatten(), nn.Linear(192, 5)),
    )


def residual() -> nn.Module:
    from torchvision.models.resnet import BasicBlock, ResNet

    return ResNet(BasicBlock, [1, 1, 1, 1], num_classes=5)


def columns() -> nn.Module:
    return nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 5))


def case(make: Callable[[], nn.Module], shape: tuple[int, ...]) -> Case:
    """A network with random weights and BatchNorm statistics, four inputs, and their targets."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = make()
        with torch.no_grad():
            for module in model.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.running_mean.normal_(0, 0.2)
                    module.bias.normal_(0, 0.2)
                    module.running_var.uniform_(0.5, 1.5)
                    module.weight.uniform_(0.5, 1.5)
        inputs = torch.randn(4, *shape)
    return model.double().eval(), inputs.double(), torch.tensor([0, 3, 1, 4])


LAYERS = {"plain": "5", "residual": "layer1", "MLP": ""}


def of_31_steps(model: nn.Module, inputs: Tensor, targets: Tensor, layer: str) -> Tensor:
    """The trapezoid rule with weights that add up to 31/32."""
    return integrated_gradients(model, inputs, targets, steps=32, quadrature="trapezoid") * 31 / 32


def full_ends(model: nn.Module, inputs: Tensor, targets: Tensor, layer: str) -> Tensor:
    """The mean gradient at 32 points, both ends among them."""
    points = [gradient(model, inputs * share, targets) for share in torch.linspace(0, 1, 32).double()]
    return inputs * torch.stack(points).mean(0)


def cells_of(model: nn.Module, inputs: Tensor, targets: Tensor, layer: str) -> tuple[Tensor, Tensor]:
    """The activation of a layer, and the gradient of the target's logit there."""
    return activation_and_gradient(model, inputs, targets, layer, -1)


def mirrored(model: nn.Module, inputs: Tensor, targets: Tensor, layer: str) -> Tensor:
    """GradCAM enlarged by scikit-image."""
    from skimage.transform import resize

    activation, gradients = cells_of(model, inputs, targets, layer)
    cells = (gradients.mean((2, 3), keepdim=True) * activation).sum(1).clamp_min(0)
    large = [torch.from_numpy(resize(one.numpy(), inputs.shape[2:])) for one in cells]
    return torch.stack(large).unsqueeze(1)


def with_a_constant(model: nn.Module, inputs: Tensor, targets: Tensor, layer: str) -> Tensor:
    """GradCAM++ with 1e-6 in the denominator."""
    activation, gradients = cells_of(model, inputs, targets, layer)
    total = activation.sum((2, 3), keepdim=True)
    shares = gradients**2 / (2 * gradients**2 + total * gradients**3 + 1e-6)
    weights = (shares * gradients.clamp_min(0)).sum((2, 3), keepdim=True)
    cells = scaled((weights * activation).sum(1, keepdim=True).clamp_min(0))
    return functional.interpolate(cells, size=inputs.shape[2:], mode="bilinear")


def channel_by_channel(model: nn.Module, inputs: Tensor, targets: Tensor, layer: str) -> Tensor:
    """FullGrad that scales each channel from 0 to 1."""
    terms = full_gradients(model, inputs, targets)
    large = [
        functional.interpolate(scaled(term.abs()), size=inputs.shape[2:], mode="bilinear").sum(
            1, keepdim=True
        )
        for term in (terms.input, *terms.biases)
        if term.ndim == 4
    ]
    return torch.stack(large).sum(0)


def signed_sums(model: nn.Module, inputs: Tensor, targets: Tensor, layer: str) -> Tensor:
    """Excitation backpropagation with additions in proportion to signed values."""
    rules = Rules("zplus", "zplus", "epsilon", first="shifted", bias=False, epsilon=1e-12, low=0.0)
    probability = nn.Sequential(model)
    logits = model(inputs).gather(1, targets[:, None]).detach().reshape(-1, *[1] * (inputs.ndim - 1))
    return propagate("excitation_backprop", probability, inputs, targets, rules, MEMORY) / logits


def dense_epsilon(model: nn.Module, inputs: Tensor, targets: Tensor, layer: str) -> Tensor:
    """The box for a first convolution alone."""
    composite = "epsilon_gamma_box" if inputs.ndim == 4 else "epsilon_gamma"
    return lrp(model, inputs, targets, composite=composite, epsilon=1e-12)


def windows_inside(model: nn.Module, inputs: Tensor, targets: Tensor, layer: str) -> Tensor:
    """Occlusion by windows that are inside of the input."""
    size, step = (8, 4) if inputs.ndim == 4 else (4, 2)
    total = torch.zeros_like(inputs)
    covered = torch.zeros_like(inputs)
    with torch.no_grad():
        whole = model(inputs).gather(1, targets[:, None])
        starts = range(0, inputs.shape[-1] - size + 1, step)
        for corner in itertools.product(starts, repeat=inputs.ndim // 2):
            inside = torch.zeros_like(inputs)
            inside[..., *(slice(start, start + size) for start in corner)] = 1
            drop = whole - model(inputs * (1 - inside)).gather(1, targets[:, None])
            total += inside * drop.reshape(-1, *[1] * (inputs.ndim - 1))
            covered += inside
    return total / covered


@dataclass(frozen=True)
class Pair:
    """Two specs that should give the same maps.

    images, columns: whether there is something to compare; as text, the parameters of both in place of those
        for images. layer: in the plain network, and in the residual one.
    scaled: compare maps from 0 to 1, as the peer returns them. repeated: the peer gives a region's value to
    each of its pixels, over which ours is spread. positive: compare on inputs without their signs.
    sampled: over seeds, in units of their standard error. complete: measure the gap of completeness.
    why: what is different, and who is right. remedy: what makes the peer's maps, or the like of ours, by that
        explanation alone, so that the table shows what remains.
    """

    ours: str
    theirs: str
    why: str = ""
    images: bool = True
    columns: tuple[str, str] | bool = True
    scaled: bool = False
    repeated: bool = False
    positive: bool = False
    sampled: bool = False
    complete: bool = False
    remedy: Remedy | None = None


GRID = "regions=grid&cells=2"
PAIRS = (
    Pair("gradient", "captum:Saliency?abs=false"),
    Pair("gradient", "saliency:GradientSaliency"),
    Pair("input_x_gradient", "captum:InputXGradient"),
    Pair(
        "integrated_gradients?steps=32&quadrature=gauss_legendre",
        "captum:IntegratedGradients?n_steps=32",
        complete=True,
    ),
    Pair(
        "integrated_gradients?steps=32",
        "captum:IntegratedGradients?n_steps=32&method=riemann_middle",
        complete=True,
    ),
    Pair(
        "integrated_gradients?steps=32&quadrature=trapezoid",
        "captum:IntegratedGradients?n_steps=32&method=riemann_trapezoid",
        "captum's weights add up to 31/32 and not to 1: its map is that much too small, which the gap shows. "
        "Ours is the trapezoid rule.",
        complete=True,
        remedy=of_31_steps,
    ),
    Pair(
        "integrated_gradients?steps=32&quadrature=trapezoid",
        "saliency:IntegratedGradients?x_steps=32",
        "saliency averages all points, so that both ends count fully and not half; the two meet as steps "
        "grow.",
        complete=True,
        remedy=full_ends,
    ),
    Pair(
        "smoothgrad?samples=64&noise=0.1",
        "saliency:GradientSaliency?smoothed=true&stdev_spread=0.1&nsamples=64&magnitude=false",
        sampled=True,
    ),
    Pair(
        "smoothgrad_squared?samples=64&noise=0.1",
        "saliency:GradientSaliency?smoothed=true&stdev_spread=0.1&nsamples=64&magnitude=true",
        sampled=True,
    ),
    Pair("deconvnet", "captum:Deconvolution"),
    Pair("deconvnet", "zennit:DeconvNet?canonize=false"),
    Pair("guided_backprop", "captum:GuidedBackprop"),
    Pair("guided_backprop", "zennit:GuidedBackprop?canonize=false"),
    Pair("guided_gradcam?layer=LAYER", "captum:GuidedGradCam@LAYER", columns=False),
    Pair("gradcam?layer=LAYER", "captum:LayerGradCam@LAYER?relu_attributions=true", columns=False),
    Pair("gradcam?layer=LAYER", "pytorch_grad_cam:GradCAM@LAYER", columns=False, scaled=True),
    Pair(
        "gradcam?layer=LAYER",
        "saliency:GradCam@LAYER",
        "Both enlarge bilinearly; beyond the outermost cells saliency mirrors the map, and ours, like captum "
        "and pytorch-grad-cam, repeats its border. Neither is in the paper.",
        remedy=mirrored,
        columns=False,
        scaled=True,
    ),
    Pair(
        "gradcam_plus_plus?layer=LAYER",
        "pytorch_grad_cam:GradCAMPlusPlus@LAYER",
        "pytorch-grad-cam adds 1e-6 to the denominator 2g² + Σa g³ of the weights, which is of that size "
        "here; ours leaves the quotient as eq. 19 of the paper has it, and takes 0 where g is 0.",
        remedy=with_a_constant,
        columns=False,
        scaled=True,
    ),
    Pair(
        "fullgrad",
        "pytorch_grad_cam:FullGrad",
        "pytorch-grad-cam scales every channel of a layer from 0 to 1 by itself, which makes all channels "
        "equally important; the authors' ψ, and ours, scales a layer as a whole.",
        remedy=channel_by_channel,
        columns=False,
        scaled=True,
    ),
    Pair(
        "deeplift",
        "captum:DeepLift",
        "Where a MaxPool follows a ReLU captum's map is another one, and with other baselines it does not "
        "add up to the change of the logit (below), against summation to delta, eq. 1 of the paper. shap's "
        "DeepExplainer gives what ours does. captum refuses a ReLU that is used twice.",
        complete=True,
    ),
    Pair(
        "deeplift",
        "shap:DeepExplainer",
        "shap puts hooks of modules on ReLUs in place, which torch refuses.",
        complete=True,
    ),
    Pair(
        "expected_gradients?samples=64", "shap:GradientExplainer?nsamples=64&background=noise", sampled=True
    ),
    Pair(
        "lrp?rule=epsilon&epsilon=1e-9",
        "captum:LRP",
        "captum has no rule for an addition and gives a BatchNorm the ε rule of a layer of its own, whose "
        "denominators may vanish: relevance explodes, while ε-LRP of the merged layer (ours, and zennit's "
        "below) keeps its sum. captum refuses `Flatten`.",
    ),
    Pair(
        "lrp?epsilon=1e-12",
        "zennit:EpsilonPlus?epsilon=1e-12&stabilizer=1e-12",
    ),
    Pair(
        "lrp?composite=epsilon_plus_flat&epsilon=1e-12",
        "zennit:EpsilonPlusFlat?epsilon=1e-12&stabilizer=1e-12",
    ),
    Pair(
        "lrp?composite=epsilon_alphabeta&epsilon=1e-12",
        "zennit:EpsilonAlpha2Beta1?epsilon=1e-12&stabilizer=1e-12",
    ),
    Pair(
        "lrp?composite=epsilon_gamma_box&epsilon=1e-12",
        "zennit:EpsilonGammaBox?epsilon=1e-12&stabilizer=1e-12",
        "To zennit the box is for a first convolution, to us for any layer that reads the input.",
        remedy=dense_epsilon,
    ),
    Pair(
        "excitation_backprop?low=0",
        "zennit:ExcitationBackprop?zero_params=bias&stabilizer=1e-12",
        "zennit shares at an addition in proportion to signed values, so that a branch that is negative "
        "there gets a negative probability and the other one more than all; ours shares by the positive "
        "parts, as eq. 5 of the paper does for layers.",
        remedy=signed_sums,
        positive=True,
    ),
    Pair(
        "occlusion?window=4&stride=4",
        "captum:Occlusion?sliding_window_shapes=4&strides=4",
        columns=("window=1&stride=1", "sliding_window_shapes=1&strides=1"),
    ),
    Pair(
        "occlusion?window=8&stride=4",
        "captum:Occlusion?sliding_window_shapes=8&strides=4",
        "Our windows start outside of the image, so that its borders are covered as often as its middle; "
        "captum's start inside.",
        remedy=windows_inside,
        columns=("window=4&stride=2", "sliding_window_shapes=4&strides=2"),
    ),
    Pair(
        "occlusion?regions=grid&cells=4",
        "captum:FeatureAblation?feature_mask=4",
        columns=("", ""),
    ),
    Pair(f"shapley?{GRID}", "captum:ShapleyValues?feature_mask=2", columns=False, repeated=True),
    Pair("shapley", "shap:ExactExplainer", images=False, complete=True),
    Pair(
        f"kernel_shap?{GRID}",
        "captum:KernelShap?feature_mask=2&n_samples=100",
        columns=("", "n_samples=100"),
        repeated=True,
        sampled=True,
    ),
    Pair("kernel_shap", "shap:KernelExplainer", images=False, complete=True),
    Pair(
        f"lime?{GRID}",
        "captum:Lime?feature_mask=2&n_samples=100",
        "captum weights its samples by the cosine of the perturbed inputs, with width 1, and fits a lasso; "
        "ours by which regions are present, with width ¼, and fits a ridge to all of them, as the last step "
        "of the authors' code does; the paper's sparse model of K regions is `features=K`.",
        columns=("", "n_samples=100"),
        repeated=True,
        sampled=True,
    ),
)


def maps(spec: str, given: Case, seeds: int = 1) -> Tensor:
    """(seeds, N, *F)."""
    found = [load_method(spec)]
    if seeds > 1:
        separator = "&" if "?" in spec else "?"
        found = [load_method(f"{spec}{separator}seed={seed}") for seed in range(seeds)]
    return torch.stack([method(*given) for method in found])


def scaled(values: Tensor) -> Tensor:
    low, high = values.amin((-2, -1), keepdim=True), values.amax((-2, -1), keepdim=True)
    return (values - low) / torch.where(high > low, high - low, 1)


def gap(values: Tensor, given: Case) -> float:
    """Largest distance of the sums of maps (N, *F) from the change of the logit, over the largest change."""
    model, inputs, targets = given
    with torch.no_grad():
        change = (model(inputs) - model(torch.zeros_like(inputs))).gather(1, targets[:, None]).squeeze(1)
    return float((values.flatten(1).sum(1) - change).abs().max() / change.abs().max())


def specs(pair: Pair, network: str) -> tuple[str, str] | None:
    """The two specs for a network, None where there is nothing to compare."""
    if network != "MLP":
        layer = LAYERS[network]
        found = (f"xattr:{pair.ours}", pair.theirs)
        return tuple(spec.replace("LAYER", layer) for spec in found) if pair.images else None
    if not pair.columns:
        return None
    if pair.columns is True:
        return f"xattr:{pair.ours}", pair.theirs
    heads = (f"xattr:{pair.ours}".partition("?")[0], pair.theirs.partition("?")[0])
    return tuple(f"{head}?{rest}" if rest else head for head, rest in zip(heads, pair.columns, strict=True))


def compared(pair: Pair, network: str, given: Case) -> tuple[str, str]:
    """The largest relative difference, or what was refused, and the gaps of completeness."""
    names = specs(pair, network)
    if names is None:
        return "", ""
    if pair.positive:
        given = (given[0], given[1].abs(), given[2])
    ours = maps(names[0], given, DRAWS if pair.sampled else 1)
    try:
        theirs = maps(names[1], given, DRAWS if pair.sampled else 1)
    except Exception:
        return "refused", ""
    if theirs.shape[2] == 3 and ours.shape[2] == 1:  # each channel is given the same
        theirs = theirs[:, :, :1]
    if pair.repeated and network != "MLP":
        theirs = theirs / (ours.shape[-1] // 2) ** 2
    gaps = ""
    if pair.complete:
        gaps = " / ".join(f"{gap(one[0], given):.0e}" for one in (ours, theirs))
    if pair.scaled:
        ours, theirs = scaled(ours), scaled(theirs)
    if pair.sampled:
        variance = (ours.var(0) + theirs.var(0)) / DRAWS
        excess = ((ours.mean(0) - theirs.mean(0)) ** 2).sum() / variance.sum()
        return f"{float(excess.sqrt()):.2f} s.e.", gaps
    difference = relative(ours[0], theirs[0])
    if alike(difference) or pair.remedy is None:
        return difference, gaps
    remedied = pair.remedy(*given, LAYERS[network])
    if pair.scaled:
        remedied = scaled(remedied)
    return f"{difference} → {relative(remedied, theirs[0])}", gaps


def relative(ours: Tensor, theirs: Tensor) -> str:
    size = ours.flatten(1).abs().amax(1).clamp_min(1e-300)
    return f"{float(((ours - theirs).flatten(1).abs().amax(1) / size).max()):.0e}"


def cell(spec: str) -> str:
    head, _, rest = spec.partition("?")
    return f"`{head}`" + (f"<br>`{rest}`" if rest else "")


def rows(networks: dict[str, Case]) -> Iterator[str]:
    yield "| ours | theirs | " + " | ".join(networks) + " | gap, ours / theirs | |"
    yield "|---" * (len(networks) + 4) + "|"
    for pair in PAIRS:
        started = time.perf_counter()
        found = [compared(pair, name, given) for name, given in networks.items()]
        print(f"{time.perf_counter() - started:5.1f} s  {pair.ours}  {pair.theirs}", file=sys.stderr)
        differences = [difference for difference, _ in found]
        gap = next((gap for _, gap in found if gap), "")
        large = [one for one in differences if one and not alike(one)]
        if large and not pair.why:
            warnings.warn(f"{pair.ours} and {pair.theirs} differ, {large}, and nobody says why", stacklevel=1)
        why = pair.why if large else ""
        yield f"| {cell(pair.ours)} | {cell(pair.theirs)} | " + " | ".join([*differences, gap, why]) + " |"


def alike(difference: str) -> bool:
    number = re.match(r"[\d.e+-]+(?= s\.e\.)", difference)
    if number:
        return float(number[0]) < 2
    return difference != "refused" and "→" not in difference and float(difference) <= ALIKE


def pooled() -> Iterator[str]:
    """What DeepLIFT makes of a ReLU and a MaxPool over four numbers, by three libraries."""
    model = nn.Sequential(nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(1, 2, bias=False)).double()
    nn.init.ones_(model[-1].weight)
    point, start = ([0.7, 0.3, 0.1, 0.6], [-0.5, -0.2, -1.5, 0.4])
    inputs, baseline = (torch.tensor(values).double().reshape(1, 1, 2, 2) for values in (point, start))
    yield f"`max(relu(x))` of x = {point}, from x = {start}; the output changes from 0.4 to 0.7, by 0.3:"
    yield ""
    yield "| | map | sum |"
    yield "|---|---|---|"
    from captum.attr import DeepLift
    from shap import DeepExplainer

    from xattr_methods import deeplift

    target = torch.tensor([0])
    found = {
        "xattr:deeplift": deeplift(model, inputs, target, baseline=baseline),
        "shap:DeepExplainer": torch.as_tensor(DeepExplainer(model, baseline).shap_values(inputs)[..., 0]),
        "captum:DeepLift": DeepLift(model).attribute(inputs, baselines=baseline, target=target),
    }
    for name, values in found.items():
        numbers = ", ".join(f"{value + 0:.2f}" for value in values.detach().flatten().tolist())
        yield f"| `{name}` | {numbers} | {float(values.detach().sum()):.2f} |"


class Texts(nn.Module):
    """A block of a transformer over words: ids (N, T) -> (N, 3)."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, 8)
        self.block = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, activation="gelu", batch_first=True)
        self.classifier = nn.Linear(8, 3)

    def forward(self, ids: Tensor) -> Tensor:
        found: Tensor = self.classifier(self.block(self.embedding(ids)).mean(1))
        return found


def of_texts() -> Iterator[str]:
    """Maps of texts, by methods that a subject is given, beside captum's on the model of ids itself."""
    from captum.attr import FeatureAblation, LayerGradientXActivation, LayerIntegratedGradients, ShapleyValues

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Texts().double().eval()
        ids, targets = torch.randint(1, 20, (4, 5)), torch.tensor([0, 2, 1, 2])
    subject = Subject(
        "texts", model, ids, targets, embedding="embedding", absence=0, output="classes", layout="tokens"
    )
    none = torch.zeros_like(ids)
    by_steps = {"n_steps": 32, "method": "riemann_middle", "baselines": none}
    theirs = {
        "LayerIntegratedGradients": (LayerIntegratedGradients(model, model.embedding), by_steps),
        "LayerGradientXActivation": (LayerGradientXActivation(model, model.embedding), {}),
        "FeatureAblation": (FeatureAblation(model), {"baselines": none}),
        "ShapleyValues": (ShapleyValues(model), {"baselines": none}),
    }
    ours = {
        "integrated_gradients?steps=32": "LayerIntegratedGradients",
        "input_x_gradient": "LayerGradientXActivation",
        "occlusion": "FeatureAblation",
        "shapley": "ShapleyValues",
    }
    yield "| ours | captum, on ids | difference |"
    yield "|---|---|---|"
    for spec, name in ours.items():
        method, (library, given) = load_method(f"xattr:{spec}").bind(subject), theirs[name]
        with in_rows(torch.arange(len(ids))):
            found = subject.layout.scores(method(subject.model, subject.inputs, targets))
        values = library.attribute(ids, target=targets, **given).detach()
        difference = relative(found, values.reshape(*ids.shape, -1).sum(2))
        if not alike(difference):
            warnings.warn(f"{spec} and {name} differ on texts by {difference}", stacklevel=1)
        yield f"| {cell(spec)} | `{name}` | {difference} |"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", type=Path, default=DOCS / "agreement.md")
    arguments = parser.parse_args()
    stamp = Stamp.now("agreement")
    networks = {
        "plain": case(plain, (3, 16, 16)),
        "residual": case(residual, (3, 32, 32)),
        "MLP": case(columns, (10,)),
    }
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="captum|shap|saliency|pytorch_grad_cam|torch|zennit")
        table, small = "\n".join(rows(networks)), "\n".join(pooled())
        texts = "\n".join(of_texts())
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    write(arguments.write, "agreement", stamp, table=table, pooled=small, texts=texts, packages=packages)


if __name__ == "__main__":
    main()
