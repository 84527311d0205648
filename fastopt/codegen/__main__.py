"""``python fastopt/codegen [--check]``: write ``engine/kernels.pyx``, or fail when it is stale."""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).parents[1])  # not through fastopt itself, which may not be built yet
from codegen import KERNELS, RuleError, render_kernels  # type: ignore[import-not-found]  # noqa: E402

try:
    text = render_kernels()
except RuleError as error:
    sys.exit(str(error))
if "--check" not in sys.argv[1:]:
    KERNELS.write_text(text)
elif not KERNELS.exists() or KERNELS.read_text() != text:
    sys.exit(f"{KERNELS} is stale: run python fastopt/codegen")
