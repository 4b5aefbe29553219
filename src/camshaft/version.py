"""Versions that an engine file must agree with.

Imports nothing, so any layer may use it, and `import camshaft` costs next to nothing.
"""

from __future__ import annotations

VERSION = "0.1.0"
"""The camshaft version; the package metadata takes it from here."""

FORMAT = 5
"""Version of the engine file: raised when the manifest's fields or the calling convention change."""
