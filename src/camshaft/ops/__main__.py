"""`python -m camshaft.ops`: print the catalogue of ops, or write it to a file."""

from __future__ import annotations

import argparse
from pathlib import Path

from camshaft.ops import ALL_OPS
from camshaft.ops.catalogue import catalogue


def main() -> None:
    """Print the catalogue, or with `--write FILE` put it there."""
    parser = argparse.ArgumentParser(prog="python -m camshaft.ops", description=main.__doc__)
    parser.add_argument("--write", type=Path, metavar="FILE", help="write it to FILE")
    path = parser.parse_args().write
    page = catalogue(ALL_OPS)
    if path is None:
        print(page, end="")
    else:
        path.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
