"""All that a call of a method may not change, taken before it, and put back afterwards."""

from torch import nn

from xattr_check.core.process import ProcessState
from xattr_check.core.state import ModelState


class Snapshot:
    """A model, and the process around it, as a call finds them."""

    def __init__(self, model: nn.Module) -> None:
        self.model = ModelState(model)
        self.process = ProcessState()

    def restore(self) -> None:
        """Put everything back as it was."""
        # First the modes, under which the weights are written.
        self.process.restore()
        self.model.restore()
