"""Command line: ``fastopt``, or ``python -m fastopt``."""

from __future__ import annotations

import argparse
import sys

from . import __version__


def parser() -> argparse.ArgumentParser:
    """Return the parser of commands and their options."""
    from . import demo

    found = argparse.ArgumentParser("fastopt", description="Optimizers for numeric code: exact, in place, compiled.")
    found.add_argument("--version", action="version", version=f"fastopt {__version__}")
    commands = found.add_subparsers(dest="command", metavar="command", title="commands")
    worked = commands.add_parser("demo", help="run the worked example, a line through noise; what is run without a command")
    worked.add_argument("--plot", metavar="FILE", default=demo.PICTURE, help=f"picture of the loss curves ({demo.PICTURE})")
    worked.add_argument("--no-plot", action="store_true", help="draw none")
    commands.add_parser("info", help="show versions, instruction set, OpenMP and threads")
    commands.add_parser("doctor", help="show also optional packages and BLAS, and test the bits of steps in a few seconds")
    commands.add_parser("bench", add_help=False, help="measure the speed beside other packages; bench --help has its options")
    return found


def main() -> int:
    """Run a command; return its exit status."""
    arguments = sys.argv[1:]
    if arguments[:1] == ["bench"]:
        from . import bench

        return bench.main(arguments[1:])
    if not arguments or arguments[0] in ("--plot", "--no-plot") or arguments[0].startswith("--plot="):
        arguments = ["demo", *arguments]
    given = parser().parse_args(arguments)
    if given.command == "info":
        from . import show_config

        show_config()
        return 0
    if given.command == "doctor":
        from . import doctor

        return min(doctor.examine(), 1)
    from . import demo

    return demo.demo(None if given.no_plot else given.plot)


if __name__ == "__main__":
    raise SystemExit(main())
