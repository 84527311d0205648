"""Peak memory of the process, and memory of state."""

import numpy as np

from .common import MATRICES, RULES, bound

SIDE = 512


def bytes_of_an_element(optimizer):
    """Return the size of saved state per parameter."""
    kept = [a for state in optimizer.state_dict()["state"].values() for a in state.values() if isinstance(a, np.ndarray)]
    return sum(a.nbytes for a in kept) / SIDE**2


class Kept:
    params = RULES
    param_names = ("rule",)

    def setup(self, rule):
        self.optimizer = bound(rule, [(SIDE, SIDE)])

    def track_state_bytes_of_an_element(self, rule):
        return bytes_of_an_element(self.optimizer)

    track_state_bytes_of_an_element.unit = "bytes"


class Formats:
    params = ("float32", "bfloat16", "float16", "float8")
    param_names = ("state_dtype",)

    def setup(self, state_dtype):
        self.optimizer = bound("Adam", [(SIDE, SIDE)], state_dtype=state_dtype)

    def track_state_bytes_of_an_element(self, state_dtype):
        return bytes_of_an_element(self.optimizer)

    track_state_bytes_of_an_element.unit = "bytes"


class Peak:
    """Parameters and gradients of 16 MiB each."""

    params = ("SGD", "Adam", "LAMB", *MATRICES)
    param_names = ("rule",)

    def peakmem_steps(self, rule):
        optimizer = bound(rule, [(4 * SIDE, 4 * SIDE)])
        for _ in range(3):
            optimizer.step()
