"""``python asv_bench/check.py dashboard | guard``: check that the dashboard draws, and that regressions are found.

``dashboard`` looks at the pages in a headless Chromium: they show real results of this commit, and copies of them with a planted
regression that stand for the commits before it. ``guard`` commits an extra pass over memory in a clone of its own, and lets
`asv continuous` compare it, and unchanged code five times; about seven minutes.
"""

import argparse
import copy
import json
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import dashboard

REPO = dashboard.HERE.parent
FACTOR, WATCHED = 1.2, "ratios.OfStream.track"  # what `asv continuous` compares, as CONTRIBUTING says
PLANTED = "ratios.OfNumPy.track_time"
CHROMIUM = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
STEP = "        done = self._backend.run(self._count, scale, cleared, accumulating)\n"
EXTRA_PASS = "        for parameter in self._parameters:\n            parameter.array += 0\n"


def git(folder, *arguments):
    done = subprocess.run(["git", *arguments], cwd=folder, check=True, text=True, capture_output=True)
    return done.stdout.strip()


def clone(folder):
    """Clone the committed state, to commit in."""
    subprocess.run(["git", "clone", "-q", REPO, folder], check=True)
    git(folder, "config", "user.name", "check")
    git(folder, "config", "user.email", "check@example.invalid")
    return folder / "asv_bench"


def planted_history(suite):
    """Make up results of the last twelve commits; from the seventh on, one benchmark takes half as long again."""
    commits = git(suite, "rev-list", "--first-parent", "--max-count=12", "HEAD").split()[::-1]
    (path,) = [p for p in suite.glob(".asv/results/*/*.json") if p.name != "machine.json"]
    newest = json.loads(path.read_text())
    column = newest["result_columns"].index("result")
    for i, commit in enumerate(commits):
        results = copy.deepcopy(newest)
        results["commit_hash"] = commit
        results["date"] = 1000 * int(git(suite, "show", "-s", "--format=%ct", commit))
        rows = results["results"][PLANTED][column]
        results["results"][PLANTED][column] = [x * (1.5 if i >= 6 else 1.0) * (1 + 0.01 * (i % 2)) for x in rows]
        path.with_name(path.name.replace(newest["commit_hash"][:8], commit[:8])).write_text(json.dumps(results))


def seen(url, folder, *options):
    """Return the page as Chromium has it after running its scripts."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        raise SystemExit("check: needs chromium")
    command = [program, *CHROMIUM, f"--user-data-dir={folder}/profile", "--virtual-time-budget=20000", "--window-size=1400,1000"]
    return subprocess.run([*command, *options, url], check=True, text=True, capture_output=True, timeout=120).stdout


def check_dashboard(pictures):
    """Check the list of benchmarks, a graph and the regressions, as a browser shows them."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        suite = clone(folder / "clone")
        dashboard.asv("machine", "--yes", folder=suite, stdout=subprocess.DEVNULL)
        head = git(suite, "rev-parse", "HEAD")
        dashboard.asv(
            "run", "--python=same", f"--set-commit-hash={head}", f"--bench={PLANTED}", "--bench=overhead.Step", folder=suite
        )
        planted_history(suite)
        dashboard.asv("publish", folder=suite)
        html = suite / ".asv" / "html"
        dashboard.keep_libraries(html)
        with dashboard.server(html, 0) as pages:
            threading.Thread(target=pages.serve_forever, daemon=True).start()
            base = f"http://127.0.0.1:{pages.server_port}/#"
            found = {part: seen(base + part, folder, "--dump-dom") for part in ("/", PLANTED, "/regressions")}
            for part, picture in {"/": "list", PLANTED: "graph", "/regressions": "regressions"}.items():
                seen(base + part, folder, f"--screenshot={pictures / picture}.png")
            pages.shutdown()
    assert "overhead.Step" in found["/"] and "OfNumPy.track_time" in found["/"], "the list lacks benchmarks"
    assert 'class="flot-base"' in found[PLANTED] and "flot-tick-label" in found[PLANTED], "no graph is drawn"
    assert PLANTED in found["/regressions"] and "overhead" not in found["/regressions"].split("<tbody")[-1], "the regressions"
    print(f"dashboard: drawn, and the planted regression is listed; pictures in {pictures}")


def slower(suite, base, head):
    """Return True if `asv continuous` finds ratios of `head` above those of `base`."""
    command = ["continuous", f"--factor={FACTOR}", f"--bench={WATCHED}", base, head]
    done = subprocess.run([sys.executable, "-m", "asv", *command], cwd=suite, text=True, capture_output=True)
    print(done.stdout[done.stdout.find("| Change") :] if "| Change" in done.stdout else done.stdout[-200:], flush=True)
    # Exit status 1 also means an error.
    if done.returncode not in (0, 1) or (done.returncode == 1 and "| Change" not in done.stdout):
        raise SystemExit(
            f"check: asv continuous ended with exit status {done.returncode}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
        )
    return bool(done.returncode)


def check_guard(times):
    """Check that an additional pass over memory is found, and unchanged code is not."""
    with tempfile.TemporaryDirectory() as name:
        suite = clone(Path(name, "clone"))
        dashboard.asv("machine", "--yes", folder=suite, stdout=subprocess.DEVNULL)
        base = git(suite, "rev-parse", "HEAD")
        git(suite, "commit", "-q", "--allow-empty", "-m", "Nothing")
        unchanged = git(suite, "rev-parse", "HEAD")
        passed = [not slower(suite, base, unchanged) for _ in range(times)]
        source = suite.parent / "fastopt" / "_engine" / "stepper.py"
        text = source.read_text()
        assert text.count(STEP) == 1, "the place to plant is gone"
        source.write_text(text.replace(STEP, EXTRA_PASS + STEP))
        git(suite, "commit", "-q", "-a", "-m", "An extra pass over memory")
        caught = slower(suite, base, git(suite, "rev-parse", "HEAD"))
    print(f"guard: unchanged code passed {sum(passed)} of {times} times; the extra pass was {'caught' if caught else 'NOT caught'}")
    return int(not (caught and all(passed)))


def main():
    parser = argparse.ArgumentParser("python asv_bench/check.py", description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["dashboard", "guard"])
    parser.add_argument("--times", type=int, default=5, help="comparisons of unchanged code")
    parser.add_argument("--pictures", type=Path, default=dashboard.HERE / ".asv", help="where the screenshots go")
    given = parser.parse_args()
    if given.what == "guard":
        return check_guard(given.times)
    given.pictures.mkdir(parents=True, exist_ok=True)
    return check_dashboard(given.pictures)


if __name__ == "__main__":
    raise SystemExit(main())
