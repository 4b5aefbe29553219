"""`OnnxParser`: ONNX files into networks."""

from __future__ import annotations

import operator
import os
from typing import Any

import onnx
from onnx import ModelProto

from camshaft.errors import ModelError
from camshaft.frontends.onnx.model import load_model
from camshaft.tensorrt.enums.builder import OnnxParserFlag
from camshaft.tensorrt.enums.reports import ErrorCode
from camshaft.tensorrt.errors import Reports
from camshaft.tensorrt.logger import ILogger
from camshaft.tensorrt.network.definition import INetworkDefinition
from camshaft.tensorrt.network.files.filling import Fault, Filling
from camshaft.tensorrt.network.files.reading import ModelReader
from camshaft.tensorrt.network.files.support import groups_of, is_supported, unsupported
from camshaft.tensorrt.network.params import member
from camshaft.tensorrt.network.tensor import ITensor
from camshaft.tensorrt.objects import common_enter, common_exit
from camshaft.tensorrt.parser_error import ParserError

_flag = member(OnnxParserFlag)
_NATIVE = 1 << int(OnnxParserFlag.NATIVE_INSTANCENORM)
_INVALID = ErrorCode.INVALID_GRAPH
_UNSUPPORTED = ErrorCode.UNSUPPORTED_NODE
_BAD_NODE = ErrorCode.INVALID_NODE


class OnnxParser:
    """Fills a network with the layers of ONNX files."""

    __enter__ = common_enter
    __exit__ = common_exit

    def __init__(self, network: INetworkDefinition, logger: ILogger) -> None:
        """TypeError if either is of another class."""
        if not isinstance(network, INetworkDefinition):
            raise TypeError(f"network={network!r} is no INetworkDefinition; use create_network")
        self._network, self._reader = network, ModelReader(Reports(logger))
        self._flags = _NATIVE
        self._groups: list[tuple[list[int], bool]] = []

    # -- parsing -----------------------------------------------------------------------------------

    def parse(self, model: Any, path: str | None = None) -> bool:
        """Add a model's layers to the network; whether all could be.

        model: the file's bytes.  path: of the file, beside which external weights lie.  What is wrong is logged, and kept for `get_error`.
        """
        proto = self._reader.read(model, path)
        return proto is not None and self._fill(proto)

    def parse_from_file(self, model: str) -> bool:
        """`parse` of a file."""
        data = self._reader.file(model)
        return data is not None and self.parse(data, os.fspath(model))

    def parse_with_weight_descriptors(self, model: Any) -> bool:
        """`parse`."""
        return self.parse(model)

    def load_model_proto(self, model: Any, path: str | None = None) -> bool:
        """Read a model for `parse_model_proto`; weights may follow with `load_initializer`."""
        return self._reader.load(model, path)

    def load_initializer(self, name: str, data: int, size: int) -> bool:
        """The elements of an initializer of the loaded model: `size` bytes at address `data`, that are copied."""
        return self._reader.fill(name, data, size)

    def parse_model_proto(self) -> bool:
        """Add the loaded model's layers to the network."""
        proto = self._reader.whole()
        return proto is not None and self._fill(proto)

    def _fill(self, proto: ModelProto) -> bool:
        missing = unsupported(proto)
        for index, node in missing:
            what = f"operator {node.op_type} of domain {node.domain or 'ai.onnx'!r} is unknown here"
            self._reader.say(ParserError._made(_UNSUPPORTED, what, index, node.name, node.op_type))
        if missing:
            return False
        try:
            model = load_model(proto)
        except ModelError as error:
            self._reader.say(ParserError._made(_INVALID, str(error)))
            return False
        faults = Filling(self._network, model).fill()
        for fault in faults:
            self._reader.say(_of_fault(fault))
        return not faults

    def get_layer_output_tensor(self, name: str, i: int) -> ITensor | None:
        """An output of a layer by the layer's name; None: there is none."""
        for layer in self._network:
            if layer.name == name:
                return layer.get_output(i)
        return None

    # -- errors ------------------------------------------------------------------------------------

    @property
    def num_errors(self) -> int:
        """How many errors there are."""
        return len(self._reader.errors)

    def get_error(self, index: int) -> ParserError | None:
        """An error; None: there is none of this index."""
        return self._reader.error(index)

    def clear_errors(self) -> None:
        """Forget all errors."""
        self._reader.errors.clear()

    # -- what is supported -------------------------------------------------------------------------

    def supports_operator(self, op_name: str) -> bool:
        """Whether an operator of ONNX, of its newest version, can be parsed."""
        return is_supported("", op_name, onnx.defs.onnx_opset_version())

    def supports_model(
        self, model: Any, path: str | None = None
    ) -> tuple[bool, list[tuple[list[int], bool]]]:
        """Whether `parse` can read all of a model, and its nodes in groups that it can or cannot read."""
        proto = self._reader.read(model, path)
        self._groups = [] if proto is None else groups_of(proto)
        supported = proto is not None and all(ok for _, ok in self._groups)
        return supported, list(self._groups)

    def supports_model_v2(self, model: Any, path: str | None = None) -> bool:
        """Whether `parse` can read all of a model; the methods of subgraphs say more."""
        supported, _ = self.supports_model(model, path)
        return supported

    @property
    def num_subgraphs(self) -> int:
        """Groups of nodes of the model that `supports_model_v2` looked at."""
        return len(self._groups)

    def is_subgraph_supported(self, index: int) -> bool:
        """Whether a group can be parsed."""
        return self._groups[index][1]

    def get_subgraph_nodes(self, index: int) -> list[int]:
        """The indices of a group's nodes."""
        return self._groups[index][0]

    # -- options -----------------------------------------------------------------------------------

    @property
    def flags(self) -> int:
        """A bit for each OnnxParserFlag; kept, without effect."""
        return self._flags

    @flags.setter
    def flags(self, flags: int) -> None:
        self._flags = operator.index(flags)

    def set_flag(self, flag: OnnxParserFlag) -> None:
        """Set a flag."""
        self._flags |= 1 << int(_flag(flag, "flag"))

    def clear_flag(self, flag: OnnxParserFlag) -> None:
        """Clear a flag."""
        self._flags &= ~(1 << int(_flag(flag, "flag")))

    def get_flag(self, flag: OnnxParserFlag) -> bool:
        """Whether a flag is set."""
        return bool(self._flags >> int(_flag(flag, "flag")) & 1)

    def get_used_vc_plugin_libraries(self) -> list[str]:
        """Libraries of plugins: none."""
        return []

    def set_builder_config(self, builder_config: Any) -> bool:
        """Kept for nothing: what the parser does hangs on no configuration."""
        return True


def _of_fault(fault: Fault) -> ParserError:
    if fault.node is None:
        return ParserError._made(_INVALID, fault.text)
    return ParserError._made(
        _BAD_NODE, fault.text, fault.index, fault.node.name, fault.node.op_type
    )
