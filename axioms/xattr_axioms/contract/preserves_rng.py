"""Are the random generators left alone?"""

import torch

from xattr_axioms.contract._calls import watch
from xattr_check.core import Draw, Explainer, Measurement, Subject, contract, violation

OWN = {
    "random": "random.Random(seed)",
    "numpy.random": "numpy.random.default_rng(seed)",
    "torch": "torch.Generator().manual_seed(seed)",
    "torch.accelerator": "torch.Generator(device).manual_seed(seed)",
}


@contract(statement="The method does not reseed the global random generators.")
def preserves_rng(method: Explainer, subject: Subject, draw: Draw) -> Measurement:
    """Two calls from different states that end in the same one.

    Drawing random numbers is fine, and so is putting the state back; a fixed seed makes every later draw of
    the caller the same.
    """
    one, other = watch(method, draw, seed=0), watch(method, draw, seed=1)
    (python, numpy, cpu, device), (python2, numpy2, cpu2, device2) = one.after, other.after
    same = {
        "random": python == python2,
        "numpy.random": bool(
            (numpy["state"]["key"] == numpy2["state"]["key"]).all()
            and numpy["state"]["pos"] == numpy2["state"]["pos"]
        ),
        "torch": torch.equal(cpu, cpu2),
        "torch.accelerator": any(torch.equal(*pair) for pair in zip(device, device2, strict=True)),
    }
    reseeded = [name for name, found in same.items() if found]
    if not reseeded:
        return violation("")
    return violation(
        f"expected the global generators to go on, came a fixed seed in {' and '.join(reseeded)}; "
        f"draw from a generator of your own, {OWN[reseeded[0]]}"
    )
