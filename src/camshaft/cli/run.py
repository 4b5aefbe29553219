"""`camshaft run`: an engine, or a model that is built first, on given or random inputs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from camshaft.cli.arrays import Given
from camshaft.cli.files import READ, WRITTEN
from camshaft.cli.options import BuildOptions, takes_build_options
from camshaft.cli.output import (
    JsonTarget,
    Output,
    require_writable,
    simple_table,
    write_bytes,
)
from camshaft.cli.source import open_source
from camshaft.errors import ConfigError
from camshaft.feeds import archive, arrays_of
from camshaft.ir.extents.said import shape_text

InputFiles = Annotated[
    list[str] | None,
    typer.Option(
        "--input",
        "-i",
        metavar="NAME=FILE.npy",
        help="An input; may be repeated. NAME=NUMBER for a scalar.",
    ),
    READ,
]
InputArchive = Annotated[
    Path | None, typer.Option("--inputs", help="All inputs by name in one .npz file."), READ
]
Seed = Annotated[int, typer.Option("--seed", help="Of the random inputs.")]
Source = Annotated[
    Path, typer.Argument(help="Engine file or ONNX model.", metavar="ENGINE|MODEL"), READ
]


@takes_build_options
def run(
    source: Source,
    build: BuildOptions,
    input: InputFiles = None,
    inputs: InputArchive = None,
    seed: Seed = 0,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Write the outputs to this .npz file."),
        WRITTEN,
    ] = None,
    check_finite: Annotated[
        bool, typer.Option("--check-finite", help="Refuse inputs that hold NaN or infinity.")
    ] = False,
    json: JsonTarget = None,
) -> None:
    """Run once and show what comes out."""
    shown = Output(json)
    if output is not None and output.suffix == ".npy":
        raise ConfigError(
            f"--output {str(output)!r} is to hold all outputs: give it a name in .npz"
        )
    require_writable(output)
    opened = open_source(source, build, shown, Given(input, inputs))
    with opened.engine.create_context(opened.threads, check_finite) as context:
        feeds = opened.feeds(seed, shown)
        results = context.run(context.states.take(feeds) if opened.engine.states else feeds)
    arrays = {n: a.astype(str) if a.dtype.kind == "O" else a for n, a in arrays_of(results)}
    if output is not None:
        write_bytes(output, archive(arrays))
    table = simple_table("output", "type", "shape", "min", "max", "mean", "NaN")
    described = {name: _described(array) for name, array in arrays.items()}
    for name, d in described.items():
        figures = ["-" if d[k] is None else f"{d[k]:.6g}" for k in ("min", "max", "mean")]
        table.add_row(name, d["dtype"], shape_text(tuple(d["shape"])), *figures, str(d["nan"]))
    shown.table(table)
    shown.data({"source": str(source), "random_inputs": opened.given is None, "outputs": described})


def _described(array: np.ndarray) -> dict[str, Any]:
    """Shape, dtype, extremes and mean of the values that are numbers, and how many are not."""
    is_text = array.dtype.kind == "U"
    values = np.zeros(0) if is_text else array.astype(np.float64).reshape(-1)
    good = values[np.isfinite(values)]
    return {
        "dtype": "str" if is_text else array.dtype.name,
        "shape": list(array.shape),
        "min": float(good.min()) if good.size else None,
        "max": float(good.max()) if good.size else None,
        "mean": float(good.mean()) if good.size else None,
        "nan": int(np.isnan(values).sum()),
        "infinite": int(np.isinf(values).sum()),
    }
