"""Are the settings of the process left as they were?"""

from xattr_axioms.contract._calls import first_of, watch
from xattr_check.core import Draw, Explainer, Measurement, Subject, contract, violation


@contract(
    statement="The method leaves the modes, switches and functions that all of a process shares as they are."
)
def preserves_process(method: Explainer, subject: Subject, draw: Draw) -> Measurement:
    """Gradients that stay switched off, or a default dtype, change whatever is computed next.

    What comes with an import, and not again with the next call, is the business of the library imported.
    """
    call = watch(method, draw)
    found = call.settings
    if found and call.imported:
        again = watch(method, draw, seed=1).settings
        found = {name: text for name, text in found.items() if name in again}
    if not found:
        return violation("")
    came = first_of(list(found.values()))
    return violation(
        f"expected settings of the process unchanged, came {came}; put them back in a finally clause"
    )
