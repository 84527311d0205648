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
stale = [path for path, text in files.items() if not path.exists() or path.read_text() != text]
if "--check" not in sys.argv[1:]:
    for path in stale:  # Others keep their dates, so that a build leaves them alone.
        path.write_text(files[path])
elif stale:
    sys.exit(f"stale: {', '.join(map(str, stale))}; run python fastopt/_codegen")
