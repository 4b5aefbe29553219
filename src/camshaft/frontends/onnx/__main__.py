"""`python -m camshaft.frontends.onnx`: print the table of ONNX's operators, or write it to a file."""

from __future__ import annotations

import argparse
from pathlib import Path

from camshaft.frontends.onnx.catalogue import operators_page


def main() -> None:
    """Print the page, or with `--write FILE` put it there."""
    parser = argparse.ArgumentParser(
        prog="python -m camshaft.frontends.onnx", description=main.__doc__
    )
    parser.add_argument("--write", type=Path, metavar="FILE", help="write it to FILE")
    path = parser.parse_args().write
    page = operators_page()
    if path is None:
        print(page, end="")
    else:
        path.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
