"""Train on chunks of a file, so that memory never holds all of it; errors of the next chunk go to chunks.png.

``python examples/chunks.py [rows]``
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import fastopt as fo

COLUMNS, CHUNK = 50, 10_000


def write(path, rows):
    """Write rows and targets, chunk after chunk."""
    rng = np.random.default_rng(0)
    coef = rng.normal(size=COLUMNS)
    with open(path, "wb") as file:
        for _ in range(0, rows, CHUNK):
            x = rng.normal(size=(CHUNK, COLUMNS))
            np.column_stack([x, x @ coef + 0.1 * rng.normal(size=CHUNK)]).tofile(file)
    return coef


def chunks(path):
    """Yield the chunks of a file."""
    with open(path, "rb") as file:
        while (block := np.fromfile(file, count=CHUNK * (COLUMNS + 1))).size:
            block = block.reshape(-1, COLUMNS + 1)
            yield np.ascontiguousarray(block[:, :-1]), block[:, -1]


def train(path):
    """Return a model, and the loss of each chunk but the first before it was trained on."""
    # A rate of one's own: the default is chosen by the first chunk alone.
    model, losses = fo.linear.LinearRegressor(lr=0.01, batch_size=64, random_state=0), []
    for k, (x, y) in enumerate(chunks(path)):
        if k > 0:
            losses.append(model.evaluate(x, y))
        model.partial_fit(x, y)
    return model, losses


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "rows.bin")
        coef = write(path, int(sys.argv[1]) if len(sys.argv) > 1 else 200_000)
        model, losses = train(path)
    print(f"{len(losses) + 1} chunks, loss {losses[-1]:.4f}, largest error of a coefficient {np.abs(model.coef_ - coef).max():.4f}")
    axes = (figure := Figure(layout="constrained")).subplots()
    axes.semilogy(range(2, len(losses) + 2), losses)
    axes.set(xlabel="chunk", ylabel="loss before training on it")
    figure.savefig("chunks.png", dpi=120)
