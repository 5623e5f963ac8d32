"""zennit:COMPOSITE: the composites of zennit.composites, and composites of one's own."""

import inspect
from typing import Any

import torch
from torch import Tensor, nn

from xattr_adapters._shared import documented, expect_layer, full, parameters_of, quiet, twin, unknown
from xattr_check.core.adapter import import_library
from xattr_check.core.method import Method
from xattr_check.errors import UsageError
from xattr_check.perturbation.gradients import MEMORY, in_chunks

# They change how gradients pass: they start from 1, and their sign is a direction.
GRADIENTS = {"GuidedBackprop", "DeconvNet", "BetaSmooth"}
# What is passed back from the output. From 1, relevance has the wrong sign where the logit is negative.
STARTS = {"logit": lambda output: output, "one": torch.ones_like}


def adapter(wanted: Any, layer: str | None) -> Method:
    """The method of a composite, by its name, its class or itself. Raises UsageError."""
    composites = import_library("zennit.composites", "zennit")
    core = import_library("zennit.core", "zennit")
    kinds = {
        name: kind
        for name, kind in vars(composites).items()
        if kind in composites.COMPOSITES.values()
    }  # fmt: skip
    if isinstance(wanted, str):
        found = composites.COMPOSITES.get(wanted, kinds.get(wanted))
        if found is None:
            raise unknown("zennit", wanted, kinds)
        wanted = found
    kind = wanted if isinstance(wanted, type) else type(wanted)
    if not issubclass(kind, core.Composite):
        raise UsageError(
            expected="a composite of zennit",
            came=kind.__name__,
            hint="for an attributor, write a function explain(model, inputs, targets) that makes one for the "
            "model it is given",
        )
    spec = f"zennit:{kind.__name__}"
    expect_layer(spec, layer, False)
    return _method(spec, kind, None if kind is wanted else wanted)


def _method(spec: str, kind: Any, instance: Any) -> Method:
    gradients = kind.__name__ in GRADIENTS
    default = "one" if gradients or kind.__name__ == "ExcitationBackprop" else "logit"
    boxed = instance is None and "low" in inspect.signature(kind).parameters

    def explain(
        model: nn.Module,
        inputs: Tensor,
        targets: Tensor,
        *,
        start: str = default,
        canonize: bool = True,
        memory: int = MEMORY,
        **parameters: Any,
    ) -> Tensor:
        if start not in STARTS:
            raise ValueError(f"{spec}: expected start=logit or one, came {start!r}")
        attributors = import_library("zennit.attribution", "zennit")
        copied = twin(model)

        def explained(inputs: Tensor, targets: Tensor) -> Tensor:
            def output_relevance(output: Tensor) -> Tensor:
                chosen = nn.functional.one_hot(targets, output.shape[1]).to(output)
                passed: Tensor = chosen * STARTS[start](output.detach())
                return passed

            given = dict(parameters)
            if boxed:
                box = inputs.flatten(1)
                shape = (-1, *[1] * (inputs.ndim - 1))
                low, high = box.min(1).values.clamp_max(0), box.max(1).values.clamp_min(0)
                given["low"] = full(given.get("low", low.reshape(shape)), inputs)
                given["high"] = full(given.get("high", high.reshape(shape)), inputs)
            composite = instance
            if composite is None:
                composite = kind(canonizers=_canonizers(copied) if canonize else [], **given)
            with quiet(), attributors.Gradient(model=copied, composite=composite) as attributor:
                _, found = attributor(inputs.detach().clone(), output_relevance)
            relevance: Tensor = found.detach()
            return relevance

        return in_chunks(explained, model, inputs, targets, memory)

    made_with = () if instance is not None else (kind.__init__,)
    also: dict[str, Any] = {"start": default, "memory": MEMORY}
    also |= {} if instance is not None else {"canonize": True}
    also |= {"low": None, "high": None} if boxed else {}
    without = ("canonizers", "layer_map", "first_map")
    signature = parameters_of(*made_with, without=without, also=also)
    documented(explain, signature, f"zennit's composite {kind.__name__}.")
    return Method(name=spec, function=explain, sensitivity=gradients)


def _canonizers(model: nn.Module) -> list[Any]:
    """What makes a model fit the rules: merged BatchNorm, and the sums of ResNets as modules."""
    canonizers = import_library("zennit.canonizers", "zennit")
    torchvision = import_library("zennit.torchvision", "zennit")
    blocks = (torchvision.ResNetBottleneck, torchvision.ResNetBasicBlock)
    if any(isinstance(module, blocks) for module in model.modules()):
        return [torchvision.ResNetCanonizer()]
    return [canonizers.SequentialMergeBatchNorm()]
