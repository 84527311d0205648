"""The table of choosing.md: runs of every method on six kinds of problems, over learning rates.

``python docs/choosing.py`` runs all (some minutes) and writes the table.
"""

import re
import sys
from pathlib import Path

import numpy as np
from scipy.optimize import minimize, rosen, rosen_der

import fastopt as fo

PAGE = Path(__file__).with_name("choosing.md")
RATES = 10.0 ** np.arange(-5, 1.51, 0.5)
METHODS = {
    "SGD": ("sgd", {}),
    "SGD, momentum 0.9": ("sgd", {"momentum": 0.9}),
    "Adam": ("adam", {}),
    "AdaBelief": ("adabelief", {}),
    "Adamax": ("adamax", {}),
    "Yogi": ("yogi", {}),
    "RMSprop": ("rmsprop", {}),
    "Adagrad": ("adagrad", {}),
    "Lion": ("lion", {}),
    "Rprop": ("rprop", {}),
    "Prodigy": ("prodigy", {}),
    "ScheduleFreeAdamW": ("schedulefreeadamw", {}),
}
ENOUGH = 1e-6  # Above the minimum; where a problem is without noise, calls until then count.
MOST = 5000  # Calls.


def noiseless(fun, x0, bounds=None):
    """Return the score of a method: calls until the value is near the minimum, which L-BFGS-B finds."""
    lowest = minimize(fun, x0, jac=True, method="L-BFGS-B", bounds=bounds, options={"ftol": 0, "gtol": 1e-10, "maxiter": 10000}).fun

    def score(method, lr, options):
        target = lowest + ENOUGH
        chosen = {"lr": lr, "target": target, "gtol": None, "ftol": None, "maxfun": MOST, "maxiter": np.inf, **options}
        found = fo.minimize(fun, x0, jac=True, method=method, bounds=bounds, options=chosen)
        return float(found.nfev) if found.fun <= target else np.inf

    return score


def quadratic(n, condition):
    """Return a quadratic of this condition number, with its minimum of 0 off the axes' origin."""
    rng = np.random.default_rng(0)
    turn = np.linalg.qr(rng.normal(size=(n, n)))[0]
    matrix, centre = turn @ np.diag(np.geomspace(1, condition, n)) @ turn.T, rng.normal(size=n)
    return lambda x: ((x - centre) @ matrix @ (x - centre) / 2, matrix @ (x - centre)), np.zeros(n)


def noisy(method, lr, options):
    """Return the mean of a quadratic at what 2,000 steps with noisy gradients return, over five runs."""
    scores = []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        averages = method == "schedulefreeadamw"
        chosen = {
            "lr": lr,
            "gtol": None,
            "ftol": None,
            "maxiter": 2000,
            "returns": "average",
            **({} if averages else {"ema": 0.99}),
        }
        found = fo.minimize(
            lambda x, rng=rng: (x @ x / 2 + rng.normal(), x + rng.normal(size=20)),
            np.full(20, 3.0),
            jac=True,
            method=method,
            options={**chosen, **options},
        )
        scores.append(found.x @ found.x / 2)
    return float(np.mean(scores))


def sparse(method, lr, options):
    """Return the loss of a table of 2,000 rows, of which each batch has a few, frequent ones and rare ones."""
    rng = np.random.default_rng(0)
    rows = np.minimum(rng.zipf(1.3, size=(1500, 32)) - 1, 1999)
    truth, table = rng.normal(size=(2000, 4)), np.zeros((2000, 4))
    optimizer = fo.minimization.methods.construct(method, table, {"lr": lr, **options})
    for batch in rows:
        kept, counts = np.unique(batch, return_counts=True)
        optimizer.step(fo.RowGradient(kept, (table[kept] - truth[kept]) * counts[:, None] / len(batch)))
    seen, counts = np.unique(rows, return_counts=True)
    return float(np.average(np.mean((table[seen] - truth[seen]) ** 2, axis=1), weights=counts))


def network(method, lr, options):
    """Return the test loss of a network for scikit-learn's digits after ten epochs."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    x, rng = x / 16, np.random.default_rng(0)
    order = rng.permutation(len(x))
    train, test = order[:1400], order[1400:]
    params = {"w": rng.normal(size=(64, 48)) / 8, "b": np.zeros(48), "v": rng.normal(size=(48, 10)) / 7, "c": np.zeros(10)}

    def loss_and_grads(p, x, y):
        hidden = np.maximum(x @ p["w"] + p["b"], 0)
        z = hidden @ p["v"] + p["c"]
        z = z - z.max(1, keepdims=True)
        share = np.exp(z) / np.exp(z).sum(1, keepdims=True)
        loss = -np.mean(np.log(np.maximum(share[np.arange(len(y)), y], 1e-300)))
        share[np.arange(len(y)), y] -= 1
        share /= len(y)
        back = (share @ p["v"].T) * (hidden > 0)
        return loss, {"w": x.T @ back, "b": back.sum(0), "v": hidden.T @ share, "c": share.sum(0)}

    optimizer = fo.minimization.methods.construct(method, params, {"lr": lr, **options})
    for _ in range(10):
        order = rng.permutation(train)
        for k in range(0, len(order), 32):
            optimizer.step(loss_and_grads(params, x[order[k : k + 32]], y[order[k : k + 32]])[1])
    shown = optimizer.average if method == "schedulefreeadamw" else params
    return float(loss_and_grads(shown, x[test], y[test])[0])


START = np.tile([-1.2, 1.0], 5)
# Kind of problem: its score, lower is better, and what the score is.
PROBLEMS = {
    "smooth: Rosenbrock, 10 variables": (noiseless(lambda x: (rosen(x), rosen_der(x)), START), "calls"),
    "badly scaled: condition 10,000, 10 variables": (noiseless(*quadratic(10, 1e4)), "calls"),
    "bounded: Rosenbrock, each variable up to 0.9": (
        noiseless(lambda x: (rosen(x), rosen_der(x)), START * 0.5, [(-2, 0.9)] * 10),
        "calls",
    ),
    "noisy: quadratic, 20 variables": (noisy, "loss"),
    "sparse: a table of 2,000 rows": (sparse, "loss"),
    "network: digits, 10 epochs": (network, "loss"),
}


# Prodigy sums over all rows of a table; schedule-free methods average them, and have no bounds.
UNSUITED = {"sparse": ("Prodigy", "ScheduleFreeAdamW"), "bounded": ("ScheduleFreeAdamW",)}


def runs(methods, problems, rates):
    """Return scores by problem and method, an array over the rates."""
    found = {}
    for problem in problems:
        score = PROBLEMS[problem][0]
        for name in methods:
            method, options = METHODS[name]
            if any(word in problem and name in names for word, names in UNSUITED.items()):
                continue
            with np.errstate(all="ignore"):
                found[problem, name] = np.array([finite(score(method, lr, options)) for lr in rates])
            print(problem, name, found[problem, name].min(), file=sys.stderr, flush=True)
    return found


def finite(score):
    """Return a score, infinity for NaN."""
    return score if np.isfinite(score) else np.inf


def table(found, rates):
    """Return the rows of the table: for each problem the best methods, their best rate and those that are nearly as good."""
    lines = ["| problem | method | best rate | rates nearly as good | result |", "|---|---|---|---|---|"]
    for problem in dict.fromkeys(p for p, _ in found):
        kind = PROBLEMS[problem][1]
        names = sorted((name for p, name in found if p == problem), key=lambda name: found[problem, name].min())
        for place, name in enumerate(names[:5]):
            score = found[problem, name]
            good = rates[score <= score.min() * (2 if kind == "calls" else 1.5)]
            if not np.isfinite(score.min()):
                continue
            result = f"{score.min():,.0f} calls" if kind == "calls" else f"{score.min():.3g}"
            span = f"{good[0]:.0e} to {good[-1]:.0e}" if len(good) > 1 else f"{good[0]:.0e} alone"
            head = problem if place == 0 else ""
            lines.append(
                f"| {head} | {name} | {rates[score.argmin()]:.0e} | {span} | {result} |".replace("e-0", "e-").replace("e+0", "e")
            )
    return "\n".join(lines)


def main():
    """Run everything, and write the table into the page."""
    text = table(runs(METHODS, PROBLEMS, RATES), RATES)
    page = re.sub(
        r"(<!-- table: choosing -->\n).*?(<!-- end -->)", lambda m: f"{m[1]}{text}\n{m[2]}", PAGE.read_text(), flags=re.DOTALL
    )
    PAGE.write_text(page)
    print(text)


if __name__ == "__main__":
    main()
