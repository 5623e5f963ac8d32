"""pytorch_grad_cam:NAME and pytorch_grad_cam:NAME@LAYER: the class activation maps of pytorch-grad-cam."""

import inspect
import io
from contextlib import redirect_stderr, redirect_stdout
from typing import Any

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
from xattr_check.core.method import Method
from xattr_check.errors import UsageError
from xattr_check.perturbation.gradients import MEMORY, chunk_size, in_chunks
from xattr_methods._arguments import expect_images
from xattr_methods.activations._watch import last_spatial_layer, layer_named

PIP = "grad-cam"
# They draw numbers, start an iteration at random, hold the inputs times the channels, or take one target.
ALONE = {"RandomCAM", "KPCA_CAM", "ScoreCAM", "AblationCAM", "FinerCAM"}
LAYERLESS = {"FullGrad"}
FILLED = ("target_layers", "reshape_transform", "ablation_layer", "base_method", "input_tensor", "target_idx")


def adapter(wanted: Any, layer: str | None) -> Method:
    """The method of a class of pytorch_grad_cam, by its name or itself. Raises UsageError."""
    library = import_library("pytorch_grad_cam", PIP)
    base = import_library("pytorch_grad_cam.base_cam", PIP).BaseCAM
    classes = {
        name: kind
        for name, kind in vars(library).items()
        if isinstance(kind, type) and (issubclass(kind, base) or name == "FinerCAM") and kind is not base
    }
    if isinstance(wanted, str):
        if wanted not in classes:
            raise unknown("pytorch_grad_cam", wanted, classes)
        wanted = classes[wanted]
    if not isinstance(wanted, type):
        name = type(wanted).__name__
        raise UsageError(
            f"this {name} holds the layers of the model it was made with, and checks explain other models "
            "too",
            hint=f"give its class, pytorch_grad_cam:{name}@LAYER",
        )
    if not issubclass(wanted, (base, *classes.values())):
        raise UsageError(expected="a class activation map of pytorch_grad_cam", came=wanted.__name__)
    spec = f"pytorch_grad_cam:{wanted.__name__}"
    expect_layer(spec, layer, wanted.__name__ not in LAYERLESS, optional=True)
    return _method(spec, wanted, layer)


def _method(spec: str, kind: Any, layer: str | None) -> Method:
    name = kind.__name__
    target_of = import_library("pytorch_grad_cam.utils.model_targets", PIP).ClassifierOutputTarget

    def explain(
        model: nn.Module,
        inputs: Tensor,
        targets: Tensor,
        *,
        memory: int = MEMORY,
        seed: int = 0,
        **parameters: Any,
    ) -> Tensor:
        expect_images(spec, inputs)
        copied = twin(model, gradients=name == "ShapleyCAM")  # it differentiates the gradients
        layers = [] if name in LAYERLESS else [_layer(spec, copied, inputs, layer)]
        made_with = taken(kind, parameters)
        called_with = {key: value for key, value in parameters.items() if key not in made_with}
        size = called_with.pop("batch_size", made_with.get("batch_size", chunk_size(model, inputs, memory)))
        if "batch_size" in inspect.signature(kind).parameters:
            made_with["batch_size"] = size

        def maps(inputs: Tensor, targets: Tensor) -> Tensor:
            chosen: dict[str, Any] = {"targets": [target_of(int(target)) for target in targets]}
            if name == "FinerCAM":
                chosen = {"targets": None, "target_idx": int(targets)}
            # With a gradient at the input, there is one at every layer, whatever the weights ask for.
            given = inputs.detach().clone().requires_grad_()
            # It draws a bar for every input, and tells FullGrad's users of layers that they did not give.
            with quiet(), redirect_stderr(io.StringIO()), redirect_stdout(io.StringIO()), torch.enable_grad():
                cam = kind(copied, layers, **made_with)
                try:
                    cam.batch_size = size
                    found = cam(input_tensor=given, **chosen, **called_with)
                finally:
                    getattr(cam, "base_cam", cam).activations_and_grads.release()
            return torch.from_numpy(found).to(inputs).unsqueeze(1)

        if name in ALONE:
            return one_by_one(maps, inputs, targets, seed)
        return in_chunks(maps, model, inputs, targets, memory)

    also: dict[str, Any] = {"memory": MEMORY}
    also |= {"seed": 0} if name in ALONE else {}
    also |= {"batch_size": None} if name == "ScoreCAM" else {}
    called = kind.forward if name == "FinerCAM" else kind.__call__
    signature = parameters_of(kind.__init__, called, without=FILLED, also=also)
    documented(explain, signature, f"pytorch-grad-cam's {name}.")
    return Method(name=f"{spec}@{layer}" if layer else spec, function=explain, needs=frozenset({"image"}))


def _layer(spec: str, model: nn.Module, inputs: Tensor, layer: str | None) -> nn.Module:
    """The module of that name, or the last one that returns (N, C, h, w) with more than one cell."""
    if layer is None:
        return layer_named(model, last_spatial_layer(model, inputs))
    found = layer_named(model, layer)
    kept: list[Any] = []
    handle = found.register_forward_hook(lambda module, args, output: kept.append(output))
    try:
        with torch.no_grad():
            model(inputs[:1])
    finally:
        handle.remove()
    if not kept or not isinstance(kept[-1], Tensor) or kept[-1].ndim != 4:
        came = tuple(kept[-1].shape) if kept and isinstance(kept[-1], Tensor) else "no tensor"
        raise ValueError(f"{spec}: expected a layer that returns (N, C, h, w), came {came} from {layer}")
    return found
