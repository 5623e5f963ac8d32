"""captum:NAME and captum:NAME@LAYER: the attribution classes of captum.attr, and instances of them."""

import copy
import inspect
from types import MethodType
from typing import Any

from torch import Tensor, nn

from xattr_adapters._shared import (
    documented,
    expect_layer,
    full,
    grid,
    one_by_one,
    parameters_of,
    quiet,
    summed,
    taken,
    twin,
    unknown,
)
from xattr_check.core.adapter import import_library
from xattr_check.core.layouts import Layout
from xattr_check.core.method import Method
from xattr_check.errors import UsageError
from xattr_check.perturbation.gradients import MEMORY, chunk_size, in_chunks
from xattr_methods._arguments import expect_images, laid_out
from xattr_methods.activations._watch import layer_named

# What draws from the global generators, by the names of the classes and of those they are derived from.
SAMPLED = {"GradientShap", "LayerGradientShap", "Lime", "ShapleyValueSampling", "NoiseTunnel"}
# Their sign is a direction; `Saliency` is without a sign unless abs=false is given.
SENSITIVITIES = {"Saliency", "GuidedBackprop", "Deconvolution"}
# What they say of themselves under `has_convergence_delta`, for one baseline and without sampling.
COMPLETE = {"IntegratedGradients", "DeepLift"}
REFUSED = {
    "FeaturePermutation": "swaps features between inputs, so that a map depends on its batch",
    "LayerFeaturePermutation": "swaps values between inputs, so that a map depends on its batch",
    "DataLoaderAttribution": "explains a set of data and not an input",
    "LimeBase": "needs functions that a spec cannot give; captum:Lime has them",
}
# Baselines that have to be tensors, and how many rows of them.
ROWS = {"GradientShap": 1, "LayerGradientShap": 1, "DeepLiftShap": 2, "LayerDeepLiftShap": 2}
# What is not for a spec to say: the adapter fills it in, or it would change what is returned.
FILLED = (
    *("forward_func", "layer", "device_ids", "target", "additional_forward_args", "show_progress"),
    *("return_convergence_delta", "return_input_shape", "attribution_method", "perm_func"),
    *("interpretable_model", "similarity_func", "perturb_func", "custom_attribution_func", "grad_kwargs"),
    "layer_mask",
)


def adapter(wanted: Any, layer: str | None) -> Method:
    """The method of a class of captum.attr, by its name or itself, or of an instance of one.

    An instance explains the model that the method is given, not the one it was made with. Raises UsageError.
    """
    library = import_library("captum.attr", "captum")
    if isinstance(wanted, str):
        wanted = _class_named(library, wanted)
    kind, instance = (wanted, None) if isinstance(wanted, type) else (type(wanted), wanted)
    return _method(library, kind, layer, instance)


def _class_named(library: Any, name: str) -> type:
    """The class of that name. Raises UsageError."""
    names = [key for key in library.__all__ if "LLM" not in key and not key.endswith("Attribution")]
    kinds = {key: getattr(library, key) for key in names}
    kinds = {
        key: kind
        for key, kind in kinds.items()
        if isinstance(kind, type) and issubclass(kind, library.Attribution)
    }
    if name not in kinds and name not in REFUSED:
        known = [key for key in kinds.keys() - REFUSED.keys() if not key.startswith("Neuron")]
        raise unknown("captum", name, known)
    found: type = getattr(library, name)
    return found


def _refuse(library: Any, kind: type) -> None:
    """Raises UsageError for a class that cannot be a method."""
    name = kind.__name__
    if not issubclass(kind, library.Attribution):
        raise UsageError(expected="an attribution class of captum", came=name)
    for base in kind.__mro__:
        if base.__name__ in REFUSED and (base is kind or base.__name__ != "LimeBase"):
            raise UsageError(f"captum's {name} {REFUSED[base.__name__]}")
    if issubclass(kind, library.NeuronAttribution):
        raise UsageError(f"captum's {name} explains a neuron of a layer and not the target's logit")


def _method(library: Any, kind: Any, layer: str | None, instance: Any) -> Method:
    name = kind.__name__
    spec = f"captum:{name}"
    _refuse(library, kind)
    tunnel = issubclass(kind, library.NoiseTunnel)
    layered = "layer" in inspect.signature(kind).parameters
    if instance is None:
        expect_layer(spec, layer, layered or tunnel, optional=tunnel)
    else:
        _bound_model(instance)  # now, rather than at the first call
    sampled = any(base.__name__ in SAMPLED for base in kind.__mro__)
    of_layer = issubclass(kind, library.LayerAttribution)

    def explain(
        model: nn.Module,
        inputs: Tensor,
        targets: Tensor,
        *,
        memory: int = MEMORY,
        seed: int = 0,
        interpolate_mode: str = "bilinear",
        layout: Layout | str | None = None,
        **parameters: Any,
    ) -> Tensor:
        if name == "GuidedGradCam":
            expect_images(spec, inputs)
            parameters.setdefault("interpolate_mode", interpolate_mode)
        copied = twin(model, gradients=True)  # LayerDeepLift needs them at the layer
        if instance is not None:
            made = rebound(instance, model, copied)
        elif tunnel:
            inner = _class_named(library, parameters.pop("attribution_method", "Saliency"))
            expect_layer(f"captum:{inner.__name__}", layer, "layer" in inspect.signature(inner).parameters)
            made = kind(_make(inner, copied, layer, parameters))
        else:
            made = _make(kind, copied, layer, parameters)
        size = chunk_size(model, inputs, memory)

        def attributions(inputs: Tensor, targets: Tensor) -> Tensor:
            given = _arguments(made, inputs, targets, parameters, size, layout)
            with quiet():
                found = made.attribute(inputs, **given)
            if isinstance(found, tuple | list) and len(found) == 1:
                found = found[0]
            if not isinstance(found, Tensor):
                raise ValueError(f"{spec}: expected one tensor of attributions, came {type(found).__name__}")
            found = found.detach().to(inputs.dtype)
            layer_values = of_layer or (tunnel and found.shape[1:] != inputs.shape[1:])
            return summed(spec, found, inputs, interpolate_mode, layout) if layer_values else found

        if sampled:
            return one_by_one(attributions, inputs, targets, seed)
        return in_chunks(attributions, model, inputs, targets, memory)

    also: dict[str, Any] = {"memory": MEMORY, "layout": None}
    also |= {"seed": 0} if sampled else {}
    also |= {"interpolate_mode": "bilinear"} if of_layer or name == "GuidedGradCam" else {}
    also |= {"attribution_method": "Saliency"} if tunnel and instance is None else {}
    made_with = () if instance is not None else (kind.__init__,)
    signature = parameters_of(*made_with, kind.attribute, without=FILLED, also=also)
    if tunnel:  # what it does not know goes to the method that it repeats
        rest = inspect.Parameter("parameters", inspect.Parameter.VAR_KEYWORD)
        signature = signature.replace(parameters=[*signature.parameters.values(), rest])
    documented(explain, signature, f"captum's {name}.")
    return Method(
        name=f"{spec}@{layer}" if layer else spec,
        function=explain,
        claims=frozenset({"completeness"} if name in COMPLETE else ()),
        sensitivity=name in SENSITIVITIES,
        needs=frozenset({"image"} if name == "GuidedGradCam" else ()),
    )


def _make(kind: Any, model: nn.Module, layer: str | None, parameters: dict[str, Any]) -> Any:
    """An instance for a model; takes what its constructor knows out of the parameters."""
    given = taken(kind.__init__, parameters)
    for key in given:
        del parameters[key]
    return kind(model, layer_named(model, layer), **given) if layer else kind(model, **given)


def _arguments(
    made: Any,
    inputs: Tensor,
    targets: Tensor,
    parameters: dict[str, Any],
    size: int,
    layout: Layout | str | None,
) -> dict[str, Any]:
    """The arguments of `attribute`, those that it needs and was not given filled in.

    size: how many inputs the model is given at once.
    """
    given = dict(parameters)
    inner = getattr(made, "attribution_method", None)
    known = _known(type(made)) | (set() if inner is None else _known(type(inner)))
    name = type(made if inner is None else inner).__name__
    if "target" in known:
        given["target"] = targets
    for key in ("internal_batch_size", "perturbations_per_eval", "nt_samples_batch_size"):
        if key in known:
            each = size if key == "internal_batch_size" else max(1, size // len(inputs))
            given.setdefault(key, max(each, len(inputs)) if key == "internal_batch_size" else each)
    if name in ROWS and not isinstance(given.get("baselines"), Tensor):
        rows = inputs[:1].expand(ROWS[name], *inputs.shape[1:])
        given["baselines"] = full(given.get("baselines", 0.0), rows)
    elif isinstance(given.get("baselines"), list):
        given["baselines"] = full(given["baselines"], inputs)
    if isinstance(given.get("feature_mask"), int):
        given["feature_mask"] = grid(given["feature_mask"], inputs, layout)
    if "sliding_window_shapes" in known:
        given.update(_windows(given, laid_out("captum:Occlusion", inputs, layout)))
    return given


def _known(kind: type) -> set[str]:
    """The parameters of `attribute`; also those of the class that passes them on as keywords."""
    found: set[str] = set()
    for base in kind.__mro__:
        if "attribute" in vars(base):
            parameters = inspect.signature(vars(base)["attribute"]).parameters
            found |= set(parameters)
            if all(one.kind is not one.VAR_KEYWORD for one in parameters.values()):
                break
    return found


def _windows(given: dict[str, Any], layout: Layout) -> dict[str, Any]:
    """Windows and strides of Occlusion for one input, (*F): whole channels, and whole embeddings.

    By default a quarter of the shorter side of an image, by half of that; one column or token.
    """
    window = given.get("sliding_window_shapes", layout.window)
    if isinstance(window, int):
        window = layout.window_shape(window)
    step = given.get("strides", layout.stride_of(min(window[axis] for axis in layout.ranked)))
    if isinstance(step, int):
        step = layout.window_shape(step)
    return {"sliding_window_shapes": tuple(window), "strides": tuple(step)}


def _bound_model(instance: Any) -> nn.Module:
    """The model that an instance was made with. Raises UsageError where it was made with a function."""
    bound = getattr(instance, "forward_func", None)
    if isinstance(bound, MethodType):
        bound = bound.__self__
    if not isinstance(bound, nn.Module):
        name = type(instance).__name__
        raise UsageError(
            f"this {name} is bound to {type(bound).__name__} {bound!r:.40}, and checks explain other models "
            "too",
            hint=f"give the class, captum:{name}, or a function explain(model, inputs, targets)",
        )
    return bound


def rebound(instance: Any, model: nn.Module, copied: nn.Module) -> Any:
    """A copy of an instance of captum that explains `copied` instead of the model it was made with.

    Layers are those of the same names. Raises ValueError where the copy has none of a name.
    """
    old = _bound_model(instance)
    names = {id(module): name for name, module in old.named_modules(remove_duplicate=False)}
    kind = import_library("captum.attr", "captum").Attribution

    def translated(value: Any) -> Any:
        if isinstance(value, nn.Module) and id(value) in names:
            name = names[id(value)]
            return layer_named(copied, name) if name else copied
        if isinstance(value, MethodType) and id(value.__self__) in names:
            return MethodType(value.__func__, translated(value.__self__))
        if isinstance(value, kind):
            return translated_attributes(value)
        if isinstance(value, list):
            return [translated(one) for one in value]
        return value

    def translated_attributes(one: Any) -> Any:
        made = copy.copy(one)
        vars(made).update({key: translated(value) for key, value in vars(one).items()})
        return made

    return translated_attributes(instance)
