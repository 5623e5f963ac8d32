"""xattr-check turns any attribution function into a battery of checks with verdicts.

A method is a function `explain(model, inputs, targets) -> attributions`. `run_battery(explain)` judges it;
`pytest --xattr-method=mymod:explain` does the same from a command line.
"""

import lazy_loader

# Names are imported when they are asked for, from where the stub beside this file says: torch takes seconds.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
