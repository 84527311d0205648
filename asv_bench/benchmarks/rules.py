"""Every rule, from the package's own list."""

from .common import MATRICES, RULES, stepped


class ByRule:
    params = (RULES, [10_000, 1_000_000])
    param_names = ("rule", "elements")

    def setup(self, rule, elements):
        side = int(elements**0.5)
        self.optimizer = stepped(rule, [(side, side) if rule in MATRICES else (elements,)])

    def time_step(self, rule, elements):
        self.optimizer.step()


class Options:
    """Rules that options make others."""

    params = (
        ["SGD(momentum=0.9)", "SGD(momentum=0.9, nesterov=True)", "Adam(amsgrad=True)", "RMSprop(momentum=0.9, centered=True)"],
        [10_000, 1_000_000],
    )
    param_names = ("rule", "elements")

    def setup(self, rule, elements):
        name, _, options = rule.partition("(")
        self.optimizer = stepped(name, [(elements,)], **eval(f"dict({options}"))

    def time_step(self, rule, elements):
        self.optimizer.step()
