"""What Python costs around a kernel that has next to nothing to do."""

import numpy as np

import fastopt as fo

from .common import LEARNING_RATE, optimizer, stepped


class Step:
    """Ten elements."""

    def setup(self):
        self.bound = stepped("Adam", [(10,)])
        self.unbound, self.grads = optimizer("Adam", [(10,)], bind=False)
        self.p, self.m, self.v = (np.zeros(10) for _ in range(3))
        self.g = np.ones(10)
        self.read_only = fo.Adam(np.zeros(10), lr=LEARNING_RATE)

    def time_bound(self):
        self.bound.step()

    def time_bound_with_scale(self):
        self.bound.step(scale=0.5)

    def time_list(self):
        self.unbound.step(self.grads)

    def time_functional(self):
        fo.functional.adam(self.p, self.g, self.m, self.v, t=10, lr=LEARNING_RATE, out=(self.p, self.m, self.v))

    def time_functional_into_new_arrays(self):
        fo.functional.adam(self.p, self.g, self.m, self.v, t=10, lr=LEARNING_RATE)


class Construction:
    params = (1, 1_000)
    param_names = ("arrays",)

    def setup(self, arrays):
        self.params = [np.zeros(10) for _ in range(arrays)]
        self.grads = [np.ones(10) for _ in range(arrays)]
        self.optimizer = fo.Adam(self.params)

    def time_construct(self, arrays):
        fo.Adam(self.params)

    def time_bind(self, arrays):
        self.optimizer.bind(self.grads)


class Groups:
    """Many groups of one array each, as where every layer has its learning rate."""

    params = (1, 10, 100, 1_000)
    param_names = ("groups",)

    def setup(self, groups):
        params = [{"params": np.zeros(10), "lr": LEARNING_RATE * (1 + i)} for i in range(groups)]
        self.optimizer = fo.Adam(params)
        self.optimizer.bind([np.ones(10)] * groups)
        self.optimizer.step()

    def time_step(self, groups):
        self.optimizer.step()

    def time_report(self, groups):
        self.optimizer.report()


SCHEDULES = {
    "number": lambda: LEARNING_RATE,
    "constant": lambda: fo.schedules.constant(LEARNING_RATE),
    "linear_decay": lambda: fo.schedules.linear_decay(LEARNING_RATE, 10**12),
    "exponential_decay": lambda: fo.schedules.exponential_decay(LEARNING_RATE, 0.999999),
    "function": lambda: lambda step: LEARNING_RATE,
}


class Schedules:
    params = tuple(SCHEDULES)
    param_names = ("lr",)

    def setup(self, lr):
        self.optimizer = stepped("Adam", [(10,)], lr=SCHEDULES[lr]())

    def time_step(self, lr):
        self.optimizer.step()
