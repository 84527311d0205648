"""``python -m fastopt bench``: compare a step of fastopt with those of its peers, each in its own process, as ratios.

Two OpenMP runtimes in one process slow each other, and processors change speed from second to second. So each competitor has a
process, all are visited in random order within a round, and what counts is the median of the rounds' ratios.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import os
import platform
import sys
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

import fastopt as fo
from fastopt._engine import dispatch
from fastopt.extras import advice, imported

from .peers import PEERS, available
from .rounds import Competitor, rounds_of, summary
from .works import LARGE, WORKS, Work

__all__ = ["PEERS", "WORKS", "Work", "about", "available", "bench", "main", "plot", "run"]


def about() -> dict[str, Any]:
    """Return the machine, the versions of installed packages, and the date."""
    processor = platform.processor() or platform.machine()
    if (info := Path("/proc/cpuinfo")).exists():
        processor = next((line.split(":", 1)[1].strip() for line in info.open() if line.startswith("model name")), processor)
    distributions = importlib.metadata.packages_distributions()
    packages = {"jax", "jaxlib", *(peer.package for peer in PEERS.values())}
    names = sorted({distributions[package][0] for package in packages if package in distributions})
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    versions = {"fastopt": fo.__version__, "python": platform.python_version()}
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "processor": processor,
        "processors": os.cpu_count(),
        "instruction set": dispatch.ISA,
        "system": f"{platform.system()} {platform.machine()}",
        "blas": f"{blas['name']} {blas['version']}",
        "versions": versions | {name: importlib.metadata.version(name) for name in names},
    }


def run(
    works: Mapping[str, Work],
    *,
    rounds: int = 5,
    threads: int = 2,
    seconds: float = 0.02,
    write: Callable[[str], None] = print,
    into: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Time works, and write the line of each when it is done; with tqdm, a bar shows progress.

    Parameters
    ----------
    works : mapping of str to Work
    rounds : int
        Visits of each competitor.
    threads : int
        Threads that each may use.
    seconds : float
        Minimum duration of a visit, in seconds.
    write : function of a str
        Receives each line.
    into : dict, optional
        Receives results as they come, so that an interrupted run leaves them.

    Returns
    -------
    dict
        For each work and competitor: ``seconds`` of a step, ``ratio`` to fastopt's, and ``quartiles`` of that over the rounds.

    Raises
    ------
    RuntimeError
        If fastopt cannot make a step of a work. A peer that cannot is left out; standard error says why.
    """
    wanted = {peer for work in works.values() for peer in work.peers}
    here = [peer for peer in available() if peer == "fastopt" or peer in wanted]
    works = {name: work for name, work in works.items() if not work.peers or {*work.peers} & {*here}}
    if absent := sorted(wanted - {*here}):
        write(f"not installed, and rows without any other peer left out: {', '.join(absent)}")
    competitors = {peer: Competitor(peer, threads, seconds) for peer in here}
    results = {} if into is None else into
    done, write, close = progress(len(works), write)
    write("how many times as long as fastopt others take, and quartiles over the rounds")
    try:
        for name, work in works.items():
            times, failed = rounds_of(work, competitors, rounds)
            results[name] = summary(times)
            for reason in failed:
                print(f"{name}: left out: {reason}", file=sys.stderr)
            write(f"{name:28}{line(results[name])}")
            done()
    finally:
        close()
        for competitor in competitors.values():
            competitor.close()
    return results


def line(found: Mapping[str, Any]) -> str:
    """Return the line of a work: fastopt's time, and the others' ratios with quartiles."""
    others = ", ".join(f"{peer} {figure(result)}" for peer, result in found.items() if peer != "fastopt")
    return f"{found['fastopt']['seconds'] * 1e6:8.2f} us   {others}"


def figure(result: Mapping[str, Any]) -> str:
    """Return a ratio with its quartiles, to three digits."""
    (low, high), middle = result["quartiles"], result["ratio"]
    low, middle, high = (f"{x:.3g}" if x < 1000 else f"{x:,.0f}" for x in (low, middle, high))
    return f"{middle} ({low}-{high})" if low != high else middle


def progress(count: int, write: Callable[[str], None]) -> tuple[Callable[[], object], Callable[[str], None], Callable[[], object]]:
    """Return three functions: count a finished work, write a line above the bar, close the bar."""
    try:
        from tqdm import tqdm
    except ImportError:
        # Without a bar, the lines of the table are the progress.
        return (lambda: None), write, (lambda: None)
    bar = tqdm(total=count, leave=False)

    def write_above(text: str) -> None:
        bar.clear()
        write(text)
        sys.stdout.flush()
        bar.refresh()

    return bar.update, write_above, bar.close


def selected(select: str, large: bool) -> dict[str, Work]:
    """Return the works whose names contain `select`."""
    works = {name: work for name, work in {**WORKS, **(LARGE if large else {})}.items() if select.lower() in name.lower()}
    if not works:
        names = "\n  ".join([*WORKS, *(f"{name} (with --large)" for name in LARGE)])
        raise ValueError(f"bench: no work's name holds {select!r}, expected part of one of\n  {names}")
    return works


def bench(select: str = "", *, rounds: int = 5, threads: int = 2, seconds: float = 0.02, large: bool = False) -> dict[str, Any]:
    """Time the works whose names contain `select`, and print a table.

    Parameters
    ----------
    select : str
    rounds, threads, seconds
        As in `run`.
    large : bool
        1e8 elements too, which takes 1.6 GB for each competitor.

    Returns
    -------
    dict
        As in `run`.

    Raises
    ------
    ValueError
        If no work's name contains it.
    """
    return run(selected(select, large), rounds=rounds, threads=threads, seconds=seconds)


def size_of(name: str) -> float | None:
    """Return the number of elements of a work named ``"<size> elements"``."""
    size, _, rest = name.partition(" ")
    return float(size) if rest == "elements" else None


def plot(results: Mapping[str, Any], path: str, note: str = "") -> None:
    """Plot times by size of the works named ``"<size> elements"``, with the limit that memory sets.

    Parameters
    ----------
    results : mapping
        From `run`.
    path : str
        File name, ``.png``, ``.svg`` or another format of matplotlib.
    note : str, optional
        Second line of the title, such as the machine and the number of threads.

    Raises
    ------
    ImportError
        Without matplotlib: ``pip install 'fastopt[plot]'``.
    ValueError
        If no work has such a name.
    """
    Figure = imported("plot", "plot", "matplotlib.figure").Figure
    lines: dict[str, list[tuple[float, float]]] = {}
    for name, found in results.items():
        if (size := size_of(name)) is not None:
            for peer in found.keys() - {"one thread", "two threads"}:
                # Below, calling the loop takes longer than its memory accesses.
                if peer != "stream" or size >= 1e5:
                    lines.setdefault(peer, []).append((size, found[peer]["seconds"]))
    if not lines:
        raise ValueError("plot: no work is named '<size> elements'")
    figure = Figure(figsize=(9, 5.5), layout="constrained")
    axes = figure.subplots()
    last = {peer: max(points)[1] for peer, points in lines.items()}
    # The legend lists the lines in the order of their ends.
    for k, peer in enumerate(sorted(lines, key=lambda peer: -last[peer])):
        style: dict[str, Any] = {"label": peer, "marker": ".", "color": f"C{k % 10}", "linestyle": "-" if k < 10 else ":"}
        if peer == "fastopt":
            style |= {"color": "black", "linewidth": 3, "linestyle": "-"}
        if peer == "stream":
            style |= {"label": "what memory allows", "color": "black", "linestyle": "--", "marker": ""}
        axes.loglog(*zip(*sorted(lines[peer]), strict=True), **style)
    axes.set(xlabel="elements of one float32 array", ylabel="seconds a step", title=f"One step of Adam\n{note}".rstrip())
    axes.grid(alpha=0.3)
    figure.legend(loc="outside right center")
    figure.savefig(path, dpi=120)


def positive(text: str) -> int:
    """Return a number of rounds or threads from the command line."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text}: expected a whole number from 1 on")
    return int(text)


def main(arguments: list[str]) -> int:
    """Run the command line of ``python -m fastopt bench``."""
    parser = argparse.ArgumentParser("python -m fastopt bench", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("select", nargs="?", default="", help="only works whose name holds this")
    parser.add_argument("--rounds", type=positive, default=5, metavar="N", help="visits of each competitor")
    parser.add_argument("--threads", type=positive, default=2, metavar="N", help="that each may use")
    parser.add_argument("--large", action="store_true", help="1e8 elements too: 1.6 GB a competitor")
    parser.add_argument("--json", metavar="FILE", help="write the results there too, with the machine and versions")
    parser.add_argument("--plot", metavar="FILE", help="a picture of time against size, with the limit that memory sets")
    given = parser.parse_args(arguments)
    try:
        works = selected(given.select, given.large)
    except ValueError as error:
        parser.error(str(error))
    if given.plot:
        if find_spec("matplotlib") is None:
            parser.error(f"--plot: needs matplotlib, {advice('plot')}")
        from matplotlib.figure import Figure

        if Path(given.plot).suffix[1:] not in (known := Figure().canvas.get_supported_filetypes()):
            parser.error(f"--plot: {given.plot!r}, expected a name that ends in one of {', '.join(known)}")
        if not any(map(size_of, works)):
            parser.error("--plot: none of these works is named '<size> elements'")
    try:
        # Before minutes of work; and after the other checks, since this creates the files.
        for path in filter(None, (given.json, given.plot)):
            with open(path, "a"):
                pass
    except OSError as error:
        parser.error(str(error))
    what = about()
    print(f"{what['processor']}, {what['processors']} processors, {what['system']}, kernels for {what['instruction set']}")
    results: dict[str, Any] = {}
    try:
        run(works, rounds=given.rounds, threads=given.threads, into=results)
    except KeyboardInterrupt:
        parser.exit(130, "interrupted\n")
    finally:
        if given.json:
            Path(given.json).write_text(json.dumps({**what, "works": results}, indent=1), encoding="utf-8")
    if given.plot:
        plot(results, given.plot, f"{what['processor']}, {given.threads} threads")
    return 0
