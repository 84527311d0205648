"""``python fastopt/_codegen [--check]``: write the generated files, or fail if one is out of date."""

import sys
from pathlib import Path

# Not through the package itself, which may not be built yet.
sys.path[0] = str(Path(__file__).parents[1])
from _codegen.package import rendered  # type: ignore[import-not-found]  # noqa: E402
from _codegen.subset import RuleError  # type: ignore[import-not-found]  # noqa: E402

try:
    files = rendered()
except RuleError as error:
    sys.exit(str(error))
if "--check" not in sys.argv[1:]:
    for path, text in files.items():
        path.write_text(text)
elif stale := [str(path) for path, text in files.items() if not path.exists() or path.read_text() != text]:
    sys.exit(f"stale: {', '.join(stale)}; run python fastopt/_codegen")
