"""A method whose maps are computed once in a run, however many mutants are made of it."""

from dataclasses import dataclass, replace

from torch import Tensor, nn

from xattr_check.core.explainer import Explainer
from xattr_check.core.method import Method
from xattr_check.core.run import Run
from xattr_check.core.subject import Subject


@dataclass(frozen=True, eq=False)
class Kept:
    """Calls a method through its explainer in a run, which computes the same maps only once."""

    method: Method
    run: Run

    def __call__(
        self, model: nn.Module, inputs: Tensor, targets: Tensor, *, subject: Subject, **parameters: object
    ) -> Tensor:
        """Maps of inputs (N, *F). A stochastic method's are those of one seed."""
        if parameters:
            return self.method.bind(subject)(model, inputs, targets, **parameters)
        return Explainer.of(self.method, subject, self.run)(model, inputs, targets).clone()


def kept(method: Method, run: Run) -> Method:
    """The method with the maps of a run, for those who make others of them."""
    return replace(method, function=Kept(method, run), keeps_rows=True, bound=frozenset())
