"""Copies and pickles of optimizers."""

import copy
import pickle

import numpy as np
import pytest
from cases import CASES, make, same

import fastopt as fo


@pytest.mark.parametrize("case", CASES)
def test_copies(case):
    p, g = np.ones(5), np.full(5, 0.5)
    optimizer = make(case, {"p": p})
    optimizer.step({"p": g})
    optimizer.bind({"p": g})
    q, pickled = pickle.loads(pickle.dumps((p, optimizer)))
    assert pickled.params["p"] is q and pickled.fingerprint() == optimizer.fingerprint()
    deep = copy.deepcopy(optimizer)
    shallow = copy.copy(optimizer)
    assert shallow.params["p"] is p and deep.params["p"] is not p
    optimizer.step()
    deep.step()
    pickled.step()
    assert deep.fingerprint() == optimizer.fingerprint() == pickled.fingerprint() and same(q, p)
    assert shallow.steps == 1 and "1 steps" in repr(shallow)
    optimizer.reset()
    assert optimizer.steps == 0 and optimizer.state["p"]["step"] == 0


@pytest.mark.parametrize("cls", [fo.SGD, fo.RMSprop])
@pytest.mark.parametrize("options", [{"momentum": 0.9}, {"momentum": 0.9, "nesterov": True}])
def test_a_momentum_set_to_zero_later_is_copied(cls, options):
    if cls is fo.RMSprop:
        options = {"momentum": 0.9}
    optimizer = cls(np.ones(3), lr=0.1, **options)
    optimizer.step(np.ones(3))
    optimizer.groups[0]["momentum"] = 0
    for twin in (copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer))):
        assert twin.fingerprint() == optimizer.fingerprint() and twin.groups[0]["momentum"] == 0


def test_an_optimizer_that_its_own_schedule_knows_is_copied():
    class Trainer:
        def __init__(self):
            self.optimizer = fo.Adam(np.ones(3), lr=self.rate)
            self.optimizer.trainer = self

        def rate(self, t):
            return 0.1

    trainer = Trainer()
    trainer.optimizer.step(np.ones(3))
    deep = copy.deepcopy(trainer.optimizer)
    assert deep.trainer.optimizer is deep and deep.groups[0]["lr"].__self__ is deep.trainer
    assert deep.fingerprint() == trainer.optimizer.fingerprint()


@pytest.mark.parametrize("dtype", [np.float32, np.complex128])
@pytest.mark.parametrize("case", CASES)
def test_reset_is_as_at_construction(case, dtype):
    p = np.ones(5, dtype)
    optimizer = make(case, p)
    fresh = optimizer.fingerprint()
    optimizer.step(np.full(5, 2, dtype))
    assert optimizer.fingerprint() != fresh
    p[:] = 1  # some state begins as a copy of it
    optimizer.reset()
    assert optimizer.fingerprint() == fresh


def test_copies_keep_what_a_subclass_has():
    class Mine(fo.Adam):
        pass

    class Rate:
        factor = 1.0

        def __call__(self, step):
            return 0.1 * self.factor

    rate, p, g = Rate(), np.ones(2), np.ones(2)
    optimizer = Mine({"p": p}, lr=rate, threads=1)
    optimizer.tag = {"p": p}
    optimizer.bind({"p": g})
    shallow, deep = copy.copy(optimizer), copy.deepcopy(optimizer)
    assert shallow.tag["p"] is p and shallow.groups[0]["lr"] is rate and shallow._settings.threads == 1
    assert type(deep) is Mine and deep.tag["p"] is deep.params["p"] and deep.params["p"] is not p
    rate.factor = 0.0
    g[:] = 0
    deep.step()
    assert deep.params["p"][0] < 1 and deep.groups[0]["lr"].factor == 1
    deeper = copy.deepcopy({"optimizer": optimizer, "p": p, "g": g})
    deeper["g"][:] = 1
    deeper["optimizer"].groups[0]["lr"] = 0.1
    deeper["optimizer"].step()
    assert (deeper["p"] < 1).all() and (p == 1).all()
