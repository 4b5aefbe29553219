"""PyTorch programs in: graphs of ATen operators become camshaft graphs (`importer.import_program`).

Only `importer` imports torch; handlers go by the operators' names and schemas.
"""
