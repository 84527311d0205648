"""Fit predators and prey (Lotka and Volterra) to noisy counts, within bounds, from values that are noisy themselves.

``python examples/ode_fit.py``: each evaluation looks at a random half of the counts. L-BFGS-B, which takes its values for exact,
stops early and far off; Adam with an average of its points goes on. The fits go to ode_fit.png.
"""

import numpy as np
from matplotlib.figure import Figure
from scipy.integrate import solve_ivp
from scipy.optimize import minimize

import fastopt as fo

TRUTH = np.array([1.1, 0.4, 0.4, 0.1])  # Growth, loss to predators, their death, their growth by prey.
START, BOUNDS = np.array([0.9, 0.5, 0.5, 0.15]), [(0.05, 2.0)] * 4
TIMES, FIRST = np.linspace(0, 12, 40), [10.0, 5.0]


def system(_, y, a, b, c, d):
    """Return the derivatives of both counts, and of their sensitivities to the four parameters."""
    u, v, s = y[0], y[1], y[2:].reshape(2, 4)
    by_state = np.array([[a - b * v, -b * u], [d * v, d * u - c]])
    by_parameter = np.array([[u, -u * v, 0, 0], [0, 0, -v, u * v]])
    return np.concatenate([[a * u - b * u * v, d * u * v - c * v], (by_state @ s + by_parameter).ravel()])


def solve(parameters):
    """Return the counts at all times, and their sensitivities."""
    first = [*FIRST, *np.zeros(8)]
    found = solve_ivp(system, (0, TIMES[-1]), first, "LSODA", TIMES, args=tuple(parameters), rtol=1e-6, atol=1e-8)
    return found.y[:2], found.y[2:].reshape(2, 4, -1)


def fun(parameters, data, rng):
    """Return the mean squared error of logarithms at a random half of the times, and its gradient."""
    chosen = rng.permutation(len(TIMES))[: len(TIMES) // 2]
    counts, sensitivities = solve(parameters)
    r = np.log(counts / data)[:, chosen]
    return np.mean(r**2), 2 * np.einsum("ct,cpt->p", r / counts[:, chosen], sensitivities[:, :, chosen]) / r.size


if __name__ == "__main__":
    rng = np.random.default_rng(1)
    data = solve(TRUTH)[0] * (1 + 0.1 * rng.normal(size=(2, len(TIMES))))
    problem = {"fun": fun, "x0": START, "args": (data, rng), "jac": True, "bounds": BOUNDS}
    with np.errstate(invalid="ignore"):  # On its way it meets parameters whose counts fall below 0.
        lbfgs = minimize(**problem, method="L-BFGS-B")
    adam = fo.minimize(**problem, options={"lr": 0.05, "maxiter": 400, "ema": 0.97, "returns": "average", "ftol": None})
    axes = (figure := Figure(figsize=(8, 4), layout="constrained")).subplots()
    axes.plot(TIMES, data.T, "o", label=["prey", "predators"])
    for name, found, style in (("L-BFGS-B", lbfgs, "--"), ("Adam, averaged", adam, "-")):
        error = np.abs(found.x / TRUTH - 1).max()
        print(f"{name}  {found.nfev} evaluations, parameters {np.round(found.x, 3)}, at most {100 * error:.1f}% off")
        axes.set_prop_cycle(None)
        axes.plot(TIMES, solve(found.x)[0].T, style, label=[f"prey, {name}", f"predators, {name}"])
    axes.set(xlabel="time", ylabel="count")
    axes.legend(fontsize="small")
    figure.savefig("ode_fit.png")
