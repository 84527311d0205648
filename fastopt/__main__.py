"""``python -m fastopt [demo | info | bench]``: the worked example; this installation; its speed."""

from __future__ import annotations

import argparse
import sys


def main() -> int:
    if sys.argv[1:2] == ["bench"]:
        from . import bench

        return bench.main(sys.argv[2:])
    from . import demo, show_config

    parser = argparse.ArgumentParser("python -m fastopt", description=__doc__)
    parser.add_argument("command", nargs="?", choices=["demo", "info", "bench"], default="demo")
    parser.add_argument("--plot", metavar="FILE", default=demo.PICTURE, help=f"picture of the loss curves ({demo.PICTURE})")
    parser.add_argument("--no-plot", action="store_true", help="draw none")
    given = parser.parse_args()
    if given.command == "info":
        show_config()
        return 0
    return demo.demo(None if given.no_plot else given.plot)


if __name__ == "__main__":
    raise SystemExit(main())
