"""saliency:NAME and saliency:GradCam@LAYER: the masks of PAIR's saliency, one input at a time."""

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from xattr_adapters._shared import (
    documented,
    expect_layer,
    one_by_one,
    parameters_of,
    quiet,
    taken,
    twin,
    unknown,
)
from xattr_check.core.adapter import import_library
from xattr_check.core.arrays import as_array
from xattr_check.core.layouts import is_image
from xattr_check.core.method import Method
from xattr_check.errors import UsageError
from xattr_check.perturbation.gradients import MEMORY, chunk_size
from xattr_methods._arguments import expect_images
from xattr_methods.activations._watch import layer_named

# They blur, segment, or slide windows over two axes.
IMAGES = {"BlurIG", "XRAI", "Occlusion", "GradCam"}
COMPLETE = {"IntegratedGradients", "GuidedIG"}
FILLED = (
    *("x_value", "call_model_function", "call_model_args", "extra_parameters", "three_dims"),
    *("baselines", "segments", "base_attribution", "kwargs"),
    *(
        "return_baseline_predictions",
        "return_ig_attributions",
        "return_xrai_segments",
        "flatten_xrai_segments",
    ),
)


def adapter(wanted: Any, layer: str | None) -> Method:
    """The method of a mask of saliency.core, by its name, its class or itself. Raises UsageError."""
    core = import_library("saliency.core", "saliency")
    kinds = {
        name: kind
        for name, kind in vars(core).items()
        if isinstance(kind, type) and issubclass(kind, core.CoreSaliency) and kind is not core.CoreSaliency
    }
    if isinstance(wanted, str):
        if wanted not in kinds:
            raise unknown("saliency", wanted, kinds)
        wanted = kinds[wanted]
    kind = wanted if isinstance(wanted, type) else type(wanted)
    if not issubclass(kind, core.CoreSaliency):
        raise UsageError(expected="a mask of saliency.core", came=kind.__name__)
    spec = f"saliency:{kind.__name__}"
    expect_layer(spec, layer, kind.__name__ == "GradCam")
    return _method(core, spec, kind, layer, None if kind is wanted else wanted)


def _method(core: Any, spec: str, kind: Any, layer: str | None, instance: Any) -> Method:
    name = kind.__name__
    details = core.XRAIParameters if name == "XRAI" else None

    def explain(
        model: nn.Module,
        inputs: Tensor,
        targets: Tensor,
        *,
        smoothed: bool = False,
        memory: int = MEMORY,
        seed: int = 0,
        **parameters: Any,
    ) -> Tensor:
        if name in IMAGES:
            expect_images(spec, inputs)
        copied = twin(model)
        chosen = layer_named(copied, layer) if layer else None
        mask = kind() if instance is None else instance
        given = dict(parameters)
        if "batch_size" in inspect.signature(kind.GetMask).parameters:
            given.setdefault("batch_size", chunk_size(model, inputs, memory))
        if details is not None:
            own = taken(details, given)
            given = {key: value for key, value in given.items() if key not in own}
            given["extra_parameters"] = details(**own)
        if name == "GradCam":
            given["three_dims"] = False

        def attribution(inputs: Tensor, targets: Tensor) -> Tensor:
            value = channels_last(inputs)[0]
            asked = dict(given)
            if isinstance(asked.get("x_baseline"), int | float):
                asked["x_baseline"] = np.full_like(value, asked["x_baseline"])
            calls = _calls(core, spec, copied, chosen, inputs, int(targets))
            made = mask.GetSmoothedMask if smoothed else mask.GetMask
            try:
                with quiet():
                    found = np.asarray(made(value, calls, **asked))
            except TypeError as error:
                if "interpolation" not in str(error):
                    raise
                raise ValueError(
                    f"{spec}: this version of saliency calls np.quantile as NumPy {np.__version__} does "
                    "not know it any more; pip install 'numpy<2.4'"
                ) from error
            return channels_first(torch.from_numpy(found).to(inputs), inputs)

        return one_by_one(attribution, inputs, targets, seed)

    also: dict[str, Any] = {"smoothed": False, "memory": MEMORY, "seed": 0}
    sources = [kind.GetSmoothedMask, kind.GetMask, *([details] if details else [])]
    documented(explain, parameters_of(*sources, without=FILLED, also=also), f"PAIR saliency's {name}.")
    return Method(
        name=f"{spec}@{layer}" if layer else spec,
        function=explain,
        claims=frozenset({"completeness"} if name in COMPLETE else ()),
        sensitivity=name == "GradientSaliency",
        needs=frozenset({"image"} if name in IMAGES else ()),
    )


def channels_last(inputs: Tensor) -> Any:
    """Inputs (N, *F) as an array, images as (N, H, W, C)."""
    found = inputs.detach().movedim(1, -1) if is_image(inputs) else inputs.detach()
    return np.ascontiguousarray(as_array(found))


def channels_first(found: Tensor, inputs: Tensor) -> Tensor:
    """The map of one input (1, *F), from (H, W, C), (H, W) or *F."""
    if is_image(inputs):
        found = found.movedim(-1, 0) if found.ndim == 3 else found.unsqueeze(0)
    return found.unsqueeze(0)


def _calls(
    core: Any, spec: str, model: nn.Module, layer: nn.Module | None, like: Tensor, target: int
) -> Callable[..., dict[str, Any]]:
    """What the library calls the model by: outputs and gradients of an array of inputs, under its keys."""

    def call(values: Any, call_model_args: Any = None, expected_keys: Any = ()) -> dict[str, Any]:
        inputs = torch.from_numpy(np.asarray(values)).to(like)
        if is_image(like):
            inputs = inputs.movedim(-1, 1)
        inputs = inputs.contiguous().requires_grad_()
        if layer is None:
            logits, within = model(inputs)[:, target], inputs
        else:
            logits, within = _through(model, layer, inputs, target, spec)
        found: dict[str, Any] = {}
        if core.OUTPUT_LAYER_VALUES in expected_keys:
            found[core.OUTPUT_LAYER_VALUES] = as_array(logits)
        for key in (core.INPUT_OUTPUT_GRADIENTS, core.CONVOLUTION_OUTPUT_GRADIENTS):
            if key in expected_keys:
                found[key] = channels_last(_gradients(spec, logits, within))
        if core.CONVOLUTION_LAYER_VALUES in expected_keys:
            found[core.CONVOLUTION_LAYER_VALUES] = channels_last(within)
        return found

    return call


def _through(
    model: nn.Module, layer: nn.Module, inputs: Tensor, target: int, spec: str
) -> tuple[Tensor, Tensor]:
    """The target's logits, and the output of a layer on the way there."""
    kept: list[Any] = []
    handle = layer.register_forward_hook(lambda module, args, output: kept.append(output))
    try:
        logits = model(inputs)[:, target]
    finally:
        handle.remove()
    if not kept or not isinstance(kept[-1], Tensor) or kept[-1].ndim != 4:
        came = tuple(kept[-1].shape) if kept and isinstance(kept[-1], Tensor) else "no tensor"
        raise ValueError(f"{spec}: expected a layer that returns (N, C, h, w), came {came}")
    return logits, kept[-1]


def _gradients(spec: str, logits: Tensor, within: Tensor) -> Tensor:
    """Gradients of the logits. Raises ValueError where there are none."""
    found = None
    if logits.requires_grad:
        (found,) = torch.autograd.grad(logits.sum(), within, allow_unused=True)
    if found is None:
        raise ValueError(
            f"{spec}: expected a model whose logits have a gradient, came one without; saliency:Occlusion "
            "needs none"
        )
    return found
