"""Logistic regression on sparse rows, by exact and lazy Adam, Adagrad and FTRL; losses go to sparse_text.png.

``python examples/sparse_text.py``
"""

import time

import numpy as np
from scipy import sparse

import fastopt as fo

WORDS, DOCUMENTS, LENGTH = 5000, 2000, 60


def corpus():
    """Return counts of words, which are as frequent as in a language (Zipf), and labels that depend on all of them."""
    rng = np.random.default_rng(0)
    share = 1 / np.arange(1, WORDS + 1)
    words = rng.choice(WORDS, (DOCUMENTS, LENGTH), p=share / share.sum())
    rows = np.repeat(np.arange(DOCUMENTS), LENGTH)
    x = sparse.csr_array((np.ones(words.size), (rows, words.ravel())), (DOCUMENTS, WORDS))
    score = x @ rng.normal(size=WORDS)
    return x, (score > np.median(score)).astype(int)


MODELS = {
    "Adam, exact": {"optimizer": "adam", "lr": 0.003},
    "Adam, lazy": {"optimizer": "adam", "lr": 0.003, "mode": "lazy"},
    "Adagrad": {"optimizer": "adagrad", "lr": 0.1},
    "FTRL, l1=0.3": {"optimizer": "ftrl", "lr": 0.1, "optimizer_options": {"l1": 0.3}},
}


def main():
    x, y = corpus()
    curves = {}
    for name, options in MODELS.items():
        model, losses = fo.linear.LinearClassifier(**options, batch_size=16, random_state=0), []
        began = time.perf_counter()
        for _ in range(15):
            model.partial_fit(x[:1600], y[:1600], classes=[0, 1])
            losses.append(model.evaluate(x[1600:], y[1600:]))
        seconds, zeros = time.perf_counter() - began, np.mean(model.coef_ == 0)
        print(f"{name:14} test accuracy {model.score(x[1600:], y[1600:]):.1%}  zeros {zeros:.0%}  {seconds:.2f} s")
        curves[name] = losses
    axes = fo.plot.losses(curves)
    axes.set(ylabel="logistic loss of test documents")
    axes.figure.savefig("sparse_text.png", dpi=120)


if __name__ == "__main__":
    main()
