"""Names that users write for others: what they meant."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np

from ..spec import RULES

# Names of other packages, without underscores, by fastopt's.
ELSEWHERE = {
    "lr": ("learningrate", "stepsize", "alpha", "rate", "eta"),
    "betas": ("beta1", "beta2", "b1", "b2", "beta"),
    "eps": ("epsilon",),
    "weight_decay": ("decay", "wd", "l2", "decayrate"),
    "clip_value": ("clipvalue", "clip"),
    "clip_norm": ("clipnorm",),
    "clip_global_norm": ("globalclipnorm", "maxgradnorm", "maxnorm", "gradclip", "gradientclipval"),
    "accumulate": ("gradientaccumulationsteps", "accumulationsteps", "everyk", "accumulategradbatches"),
    "ema": ("useema", "emamomentum", "emadecay"),
    "bounds": ("constraint", "constraints", "limits"),
    "nonfinite": ("skipnonfinite", "checkfinite"),
    "maximize": ("maximise",),
    "state_dtype": ("statedtype", "mudtype", "momentdtype"),
    "threads": ("nthreads", "numthreads", "njobs"),
    "momentum": ("mu",),
}


def meant(name: object, known: Collection[str]) -> str | None:
    """Return the name among `known` that is probably meant, or None."""
    if not isinstance(name, str):
        return None
    folded = name.lower().replace("_", "").replace("-", "")
    own = {x.lower().replace("_", ""): x for x in known}
    elsewhere = {other: x for x, others in ELSEWHERE.items() if x in known for other in others}
    if found := own.get(folded) or elsewhere.get(folded):
        return found
    import difflib

    close = difflib.get_close_matches(folded, own, 1, 0.8)
    return own[close[0]] if close else None


def place_of(name: str, value: Any, defaults: Collection[str], settings: Collection[str]) -> str | None:
    """Return where to set what a new attribute of an optimizer probably means; None if it may be the user's own."""
    found = meant(name, [*defaults, *settings, "steps"])
    plain = value is None or isinstance(value, (bool, int, float, str, tuple, np.number)) or callable(value)
    if found is None and name in {h for rule in RULES.values() for h in rule.hyperparameters}:
        return f"expected one of {', '.join(defaults)}, in optimizer.groups[0]"
    if found is None or (found != name and not plain):
        return None
    if found in settings:
        return f"it is chosen at construction, expected as {found}=..."
    return f"did you mean optimizer.{found}?" if found in ("lr", "steps") else f"expected optimizer.groups[0][{found!r}] = ..."


def expected(name: object, known: Collection[str]) -> str:
    """Return the part of an error that says what was meant, or what there is."""
    found = meant(name, known)
    return f"did you mean {found!r}?" if found else f"expected one of {', '.join(known)}"
