"""All or nothing on a device too: a signal handler that raises at every opportunity of every call."""

import numpy as np
import pytest
import standin
from cases import make
from cuda_tools import start, there
from interruptions import all_of, interrupted, is_free

pytestmark = pytest.mark.filterwarnings("ignore:unclosed file", "ignore::pytest.PytestUnraisableExceptionWarning")
SHAPES = {"matrix": (6, 41), "vector": (300,)}
STEPS = {
    "adam": {"clip_global_norm": 0.5, "ema": 0.9, "norms": True},
    "nadam": {"accumulate": 2, "nonfinite": "skip"},
    "adafactor": {},
    "sgd": {"nonfinite": "raise", "zero_grads": True, "bounds": (-1.0, 1.0)},
}
OPERATIONS = {
    "reset": lambda life: life.optimizer.reset(),
    "state_dict": lambda life: life.optimizer.state_dict(),
    "load_state_dict": lambda life: life.optimizer.load_state_dict(life.saved, hyperparameters="restore"),
    "load": lambda life: life.optimizer.load(life.path, hyperparameters="restore"),
    "steps": lambda life: setattr(life.optimizer, "steps", 7),
    "state": lambda life: life.optimizer.state["vector"].update(m=np.ones(300), v=np.full(300, 2.0)),
}


class Life:
    """An optimizer on a device, after steps, with a file of it after the first."""

    def __init__(self, cupy, folder, case, options):
        self.params, self.path = there(cupy, start(shapes=SHAPES)), folder / "run.npz"
        self.grads = there(cupy, start(shapes=SHAPES, seed=9))
        self.optimizer = make(case, self.params, **options)
        self.optimizer.step(self.grads)
        self.optimizer.save(self.path)
        self.saved = self.optimizer.state_dict()
        self.optimizer.step(there(cupy, start(shapes=SHAPES, seed=9)))
        self.grads = there(cupy, start(shapes=SHAPES, seed=10))
        self.optimizer.lr = 0.5

    def all(self):
        return all_of(self.optimizer, *(p.get() for p in self.params.values()))


def at_every_opportunity(begin, operation, request):
    """Interrupt an operation at each opportunity, with ``--long``, else at fewer and fewer; return their number."""
    k = seen = 0
    while True:
        life = begin()
        before = life.all()
        k += 1 if request.config.getoption("--long") else 1 + k // 4
        reached = interrupted(lambda life=life: operation(life), k, as_c=standin.__file__)
        assert is_free(life.optimizer) and standin.current == [0]
        if not reached:
            return seen
        whole = begin()
        operation(whole)
        assert life.all() in (before, whole.all()), k
        life.optimizer.step(life.grads)
        seen += 1


@pytest.mark.parametrize("name", OPERATIONS)
def test_all_or_nothing(cupy, name, tmp_path, request):
    assert at_every_opportunity(lambda: Life(cupy, tmp_path, "adam", {}), OPERATIONS[name], request) > 5


@pytest.mark.parametrize("case", STEPS)
def test_steps_are_all_or_nothing(cupy, case, tmp_path, request):
    def step(life):
        life.optimizer.step(life.grads)

    assert at_every_opportunity(lambda: Life(cupy, tmp_path, case, STEPS[case]), step, request) > 5
