"""Linear models: nanoseconds of a row in an epoch, and milliseconds of the worked example."""

import statistics
import time

import numpy as np

ROUNDS = 5


class Epochs:
    """Epochs of dense and sparse rows."""

    params = (
        [
            "dense, squared error, SGD",
            "dense, logistic, SGD",
            "dense, squared error, Adam",
            "dense, squared error, Adam, 32",
            "sparse, squared error, SGD",
            "sparse, squared error, Adagrad",
            "sparse, squared error, lazy Adam",
            "sparse, squared error, Adam, 256",
        ],
    )
    param_names = ("kind",)
    unit = "nanoseconds"

    def setup(self, kind):
        if kind.startswith("sparse"):
            try:
                import scipy  # noqa: F401
            except ImportError:
                raise NotImplementedError from None

    def track_row(self, kind):
        from fastopt.bench import models

        run, rows = models.epochs(kind)
        times = []
        for _ in range(ROUNDS):
            begin = time.perf_counter()
            run()
            times.append(time.perf_counter() - begin)
        return 1e9 * statistics.median(times) / rows


class Line:
    """The worked example, 100 epochs of 100 samples in batches of one, by the estimator."""

    params = ("sgd", "adam")
    param_names = ("optimizer",)

    def setup(self, optimizer):
        try:
            from fastopt.linear import LinearRegressor
        except ImportError:
            raise NotImplementedError from None
        rng = np.random.default_rng(0)
        self.x = rng.random((100, 1))
        self.y = 2 * self.x[:, 0] + 1 + 0.5 * rng.standard_normal(100)
        self.model = LinearRegressor(optimizer=optimizer, lr=0.01, batch_size=1, max_iter=100, tol=None, random_state=0)

    def time_fit(self, optimizer):
        self.model.fit(self.x, self.y)
