"""Errors of training loops: their classes, what the messages must name, and how to meet them."""

import numpy as np

import fastopt as fo
from fastopt._optimizer import files
from fastopt.training import EarlyStopping


def train(data=None, function=lambda w, x: (1.0, np.ones(2)), **options):
    """Train two numbers on four rows."""

    def call():
        w = np.zeros(2)
        fo.training.fit(function, w, np.ones((4, 2)) if data is None else data, fo.SGD(w), **options)

    return call


def resumed(**options):
    """Go on with another run than the one that was saved."""

    def call():
        train(checkpoint="run.npz", seed=0)()
        train(checkpoint="run.npz", resume=True, **{"seed": 0, **options})()

    return call


def of_an_optimizer():
    fo.SGD(np.zeros(2)).save("other.npz")
    train(checkpoint="other.npz", resume=True)()


def malformed():
    train(checkpoint="run.npz", seed=0)()
    meta, arrays = files.read("run.npz")
    meta["extra"]["training"]["sums"] = [0]
    files.write("run.npz", meta, arrays)
    train(checkpoint="run.npz", seed=0, resume=True)()


def on_batch_with_l1():
    params = {"coef": np.zeros(2), "intercept": np.zeros(1)}
    objective = fo.linear.Objective(alpha=1.0, l1_ratio=0.5)
    fo.training.fit(objective, params, (np.ones((2, 2)), np.ones(2)), fo.SGD(params), callbacks=[OnBatch()])


class OnBatch:
    def on_batch(self, run):
        pass


def fewer_epochs():
    train(checkpoint="fewer.npz", seed=0, epochs=3, resume=True)()
    train(checkpoint="fewer.npz", seed=0, resume=True)()


class KerasLike:
    def on_epoch(self, run):
        pass

    def on_epoch_end(self, epoch, logs):
        pass


OF_TRAINING = [
    (ValueError, ["epochs: 0, expected a whole number of at least 1"], train(epochs=0)),
    (ValueError, ["epochs: 1.5, expected a whole number"], train(epochs=1.5)),
    (ValueError, ["batch_size: 0, expected a whole number of at least 1, or None"], train(batch_size=0)),
    (TypeError, ["shuffle: 'no', expected True or False"], train(shuffle="no")),
    (TypeError, ["seed: 'a', expected a whole number", "numpy.random.Generator"], train(seed="a")),
    (TypeError, ["seed: -1, expected a whole number of at least 0"], train(seed=-1)),
    (ValueError, ["resume: True without a file, expected checkpoint=..."], train(resume=True)),
    (TypeError, ["callbacks: 3, expected a function of the run"], train(callbacks=3)),
    (TypeError, ["callbacks: the class EarlyStopping, expected an instance, as EarlyStopping()"], train(callbacks=[EarlyStopping])),
    (TypeError, ["callbacks: KerasLike.on_epoch_end would never be called, expected among on_begin"], train(callbacks=KerasLike())),
    (TypeError, ["loss_and_grad: returned None for the gradients"], train(function=lambda w, x: (1.0, None))),
    (ValueError, ["fewer.npz: 3 epochs, here epochs=1; expected as many at least"], fewer_epochs),
    (TypeError, ["loss_and_grad: returned 1.0, expected a pair"], train(function=lambda w, x: 1.0)),
    (TypeError, ["loss_and_grad: returned ('a', 'b'), expected a pair"], train(function=lambda w, x: ("a", "b"))),
    (TypeError, ["loss: returned 'a', expected a number"], train(validation=np.ones((2, 2)), loss=lambda w, x: "a")),
    (
        ValueError,
        ["data: list_iterator gives its batches once", "iterated 2 times"],
        lambda: train(iter([np.ones((2, 2))]), epochs=2)(),
    ),
    (
        ValueError,
        ["batch_size: 2 for an iterable of batches, expected none"],
        lambda: train(iter([np.ones((2, 2))]), batch_size=2)(),
    ),
    (ValueError, ["data: no batch, expected at least one"], lambda: train(iter([]))()),
    (ValueError, ["batch 1 of the data: no rows"], lambda: train(iter([np.ones((2, 2)), np.ones((0, 2))]))()),
    (ValueError, ["data: lengths [4, 3], expected the same"], train((np.ones(4), np.ones(3)))),
    (TypeError, ["data 1: ndarray of <U1, expected an array of numbers with rows"], train((np.ones(2), ["a", "b"]))),
    (TypeError, ["data 0: ndarray of object, expected an array of numbers"], train(np.array([None]))),
    (TypeError, ["optimizer: 3, expected an optimizer of these params"], lambda: fo.training.fit(None, np.ones(2), np.ones(2), 3)),
    (
        ValueError,
        ["params: not the arrays that the optimizer updates"],
        lambda: fo.training.fit(None, np.ones(2), np.ones(2), fo.SGD(np.ones(2))),
    ),
    (ValueError, ["run.npz: seed: saved 0, here 1; expected the same, or another file"], resumed(seed=1)),
    (ValueError, ["run.npz: rows: saved 4, here 2"], resumed(data=np.ones((2, 2)))),
    (ValueError, ["other.npz: a file of an optimizer or a minimization, expected one of training.fit"], of_an_optimizer),
    (ValueError, ["run.npz: malformed (IndexError"], malformed),
    (ValueError, ["loss_and_grad: Objective(", "expected arrays, and no callback with on_batch"], on_batch_with_l1),
    (ValueError, ["patience: 0, expected a whole number of at least 1"], lambda: EarlyStopping(patience=0)),
    (ValueError, ["min_delta: -1, expected a finite number of at least 0"], lambda: EarlyStopping(min_delta=-1)),
    (ValueError, ["monitor: 'accuracy', expected 'validation_loss', 'loss' or None"], lambda: EarlyStopping("accuracy")),
    (ValueError, ["monitor: 'validation_loss' without validation data"], train(callbacks=EarlyStopping("validation_loss"))),
    (TypeError, ["histories: list, expected a dict of them by name"], lambda: fo.plot.losses([[1.0]])),
    (ValueError, ["histories: 0, expected 1 to 8"], lambda: fo.plot.losses({})),
    (ValueError, ["steps: 0, expected at least 1"], lambda: fo.plot.schedules({"x": float}, 0)),
    (ValueError, ["rows: none, expected what report(flat=True) returned"], lambda: fo.plot.reports([])),
]
