"""The package: import time and size."""

import io
import zipfile
from pathlib import Path

import fastopt as fo


class Import:
    repeat = 10

    def timeraw_import_numpy(self):
        return "import numpy"

    def timeraw_import_fastopt(self):
        return "import fastopt"

    def timeraw_import_above_numpy(self):
        return "import fastopt", "import numpy"


class Wheel:
    SUFFIXES = (".py", ".so", ".pxd", ".pyi", ".h", ".typed")

    def track_bytes(self):
        """Size of the installed package, packed as a wheel."""
        folder, packed = Path(fo.__file__).parent, io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as wheel:
            for path in folder.rglob("*"):
                if path.suffix in self.SUFFIXES:
                    wheel.write(path, path.relative_to(folder.parent))
        return len(packed.getvalue())

    track_bytes.unit = "bytes"
