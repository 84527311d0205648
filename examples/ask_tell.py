"""Minimise a function that somebody else computes: an expensive simulator, whose answers come in their own time.

``python examples/ask_tell.py [--jobs N]``: runs N simulations (default 60) and saves after each; called again it goes on where it
was. The values so far go to ask_tell.png.
"""

import argparse
from pathlib import Path

import numpy as np

import fastopt as fo

FILE = "ask_tell.npz"


def simulate(x):
    """Return the drag of a shape and its gradient: a stand-in for a simulation that takes hours."""
    bumps = np.sin(3 * x) / 9
    return float(np.sum((x - 0.5) ** 2 + bumps**2)), 2 * (x - 0.5) + 2 * bumps * np.cos(3 * x) / 3


def main():
    """Go on with the run in the file, or begin one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=60)
    jobs = parser.parse_args().jobs
    m = fo.Minimizer(np.full(6, 2.0), method="adam", bounds=[(0, 3)] * 6, lr=0.1, gtol=1e-4, history=True)
    if Path(FILE).exists():
        m.load(FILE)
        print(f"going on after {m.nfev} simulations")
    for _ in range(jobs):
        if m.done:
            break
        m.tell(*simulate(m.ask()))
        m.save(FILE)
    found = m.result()
    print(f"{m.nfev} simulations, lowest value {found.fun:.6f}, {found.message}")
    draw(found.history)


def draw(history):
    """Draw the values to a file."""
    try:
        from matplotlib import pyplot
    except ImportError:
        return
    figure, axes = pyplot.subplots()
    history.plot(axes)
    figure.savefig("ask_tell.png")


if __name__ == "__main__":
    main()
