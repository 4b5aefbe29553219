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
from camshaft.tensorrt.network.files.support import (
    groups_of,
    is_supported,
    plugins_marked,
    unsupported,
)
from camshaft.tensorrt.network.params import member
from camshaft.tensorrt.network.tensor import ITensor
from camshaft.tensorrt.objects import Closed, common_enter, common_exit
from camshaft.tensorrt.parser_error import ParserError

_flag = member(OnnxParserFlag)
_NATIVE = 1 << int(OnnxParserFlag.NATIVE_INSTANCENORM)
_INVALID = ErrorCode.INVALID_GRAPH
_UNSUPPORTED = ErrorCode.UNSUPPORTED_NODE
_BAD_NODE = ErrorCode.INVALID_NODE


class OnnxParser(Closed):
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
        return proto is not None and not self._fill(proto, self._network)

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
        return proto is not None and not self._fill(proto, self._network)

    def _fill(self, proto: ModelProto, network: INetworkDefinition) -> list[ParserError]:
        """Add a model's layers to a network; what is wrong, which is said as well."""
        errors = _filled(proto, network)
        for error in errors:
            self._reader.say(error)
        return errors

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
        """Whether `parse` can read all of a model, and groups of nodes that follow each other and of which none is known to be at fault.

        The groups are True where the model has no fault, and else False: unknown, until a model of only these nodes is asked of.
        `get_error` tells the faults.  The network stays as it is.
        """
        proto = self._reader.read(model, path)
        self._groups = []
        if proto is None:
            return False, []
        given = self._network
        trial = INetworkDefinition._made(given._reports, given._flags, given._builder)
        errors = self._fill(proto, trial)
        faulty = {error.node() for error in errors}
        if -1 not in faulty:
            self._groups = groups_of(len(proto.graph.node), faulty)
        return not errors, list(self._groups)

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


def _filled(proto: ModelProto, network: INetworkDefinition) -> list[ParserError]:
    """Add a model's layers; what is wrong."""
    errors = [
        ParserError._made(
            _UNSUPPORTED,
            f"operator {node.op_type} of domain {node.domain or 'ai.onnx'!r} is unknown here",
            index,
            node.name,
            node.op_type,
        )
        for index, node in unsupported(proto)
    ]
    if errors:
        return errors
    try:
        model = load_model(plugins_marked(proto))
    except ModelError as error:
        return [ParserError._made(_INVALID, str(error))]
    return [_of_fault(fault) for fault in Filling(network, model).fill()]


def _of_fault(fault: Fault) -> ParserError:
    if fault.node is None:
        return ParserError._made(_INVALID, fault.text)
    return ParserError._made(
        _BAD_NODE, fault.text, fault.index, fault.node.name, fault.node.op_type
    )
