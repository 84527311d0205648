"""Overhead of Python around a kernel with almost no work."""

import functools

import numpy as np

import fastopt as fo

from .common import LEARNING_RATE, _Steps, bound


def functional(fresh):
    p, m, v = (np.zeros(10) for _ in range(3))
    return functools.partial(fo.functional.adam, p, np.ones(10), m, v, t=10, lr=LEARNING_RATE, out=None if fresh else (p, m, v))


STEPS = {
    "bound": lambda: bound("Adam", [(10,)]).step,
    "bound, with a scale": lambda: functools.partial(bound("Adam", [(10,)]).step, scale=0.5),
    "list": lambda: functools.partial(fo.Adam([np.zeros(10)], lr=LEARNING_RATE).step, [np.ones(10)]),
    "mapping": lambda: functools.partial(fo.Adam({"w": np.zeros(10)}, lr=LEARNING_RATE).step, {"w": np.ones(10)}),
    "functional": lambda: functional(fresh=False),
    "functional, new arrays": lambda: functional(fresh=True),
}


class Step(_Steps):
    """Ten elements."""

    params = tuple(STEPS)
    param_names = ("gradients",)

    def make(self, gradients):
        return STEPS[gradients]()


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


def groups(count):
    params = [{"params": np.zeros(10), "lr": LEARNING_RATE * (1 + i)} for i in range(count)]
    optimizer = fo.Adam(params)
    optimizer.bind([np.ones(10)] * count)
    return optimizer


class Groups(_Steps):
    """Many groups of one array each, as if every layer has its learning rate."""

    params = (1, 10, 100, 1_000)
    param_names = ("groups",)

    def make(self, count):
        return groups(count).step


class Report:
    params = (1, 10, 100, 1_000)
    param_names = ("groups",)

    def setup(self, count):
        self.optimizer = groups(count)
        self.optimizer.step()

    def time_report(self, count):
        self.optimizer.report()


SCHEDULES = {
    "number": lambda: LEARNING_RATE,
    "constant": lambda: fo.schedules.constant(LEARNING_RATE),
    "linear_decay": lambda: fo.schedules.linear_decay(LEARNING_RATE, 10**12),
    "exponential_decay": lambda: fo.schedules.exponential_decay(LEARNING_RATE, 0.999999),
    "function": lambda: lambda step: LEARNING_RATE,
}


class Schedules(_Steps):
    params = tuple(SCHEDULES)
    param_names = ("lr",)

    def make(self, lr):
        return bound("Adam", [(10,)], lr=SCHEDULES[lr]()).step
