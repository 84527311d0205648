"""Names that users write for others: what they meant."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np

# Names of other packages, without underscores, by fastopt's.
ELSEWHERE = {
    "lr": ("learningrate", "stepsize", "rate"),
    "betas": ("beta1", "beta2", "b1", "b2", "beta"),
    "eps": ("epsilon",),
    "weight_decay": ("decay", "wd", "l2"),
    "alpha": ("rho", "smoothing", "decay"),
    "beta2_decay": ("decayrate",),
    "etas": ("eta",),
    "clip_value": ("clipvalue", "clip"),
    "clip_norm": ("clipnorm",),
    "clip_global_norm": ("globalclipnorm", "maxgradnorm", "clipgradnorm", "maxnorm", "gradclip", "gradientclipval"),
    "accumulate": ("gradientaccumulationsteps", "accumulationsteps", "everyk", "accumulategradbatches"),
    "ema": ("useema", "emamomentum", "emadecay"),
    "nonfinite": ("skipnonfinite", "checkfinite"),
    "maximize": ("maximise",),
    "state_dtype": ("statedtype", "mudtype", "momentdtype"),
    "threads": ("nthreads", "numthreads", "njobs"),
    "momentum": ("mu",),
    "maxiter": ("maxsteps", "iterations", "niter"),
    "maxfun": ("maxfev", "maxfeval", "maxevals"),
    "gtol": ("tol", "tolerance"),
}


# Those that other rules or users' own attributes may mean otherwise.
AMBIGUOUS = ("beta", "clip", "decay", "l2", "mu", "rate")


def folded(name: str) -> str:
    """Return a name without underscores, in lower case."""
    return name.lower().replace("_", "").replace("-", "")


def meant(name: object, known: Collection[str], without: Collection[str] = ()) -> str | None:
    """Return the name among `known` that is probably meant, or None; `without` some of the names of other packages."""
    if not isinstance(name, str):
        return None
    own = {folded(x): x for x in known}
    elsewhere = {other: x for x, others in ELSEWHERE.items() if x in known for other in others if other not in without}
    if found := own.get(folded(name)) or elsewhere.get(folded(name)):
        return found
    import difflib

    close = difflib.get_close_matches(folded(name), own, 1, 0.8)
    return own[close[0]] if close else None


def place_of(
    name: str, value: Any, defaults: Collection[str], settings: Collection[str], fixed: Collection[str] = ()
) -> str | None:
    """Return where to set what a new attribute of an optimizer probably means; None if it may be the user's own.

    Only numbers and schedules are taken for hyperparameters of another spelling. `fixed` cannot be set later.
    """
    number = isinstance(value, (int, float, tuple, np.number)) or (callable(value) and name.lower().startswith("l"))
    found = meant(name, [*defaults, *settings, "convention"], AMBIGUOUS)
    if found is None or (folded(found) != folded(name) and (found in settings or not number)):
        return None
    if found not in defaults or found in fixed:
        return f"it is chosen at construction, expected as {found}=..."
    return "did you mean optimizer.lr?" if found == "lr" else f"expected optimizer.groups[0][{found!r}] = ..."


def expected(name: object, known: Collection[str]) -> str:
    """Return the part of an error that says what was meant, or what there is."""
    found = meant(name, known)
    return f"did you mean {found!r}?" if found else f"expected one of {', '.join(known)}"
