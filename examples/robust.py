"""Lines through points of which a tenth are wrong, by the squared error, Huber's loss and two quantiles; drawn to robust.png.

``python examples/robust.py``
"""

import numpy as np
from matplotlib.figure import Figure

import fastopt as fo

rng = np.random.default_rng(0)
x = rng.uniform(-1, 1, (300, 1))
y = 2 * x[:, 0] + 1 + 0.3 * rng.normal(size=300)
wrong = rng.random(300) < 0.1
y[wrong] += 8.0

MODELS = {
    "squared error": fo.linear.LinearRegressor(random_state=0),
    "Huber": fo.linear.LinearRegressor("huber", delta=0.5, random_state=0),
    "median": fo.linear.LinearRegressor("quantile", random_state=0),
    "quantile 0.9": fo.linear.LinearRegressor("quantile", quantile=0.9, random_state=0),
}


def fitted():
    """Return weight and bias of each model."""
    return {name: (float(model.fit(x, y).coef_[0]), float(model.intercept_[0])) for name, model in MODELS.items()}


def main():
    axes = (figure := Figure(layout="constrained")).subplots()
    axes.scatter(x[~wrong], y[~wrong], s=6, color="grey")
    axes.scatter(x[wrong], y[wrong], s=6, color="tab:red", label="wrong by 8")
    ends = np.array([-1.0, 1.0])
    for name, (weight, bias) in fitted().items():
        print(f"{name:14} weight {weight:.3f}  bias {bias:.3f}")
        axes.plot(ends, weight * ends + bias, label=name)
    axes.set(xlabel="x", ylabel="y", title="y = 2 x + 1")
    axes.legend()
    figure.savefig("robust.png", dpi=120)


if __name__ == "__main__":
    main()
