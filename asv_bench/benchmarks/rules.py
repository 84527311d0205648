"""Every rule of the package."""

from .common import MATRICES, RULES, _Steps, bound


class ByRule(_Steps):
    params = (RULES, [10_000, 1_000_000])
    param_names = ("rule", "elements")

    def make(self, rule, elements):
        side = int(elements**0.5)
        return bound(rule, [(side, side) if rule in MATRICES else (elements,)]).step


# Options that select another rule.
OTHERS = {
    "SGD(momentum=0.9)": {"momentum": 0.9},
    "SGD(momentum=0.9, nesterov=True)": {"momentum": 0.9, "nesterov": True},
    "Adam(amsgrad=True)": {"amsgrad": True},
    "RMSprop(momentum=0.9, centered=True)": {"momentum": 0.9, "centered": True},
}


class Options(_Steps):
    params = (list(OTHERS), [10_000, 1_000_000])
    param_names = ("rule", "elements")

    def make(self, rule, elements):
        return bound(rule.partition("(")[0], [(elements,)], **OTHERS[rule]).step
