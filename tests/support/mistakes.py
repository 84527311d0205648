"""Mistakes that users make, for the table of messages."""

import numpy as np
import scipy.sparse
import torch

import fastopt as fo


def w(*shape, dtype=np.float64):
    return np.ones(shape or (3,), dtype)


def adam(**options):
    """An optimizer of one parameter after a step."""
    optimizer = fo.Adam({"w": w()}, lr=0.1, **options)
    optimizer.step({"w": w()})
    return optimizer


def grouped():
    return fo.Adam([{"params": w()}, {"params": w(), "lr": 0.5}])


def read_only(a):
    a.flags.writeable = False
    return a


def changed(path, **values):
    """Load a state of which one entry is another; a path leads to it."""
    optimizer = adam()
    state = optimizer.state_dict()
    at = state
    for key in path:
        at = at[key]
    at.update(values)
    optimizer.load_state_dict(state)


def loads(*, hyperparameters=None, steps=0, **options):
    """Load the state of another Adam."""
    optimizer = fo.Adam({"w": w()}, lr=0.1)
    for _ in range(steps):
        optimizer.step({"w": w()})
    fo.Adam({"w": w()}, **{"lr": 0.1, **options}).load_state_dict(optimizer.state_dict(), hyperparameters=hyperparameters)


def tied():
    a = w()
    return fo.Adam({"in": a, "out": a})


def endless():
    """Two schedules that set each other."""

    def first(step):
        optimizer.groups[0]["betas"] = (lambda step: first(step), 0.9)
        return 0.5

    optimizer = fo.Adam(w(), betas=(first, 0.9))
    optimizer.step(w())


def plateau_of_a_function():
    fo.training.ReduceOnPlateau().update(fo.SGD(w(), lr=overflowing), 1.0)


def overflowing(step):
    return 2.0 ** (1024 + step)


def foreign(a):
    return a.astype(a.dtype.newbyteorder())


@fo.rule
def own(p, g, *, speed):
    return speed * g


@fo.rule
def reserved(p, g, *, ema):
    return ema * g


def scaled(*, dtype=np.float64, **options):
    return fo.SGD(w(dtype=dtype), **options)


def nested():
    found = []
    for _ in range(200):
        found = [found]
    return found


def nested_schedules():
    found = fo.schedules.constant(1.0)
    for _ in range(40):
        found = fo.schedules.join([found], [])


def narrow():
    return fo.Adam(w(dtype=np.float32), state_dtype="float8").state["0"]


def split():
    return fo.SGD(np.ones(3, fo.bfloat16), master="split").state["0"]


def freed():
    a = torch.ones(3)
    a.untyped_storage().resize_(0)
    return a


class Refusing:
    def __dlpack__(self, **options):
        raise BufferError("no")

    def __dlpack_device__(self):
        return 1, 0


class Raising:
    def __array__(self, dtype=None, copy=None):
        raise ValueError("no")


def within(work):
    """Do something with an optimizer in the middle of its step."""
    optimizer = fo.SGD(w(), lr=lambda step: work(optimizer))
    optimizer.step(w())


def made_read_only():
    a = w()
    optimizer = fo.SGD(a)
    read_only(a)
    optimizer.step(w())


def not_finite(g):
    shape = (8, 2) if isinstance(g, fo.RowGradient) else np.shape(g)
    if isinstance(g, float):
        g, shape = np.array([[1.0, 1, 1], [1, 1, g]]), (2, 3)
    fo.SGD(np.ones(shape), nonfinite="raise").step(g)


def rows(a, g, cls=fo.SGD, **options):
    cls(a, **options).step(g)


def broken_csr():
    found = scipy.sparse.csr_matrix(np.ones((4, 2)))
    found.indices[0] = 9
    return found


def broken_coo():
    found = scipy.sparse.coo_matrix(([1.0], ([0], [1])), (4, 2))
    found.col[0] = 5
    return found


def behind():
    a = w(4, 2)
    optimizer = fo.Adam(a, mode="exact")
    for k in range(2):
        optimizer.step(fo.RowGradient([k], w(1, 2)))
    read_only(a)
    optimizer.catch_up()


def decays():
    optimizer = fo.Adam(w(), weight_decay=0.1)
    fo.Adam(w(), weight_decay=0.1, convention="keras").load_state_dict(optimizer.state_dict())


def restores(**hyperparameters):
    optimizer = adam()
    state = optimizer.state_dict()
    state["groups"][0].update(hyperparameters)
    optimizer.load_state_dict(state, hyperparameters="restore")


def carried(**numbers):
    optimizer = fo.NAdam(w())
    optimizer.step(w())
    state = optimizer.state_dict()
    state["state"]["0"].update(numbers)
    optimizer.load_state_dict(state)


def stored_otherwise():
    a = w(dtype=np.float32)
    fo.Adam(a, state_dtype="bfloat16").load_state_dict(fo.Adam(a).state_dict())


def loads_read_only():
    optimizer = adam()
    optimizer.save("a.npz")
    read_only(optimizer.params["w"])
    optimizer.load("a.npz")


def adapter(cls=fo.Adam, shape=(3,), **options):
    """A torch optimizer after a step, and its parameter."""
    a = torch.nn.Parameter(torch.ones(shape))
    optimizer = fo.torch.optimizer(cls, [a], **options)
    a.grad = torch.ones(shape)
    optimizer.step()
    return optimizer, a


def adapter_state(change, cls=fo.Adam, **options):
    """Change one entry of a torch optimizer's state."""
    optimizer, a = adapter(cls, **options)
    change(optimizer.state, a)


def other_state():
    theirs = torch.optim.Adagrad([torch.nn.Parameter(torch.ones(3))])
    adapter()[0].load_state_dict(theirs.state_dict())


def of_another_shape():
    optimizer, a = adapter()
    a.data = torch.ones(2)
    a.grad = torch.ones(2)
    optimizer.step()


def shared_state():
    optimizer, a = adapter()
    optimizer.state[a]["exp_avg"].data = torch.ones(3).share_memory_()
    optimizer.state[a]["step"] = torch.tensor(2.0)


def two_elements(state, a):
    state[a]["exp_avg"] = torch.ones(2)


def whole_numbers(state, a):
    state[a]["exp_avg"] = torch.ones(3, dtype=torch.int64)


def negative_rate():
    optimizer, _ = adapter()
    optimizer.param_groups[0]["lr"] = -1.0
    optimizer.step()
