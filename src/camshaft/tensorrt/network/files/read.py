"""A node of an ONNX file, as what makes a layer's properties of it sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import NodeProto, numpy_helper

Elements = Mapping[str, np.ndarray[Any, Any]]


@dataclass(frozen=True)
class Read:
    """A node to read.  constants: name -> elements, of inputs that are constant."""

    node: NodeProto
    attributes: dict[str, Any]
    constants: Elements

    def constant(self, index: int) -> np.ndarray[Any, Any] | None:
        """The elements of an input; None: it is none, or no constant."""
        inputs = self.node.input
        return self.constants.get(inputs[index]) if index < len(inputs) else None

    def value(self, name: str) -> np.ndarray[Any, Any] | None:
        """The elements of an attribute that is a tensor; None: it is not given."""
        found = self.attributes.get(name)
        return None if found is None else numpy_helper.to_array(found)
