"""``python asv_bench/dashboard.py``: run the suite over the last commits, and serve the graphs.

The commits take turns round by round, so that a machine that changes speed does so for all of them. Results stay in
``asv_bench/.asv``: another run adds to them.
"""

import argparse
import contextlib
import functools
import http.server
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
# Files that asv's pages load from the internet: name in index.html, npm package, and file in it.
LIBRARIES = {
    "jquery-3.3.1.min.js": ("jquery@3.3.1", "dist/jquery.min.js"),
    "jquery.flot.min.js": ("flot@0.8.3", "jquery.flot.js"),
    "jquery.flot.time.min.js": ("flot@0.8.3", "jquery.flot.time.js"),
    "jquery.flot.selection.min.js": ("flot@0.8.3", "jquery.flot.selection.js"),
    "jquery.flot.categories.min.js": ("flot@0.8.3", "jquery.flot.categories.js"),
    "jquery.flot.orderBars.js": ("flot-orderbars@1.0.0", "js/jquery.flot.orderBars.js"),
    "stupidtable.min.js": ("stupid-table-plugin@1.1.3", "stupidtable.min.js"),
    "md5.min.js": ("blueimp-md5@2.19.0", "js/md5.min.js"),
    "bootstrap.min.js": ("bootstrap@3.1.1", "dist/js/bootstrap.min.js"),
    "bootstrap.min.css": ("bootstrap@3.1.1", "dist/css/bootstrap.min.css"),
}


def asv(*arguments, folder=HERE, allowed=(0,), **options):
    """Run asv with the suite's configuration."""
    done = subprocess.run([sys.executable, "-m", "asv", *arguments], cwd=folder, text=True, **options)
    if done.returncode not in allowed:
        raise SystemExit(f"asv {arguments[0]} ended with exit status {done.returncode}")


def measure(count, bench, folder=HERE):
    """Run the suite over the last commits of the current branch, interleaved."""
    listed = ["git", "rev-list", "--first-parent", f"--max-count={count}", "HEAD"]
    commits = subprocess.run(listed, cwd=folder, check=True, text=True, capture_output=True).stdout
    asv("machine", "--yes", folder=folder, stdout=subprocess.DEVNULL)
    chosen = [argument for name in bench for argument in ("--bench", name)]
    options = ("--interleave-rounds", "--skip-existing-successful", *chosen)
    # Exit status 2: an older commit lacks something that is measured.
    asv("run", *options, "HASHFILE:-", folder=folder, input=commits, allowed=(0, 2))


def keep_libraries(html):
    """Put files that the pages load from the internet next to them, from npm, for machines with a package registry only."""
    with tempfile.TemporaryDirectory() as folder:
        packages = sorted({package for package, _ in LIBRARIES.values()})
        subprocess.run(["npm", "install", "--silent", "--no-save", "--prefix", folder, *packages], check=True)
        (html / "libraries").mkdir(exist_ok=True)
        for name, (package, path) in LIBRARIES.items():
            shutil.copy(Path(folder, "node_modules", package.split("@")[0], path), html / "libraries" / name)
    index = html / "index.html"
    text = re.sub(r'"https://[^"]*/([^"/]+)"(\s+integrity="[^"]*")?(\s+crossorigin="[^"]*")?', r'"libraries/\1"', index.read_text())
    if missing := set(re.findall(r'"libraries/([^"]+)"', text)) - set(LIBRARIES):
        raise RuntimeError(f"dashboard: asv's pages need libraries that are not known here: {', '.join(sorted(missing))}")
    index.write_text(text)


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


def server(html, port):
    """Serve on this machine only; port 0 takes a free one."""
    return http.server.ThreadingHTTPServer(("127.0.0.1", port), functools.partial(Quiet, directory=html))


def main():
    parser = argparse.ArgumentParser("python asv_bench/dashboard.py", description=__doc__.splitlines()[0])
    parser.add_argument("--commits", type=int, default=5, help="how many; 0: only those measured before")
    parser.add_argument("--bench", action="append", default=[], metavar="REGEX", help="only these benchmarks; can be repeated")
    parser.add_argument("--offline", action="store_true", help="the pages' JavaScript libraries from npm instead of the internet")
    parser.add_argument("--port", type=int, default=8080, help="where the pages are served on this machine, 8080 unless given")
    given = parser.parse_args()
    if given.commits < 0:
        parser.error(f"--commits: {given.commits}, expected a number from 0 on")
    if given.offline and shutil.which("npm") is None:
        parser.error("--offline: needs npm")
    html = HERE / ".asv" / "html"
    try:
        pages = server(html, given.port)  # Before minutes of work.
    except OSError as error:
        parser.error(f"--port: {given.port}: {error.strerror}")
    with pages:
        if given.commits:
            measure(given.commits, given.bench)
        asv("publish")
        if given.offline:
            keep_libraries(html)
        print(f"http://127.0.0.1:{pages.server_port}/ (Ctrl-C ends it)", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            pages.serve_forever()


if __name__ == "__main__":
    main()
