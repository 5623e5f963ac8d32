"""How far methods agree with each other, which is reported and judges none of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from xattr_check.battery.battery import run_of
from xattr_check.config.loaders import load_methods, load_subject
from xattr_check.config.settings import Settings
from xattr_check.core.explainer import Explainer
from xattr_check.core.subject import Subject
from xattr_check.errors import MethodError, Undefined, UsageError
from xattr_check.statistics.similarity import spearman


@dataclass(frozen=True)
class Disagreement:
    """Rank correlations of the maps of K methods.

    methods: their names. correlations: (K, K, n) float64, of every two of them on each of n inputs.
    left_out: why a method has no maps here, by its name.
    """

    methods: tuple[str, ...]
    correlations: Tensor
    left_out: dict[str, str]

    @property
    def mean(self) -> Tensor:
        """(K, K): the mean over inputs."""
        return self.correlations.mean(2)


def disagreement(
    methods: Sequence[Any],
    subject: str | Subject = "digits",
    *,
    inputs: int = 32,
    seed: int = 0,
    settings: Settings | None = None,
) -> Disagreement:
    """Spearman's rank correlation of the maps of every two methods, input by input.

    methods: as of `run_battery`. inputs: how many of the subject's are explained, drawn by the seed.
    settings: the device, the store and the time limit, as in xattr.yaml. Of a sensitivity, magnitudes are
    ranked; what is padding of an input is left out.

    A method that raises, declines the model or needs what the subject does not offer is left out, with the
    reason. Raises UsageError for what cannot be resolved.
    """
    if inputs < 1:
        raise UsageError(option="inputs", value=inputs, expected="at least 1")
    run = run_of((settings or Settings()).override(seed=seed))
    loaded, judged = load_methods(methods), load_subject(subject).to(run.device)
    draw = next(run.draws("disagreement", judged, inputs))
    maps: dict[str, Tensor] = {}
    left_out: dict[str, str] = {}
    for method in loaded:
        if missing := sorted(method.needs - judged.offers):
            left_out[method.name] = f"needs {' and '.join(missing)}, which {judged.name!r} does not offer"
            continue
        try:
            with draw.scope():
                scores = Explainer.of(method, judged, run).scores(judged.model, draw.inputs, draw.targets)
        except (MethodError, Undefined) as error:
            left_out[method.name] = str(error)
            continue
        maps[method.name] = scores if draw.valid is None else scores.masked_fill(~draw.valid, torch.nan)
    rows = [torch.stack([spearman(one, other) for other in maps.values()]) for one in maps.values()]
    found = torch.stack(rows) if rows else torch.zeros(0, 0, len(draw.inputs), dtype=torch.float64)
    return Disagreement(tuple(maps), found, left_out)
