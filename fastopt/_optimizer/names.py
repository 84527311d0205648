"""Names that users write for others: what they meant."""

from __future__ import annotations

from collections.abc import Collection

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
    candidates = {x.lower().replace("_", ""): x for x in known}
    candidates |= {other: x for x, others in ELSEWHERE.items() if x in known for other in others if other not in candidates}
    if folded in candidates:
        return candidates[folded]
    import difflib

    close = difflib.get_close_matches(folded, candidates, 1, 0.7)
    return candidates[close[0]] if close else None


def expected(name: object, known: Collection[str]) -> str:
    """Return the part of an error that says what was meant, or what there is."""
    found = meant(name, known)
    return f"did you mean {found!r}?" if found else f"expected one of {', '.join(known)}"
