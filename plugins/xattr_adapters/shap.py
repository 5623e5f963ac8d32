"""shap:NAME: explainers of shap, against a background."""

import inspect
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from xattr_adapters._shared import (
    documented,
    expect_layer,
    full,
    one_by_one,
    parameters_of,
    quiet,
    taken,
    twin,
    unknown,
)
from xattr_check.core.adapter import import_library
from xattr_check.core.arrays import as_array
from xattr_check.core.method import Method
from xattr_check.errors import UsageError
from xattr_check.perturbation.gradients import MEMORY, chunk_size
from xattr_methods._arguments import expect_images

# They are given the module; the others a function of rows of features.
OF_MODULES = ("GradientExplainer", "DeepExplainer")
OF_ROWS = ("KernelExplainer", "SamplingExplainer")
OF_MASKERS = ("PermutationExplainer", "ExactExplainer", "PartitionExplainer")
KNOWN = (*OF_MODULES, *OF_ROWS, *OF_MASKERS)
REFUSED = {
    "TreeExplainer": "trees",
    "GPUTreeExplainer": "trees",
    "LinearExplainer": "linear models of scikit-learn's form",
    "AdditiveExplainer": "generalized additive models",
}
FILLED = (
    *("model", "data", "session", "masker", "link", "feature_names", "learning_phase_flags", "X", "y"),
    *("ranked_outputs", "output_rank_order", "rseed", "return_variances", "seed", "linearize_link", "silent"),
    *("main_effects", "error_bounds", "outputs", "output_names", "interactions", "max_samples"),
)


class Selected(nn.Module):
    """One output of a model, (N, 1), in the precision of its inputs, whatever that of the caller's."""

    def __init__(self, model: nn.Module, target: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.model, self.target, self.dtype = model, target, dtype

    def forward(self, inputs: Tensor) -> Tensor:
        """The target's logits (N, 1)."""
        logits: Tensor = self.model(inputs.to(self.dtype))
        return logits[:, self.target : self.target + 1]


def adapter(wanted: Any, layer: str | None) -> Method:
    """The method of an explainer of shap, by its name or its class. Raises UsageError."""
    library = import_library("shap", "shap")
    if not isinstance(wanted, str | type):
        name = type(wanted).__name__
        raise UsageError(
            f"this {name} is bound to the model it was made with, and checks explain other models too",
            hint=f"give its class, shap:{name}",
        )
    name = wanted if isinstance(wanted, str) else wanted.__name__
    if name in REFUSED:
        raise UsageError(f"shap's {name} explains {REFUSED[name]}, not networks")
    kinds = {known: getattr(library, known) for known in KNOWN if hasattr(library, known)}
    if name not in kinds:
        raise unknown("shap", name, kinds)
    expect_layer(f"shap:{name}", layer, False)
    return _method(library, name, kinds[name])


def _method(library: Any, name: str, kind: Any) -> Method:
    spec = f"shap:{name}"

    def explain(
        model: nn.Module,
        inputs: Tensor,
        targets: Tensor,
        *,
        background: float | str = 0.0,
        backgrounds: int = 50,
        memory: int = MEMORY,
        seed: int = 0,
        **parameters: Any,
    ) -> Tensor:
        if name == "PartitionExplainer":
            expect_images(spec, inputs)
        copied = twin(model)
        absent = _background(spec, background, backgrounds, inputs, seed)
        size = chunk_size(model, inputs, memory)

        def values(inputs: Tensor, targets: Tensor) -> Tensor:
            selected = Selected(copied, int(targets), inputs.dtype).eval()
            with quiet():
                if name in OF_MODULES:
                    found = _of_module(kind, selected, absent, inputs, seed, size, parameters)
                elif name in OF_ROWS:
                    found = _of_rows(kind, selected, absent, inputs, size, parameters)
                else:
                    found = _of_masker(library, kind, selected, absent, inputs, seed, size, parameters)
            return torch.from_numpy(np.asarray(found)).to(inputs).reshape(inputs.shape)

        return one_by_one(values, inputs, targets, seed)

    also: dict[str, Any] = {"background": 0.0, "backgrounds": 50, "memory": MEMORY, "seed": 0}
    also |= {"nsamples": "auto", "l1_reg": "num_features(10)"} if name == "KernelExplainer" else {}
    also |= {"nsamples": "auto"} if name == "SamplingExplainer" else {}
    called = kind.__call__ if name in OF_MASKERS else kind.shap_values
    sources = [kind.__init__] if name in OF_MODULES else []
    documented(explain, parameters_of(*sources, called, without=FILLED, also=also), f"shap's {name}.")
    return Method(
        name=spec, function=explain, needs=frozenset({"image"} if name == "PartitionExplainer" else ())
    )


def _background(spec: str, value: float | str, count: int, inputs: Tensor, seed: int) -> Tensor:
    """What stands for absent features, (B, *F): a number, or rows of standard normal noise."""
    if value == "noise":
        generator = torch.Generator().manual_seed(seed)
        rows = torch.randn(count, *inputs.shape[1:], generator=generator, dtype=torch.float64)
        return rows.to(inputs)
    if isinstance(value, str):
        raise ValueError(f"{spec}: expected background= a number or noise, came {value!r}")
    return full(value, inputs[:1]).clone()


def _of_module(
    kind: Any, model: nn.Module, absent: Tensor, inputs: Tensor, seed: int, size: int, given: dict[str, Any]
) -> Any:
    made = taken(kind, given)
    if "batch_size" in inspect.signature(kind).parameters:
        made.setdefault("batch_size", size)
    called = {key: value for key, value in given.items() if key not in made}
    if "rseed" in inspect.signature(kind.shap_values).parameters:
        called["rseed"] = seed
    return kind(model, absent, **made).shap_values(inputs, **called)


def _function(model: nn.Module, like: Tensor, size: int) -> Any:
    """A function of rows (n, D), or of images (n, H, W, C), to logits (n,), `size` of them at once."""

    @torch.no_grad()
    def logits(rows: Any) -> Any:
        found = torch.from_numpy(np.asarray(rows)).to(like)
        found = found.movedim(-1, 1) if found.ndim == 4 else found.reshape(-1, *like.shape[1:])
        return as_array(torch.cat([model(part) for part in found.split(size)]).squeeze(1))

    return logits


def _rows(inputs: Tensor) -> Any:
    return as_array(inputs.flatten(1))


def _of_rows(
    kind: Any, model: nn.Module, absent: Tensor, inputs: Tensor, size: int, given: dict[str, Any]
) -> Any:
    explainer = kind(_function(model, inputs, size), _rows(absent))
    return explainer.shap_values(_rows(inputs), silent=True, **given)


def _of_masker(
    library: Any,
    kind: Any,
    model: nn.Module,
    absent: Tensor,
    inputs: Tensor,
    seed: int,
    size: int,
    given: dict[str, Any],
) -> Any:
    called = {"batch_size": size, "silent": True, **given}
    if kind.__name__ == "PartitionExplainer":
        value, hidden = (as_array(one.movedim(1, -1)) for one in (inputs, absent[:1]))
        masker = library.maskers.Image(np.ascontiguousarray(hidden[0]))
        found = kind(_function(model, inputs, size), masker)(np.ascontiguousarray(value), **called)
        return np.moveaxis(np.asarray(found.values).reshape(value.shape), -1, 1)
    masker = library.maskers.Independent(_rows(absent), max_samples=len(absent))
    made = {"seed": seed} if "seed" in inspect.signature(kind).parameters else {}
    if kind.__name__ == "PermutationExplainer":  # one round through all features, at least
        called.setdefault("max_evals", max(500, 2 * inputs[0].numel() + 1))
    explainer = kind(_function(model, inputs, size), masker, **made)
    return explainer(_rows(inputs), **taken(kind.__call__, called)).values
