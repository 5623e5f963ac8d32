"""Are the random generators left alone?"""

import numpy as np
import torch

from xattr_axioms._calls import watched
from xattr_check.axiom import Measurement, contract, violation
from xattr_check.explainer import Explainer
from xattr_check.run import Draw
from xattr_check.subject import Subject


@contract(statement="The method does not reseed the global random generators.")
def preserves_rng(method: Explainer, subject: Subject, draw: Draw) -> Measurement:
    """Two calls from different states that end in the same one.

    Drawing random numbers is fine, and so is putting the state back; a fixed seed makes every later draw of
    the caller the same.
    """
    one, other = watched(method, draw, seed=0), watched(method, draw, seed=1)
    (python, numpy, cpu, cuda), (python2, numpy2, cpu2, cuda2) = one.after, other.after
    reseeded = {
        "random": python == python2,
        "numpy.random": np.array_equal(numpy["state"]["key"], numpy2["state"]["key"])
        and numpy["state"]["pos"] == numpy2["state"]["pos"],
        "torch": torch.equal(cpu, cpu2),
        "torch.cuda": bool(cuda) and any(torch.equal(a, b) for a, b in zip(cuda, cuda2, strict=True)),
    }
    names = " and ".join(name for name, found in reseeded.items() if found)
    return violation(
        names
        and f"expected the global generators to go on, came a fixed seed in {names}; "
        "draw from a generator of your own: torch.Generator().manual_seed(seed)"
    )
