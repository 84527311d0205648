"""``python asv_bench/peers``: compare fastopt with everything that this machine can run, in ``docs/performance.md``.

The machinery and a two-minute selection are `fastopt.bench`; this is the whole table, about twelve minutes.
"""

import argparse
import json
from dataclasses import dataclass, replace
from pathlib import Path

from fastopt import bench
from fastopt.bench.works import ONE_VECTOR, by_size

DOCS = Path(__file__).parents[2] / "docs"
TORCHS = ("torch", "torch foreach", "torch default")
FRAMEWORKS = (*TORCHS, "DeepSpeed", "optax", "numba", "thinc", "scikit-learn", "keras", "numpy")
QUICK = ("torch", "DeepSpeed", "optax", "numba", "thinc", "scikit-learn", "numpy")  # Their steps have no avoidable overhead.
OURS = ("one thread", "two threads")

SECTIONS = {
    "By size": (
        "Steps one after the other: the threads of all are awake, and what fits in cache is there.",
        by_size(("10", "100", "1000", "1e4", "1e5", "1e6", "1e7"), *FRAMEWORKS, "stream", "two threads"),
    ),
    "By size, in float64": (
        "The same in NumPy's usual dtype.",
        {
            f"{n}, float64": work
            for n, work in by_size(("1e4", "1e5", "1e6", "1e7"), "torch", "optax", "numba", "numpy", *OURS, dtype="float64").items()
        },
    ),
    "From construction": (
        "The first 20 and 200 steps of a new optimizer, the mean of them; the first also touches the memory of the state.",
        {
            f"{n}, {first}": work
            for first in ("first 20", "first 200")
            for n, work in by_size(("1e4", "1e5", "1e6", "1e7"), "torch", "numpy", *OURS, before=first).items()
        },
    ),
    "After another process": (
        "Steps of the 0.3 s after another process has held a processor for 5 s.",
        {f"{n}, held": work for n, work in by_size(("1e6",), "torch", *OURS, before="held").items()},
    ),
    "After 10 ms of sleep": (
        "As in a loop that waits for data: threads and processors have gone to sleep.",
        {f"{n}, idle": w for n, w in by_size(("1000", "1e5", "1e6", "1e7"), *QUICK, *OURS, "stream", before="idle").items()},
    ),
    "After a matrix product": (
        "As for all who make gradients with NumPy: the threads of its BLAS still hold the processors after a product of 300 x 300.",
        {f"{n}, product": w for n, w in by_size(("1e4", "1e5", "1e6", "1e7"), *QUICK, *OURS, before="product").items()},
    ),
    "Many arrays": (
        "Adam on lists of arrays: of 100 elements, of 10 000, and a network's.",
        {
            name: replace(work, peers=FRAMEWORKS if work.grads == "bound" else ("torch",))
            for name, work in bench.WORKS.items()
            if len(work.shapes) > 1 and work.grads != "torch"
        },
    ),
    "In torch": (
        "`fastopt.torch.optimizer(fastopt.Adam, ...)` on torch's tensors; gradients stay the same, or are new in each step.",
        {
            f"{n}, in torch": w
            for n, w in by_size(("10", "1000", "1e4", "1e5", "1e6", "1e7"), "torch", "torch foreach", grads="torch").items()
        }
        | {
            "1000 tensors of 100, in torch": bench.WORKS["1000 tensors of 100, in torch"],
            "200 tensors of 10000, in torch": replace(bench.WORKS["200 arrays of 10000"], peers=("torch",), grads="torch"),
        }
        | {
            f"{n}, new gradients": w
            for n, w in by_size(("10", "1000", "1e4", "1e5", "1e6", "1e7"), "torch", grads="torch", before="renew").items()
        }
        | {"1000 tensors of 100, new gradients": replace(bench.WORKS["1000 tensors of 100, in torch"], before="renew")},
    ),
    "Small vectors in float64": (
        "The Adams of other packages, compared with a bound step, one with a list of gradients, and `fastopt.functional`.",
        {
            f"float64, n = {n}": bench.Work(((n,),), ("unbound", "functional", *ONE_VECTOR, "numpy", "torch"), dtype="float64")
            for n in (2, 20, 200)
        },
    ),
    "Rules, stages and formats": (
        "`torch` is its separate calls where fastopt has a stage; `float32` is Adam of fastopt on float32 arrays.",
        {
            name: work
            for name, work in bench.WORKS.items()
            if len(work.shapes) == 1
            and not work.before
            and not work.schedule
            and (work.rule != "Adam" or work.options or work.rows)
        }
        | {
            "all bfloat16, 1e7": bench.WORKS["all bfloat16, 1e7"],
            "subnormals, flushed, 1e5": bench.WORKS["subnormals, flushed, 1e5"],
        },
    ),
}


@dataclass(frozen=True)
class Goal:
    """A goal: how many times as long as fastopt a peer takes at least, and why not, if it does not.

    `most` instead of `least`: how many times as long as the peer fastopt takes at most.
    """

    work: str
    peer: str
    least: float = 0.0
    most: float = 0.0
    why: str = ""

    def found(self, results):
        """Return the figure, and whether it reaches the goal: "yes", "no", or "noise" if the quartiles disagree."""
        result = results[self.work][self.peer]
        figures = [result["ratio"], *result["quartiles"]]
        figures = [1 / x for x in figures] if self.most else figures
        reached = {x <= self.most if self.most else x >= self.least for x in figures}
        return figures[0], "noise" if len(reached) > 1 else "yes" if reached == {True} else "no"


GOALS = (
    Goal("10 elements", "torch", 60),
    Goal("1000 elements", "torch", 40),
    Goal("1e4 elements", "torch", 10),
    Goal("1e5 elements", "torch", 4.5, why="in cache, square roots and divisions set the pace, torch's too"),
    Goal("1e6 elements", "torch", 2, why="in cache, square roots and divisions set the pace, torch's too"),
    Goal("1e7 elements", "stream", most=1.05),
    Goal(
        "1000 arrays of 100, bound",
        "torch",
        200,
        why="most of it is arithmetic: of an array's 50 ns, 30 are square roots and divisions",
    ),
    Goal("1000 arrays of 100, list", "torch", 80, why="the same arithmetic, and a check of each new gradient"),
    Goal("1000 arrays of 100, mapping", "torch", 50),
    Goal("1000 tensors of 100, in torch", "torch", 10),
    *(Goal(f"{n} elements, in torch", "torch", 0.95) for n in ("10", "1000", "1e4", "1e5", "1e6", "1e7")),
    *(Goal(f"{n} elements, new gradients", "torch", 0.95) for n in ("10", "1000", "1e4", "1e5", "1e6", "1e7")),
    Goal("200 arrays of 10000", "torch", 5.5, why="32 MB of float32 and state: bound by memory where they do not fit in cache"),
    Goal("network, 6 arrays, 235146", "torch", 3.3, why="in cache, square roots and divisions set the pace, torch's too"),
    Goal("1e5 elements, product", "one thread", most=1.5),
    Goal("1e6 elements, product", "one thread", most=1.5),
    Goal("1e7 elements, product", "one thread", most=1.5),
    Goal("1e6 elements", "two threads", most=1.1),
    *(Goal(f"{rule}, 1e4 elements", "torch", 12) for rule in ("NAdam", "RAdam", "Adamax", "Adadelta", "Rprop", "ASGD")),
    *(Goal(f"{rule}, 1e7 elements", "torch", 6) for rule in ("RMSprop", "NAdam", "RAdam", "Adadelta", "Rprop")),
    Goal(
        "Adamax, 1e7 elements",
        "torch",
        6,
        why="torch's few passes cost little more than the arrays' own memory: both are bound by it",
    ),
    Goal("ASGD, 1e7 elements", "torch", 6, why="torch's own time is not twice what reading and writing the arrays takes"),
    Goal(
        "bfloat16 state, 1e7",
        "float32",
        1.35,
        why="20 bytes an element instead of 28 gain at most 1.4, and encoding takes longer than that where memory is fast",
    ),
    Goal("all bfloat16, 1e7", "float32", 1.6, why="its half of the bytes is met by twice the arithmetic"),
    Goal("all bfloat16, 1e7", "torch", 1.5, why="fastopt rounds stochastically, torch to nearest, which is less to compute"),
    Goal("float8 state, 1e7", "float32", 1.5, why="bound by arithmetic where memory is fast or vectors are executed in halves"),
    Goal(
        "clip, decay, average, 1e7", "torch", 1.6, why="one pass for the norm and one for the rest, of which memory sets the time"
    ),
    Goal("LAMB, 1e7", "float32", most=1.7, why="norms need every update before the first is made: it is computed twice"),
    Goal("LARS, 1e7", "float32", most=1.7, why="norms of parameters and gradients are one more pass over both"),
    Goal("Muon, 1000 x 1000", "torch in float32", 2, why="NumPy's BLAS: torch's does a product of these in about half the time"),
    Goal("subnormals, flushed, 1e5", "float32", most=1.1),
)


INTRODUCTION = """# Performance

Written by `python asv_bench/peers` on {date}; `python -m fastopt bench` is its two-minute selection.

- Machine: {processor}, {processors} processors, {system}, kernels for {instruction set}, NumPy's BLAS {blas}.
- Versions: {versions}.
- {rounds} rounds, {threads} threads. Not installed: {absent}.

A cell is how many times as long as fastopt a peer takes for the same step: the median of the rounds' ratios, and their quartiles.
Each competitor runs in a separate process, and all are visited in random order within a round, since two OpenMP runtimes in one
process slow each other, and machines change speed from second to second. Parameters and gradients are N(0, 1) float32 unless said,
the learning rate is 1e-9, fastopt's gradients are bound unless said. `torch` is fused where it has a fused kernel, `numpy` in place
with buffers, `keras` on its NumPy backend, `stream` a C loop that reads and writes what Adam does and computes next to nothing;
thinc clears the gradient, which is filled again within its time. `one thread`, `two threads`, `unbound` and `functional` are
fastopt with a fixed number of threads, with a list of gradients, and without an optimizer object.
"""


def microseconds(seconds):
    return f"{seconds * 1e6:,.2f} µs" if seconds < 1e-4 else f"{seconds * 1e3:,.2f} ms"


def table(results, works):
    """Return a row for each work: fastopt's time, then the ratio of each peer that any of them has."""
    peers = [p for p in bench.PEERS if p != "fastopt" and any(p in results[name] for name in works)]
    yield "| step | fastopt | " + " | ".join(peers) + " |"
    yield "|---|---|" + "---|" * len(peers)
    for name in works:
        cells = (bench.figure(results[name][p]) if p in results[name] else "" for p in peers)
        yield f"| {name} | {microseconds(results[name]['fastopt']['seconds'])} | " + " | ".join(cells) + " |"


def honest(results):
    """Return the works in which fastopt is not faster; the upper quartile tells a loss from a tie."""
    losses, ties, names = [], [], {"float32": "Adam of fastopt in float32", **{name: f"fastopt with {name}" for name in OURS}}
    for name, found in results.items():
        for peer, result in found.items():
            if peer in ("fastopt", "unbound", "functional", "stream"):
                continue
            low, high = result["quartiles"]
            if high < 1:
                losses.append(f"{name}: {names.get(peer, peer)} takes {bench.figure(result)} of the time")
            elif low < 1.1 and peer not in names:
                ties.append(f"{name}: {peer}, {bench.figure(result)}")
    yield "Slower than a peer:\n"
    yield from [f"- {loss}" for loss in losses] or ["- none"]
    yield "\nA tie, or nearly (the lower quartile is below 1.1):\n"
    yield from [f"- {tie}" for tie in ties] or ["- none"]


def goals(results):
    yield "| step | compared with | goal | found | |"
    yield "|---|---|---|---|---|"
    for goal in GOALS:
        if goal.peer not in results.get(goal.work, ()):
            continue
        found, verdict = goal.found(results)
        wanted = f"at most {goal.most:.3g}" if goal.most else f"at least {goal.least:.3g}"
        reason = f": {goal.why}" if goal.why else ""
        verdict = {"yes": "reached", "no": f"not reached{reason}", "noise": f"within this run's noise{reason}"}[verdict]
        yield f"| {goal.work} | {goal.peer} | {wanted} | {found:.3g} | {verdict} |"


def report(found):
    """Return the page."""
    results = found["works"]
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    absent = sorted(
        {p for _, works in SECTIONS.values() for w in works.values() for p in w.peers} - {p for r in results.values() for p in r}
    )
    yield INTRODUCTION.format(**{**found, "versions": versions, "absent": ", ".join(absent) or "none"})
    for title, (text, works) in SECTIONS.items():
        yield f"## {title}\n\n{text}\n"
        yield from table(results, works)
        yield "\n![time by size](performance.png)\n" if title == "By size" else ""
    yield "## Ties and losses\n"
    yield from honest(results)
    yield "\n## Goals\n\nWhat fastopt set out to reach, and what this run found; the reason where it falls short.\n"
    yield from goals(results)


def main():
    parser = argparse.ArgumentParser("python asv_bench/peers", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--select", default="", help="only works whose name holds this; prints, and writes nothing")
    parser.add_argument("--results", type=Path, default=DOCS / "performance.json", help="the figures; read if there, with --again")
    parser.add_argument("--again", action="store_true", help="write the page again from those figures")
    given = parser.parse_args()
    if given.again and given.select:
        parser.error("--again writes the page from what was measured, and --select writes nothing")
    works = {name: work for _, section in SECTIONS.values() for name, work in section.items() if given.select in name}
    if given.again:
        found = json.loads(given.results.read_text(encoding="utf-8"))
    else:
        found = {**bench.about(), "rounds": given.rounds, "threads": given.threads, "works": {}}
        try:
            bench.run(works, rounds=given.rounds, threads=given.threads, into=found["works"])
        finally:  # Keep what was measured.
            if not given.select:
                given.results.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    if given.select:
        return
    (DOCS / "performance.md").write_text("\n".join(report(found)) + "\n", encoding="utf-8")
    bench.plot(found["works"], str(DOCS / "performance.png"), f"{found['processor']}, {found['threads']} threads")
    print(f"written: {DOCS / 'performance.md'}")


if __name__ == "__main__":
    main()
