"""Layers that are operators of users."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from camshaft.errors import ModelError
from camshaft.ir.plugins.plugin import Plugin
from camshaft.ir.plugins.registry import plugin_named
from camshaft.ir.plugins.values import to_text
from camshaft.network.core import Core
from camshaft.network.tensor import Like


class Plugins(Core):
    """`camshaft.plugin` in networks by hand."""

    def plugin(
        self,
        plugin: Plugin | str,
        *inputs: Like | None,
        outputs: Sequence[str] | None = None,
        name: str | None = None,
        **attributes: Any,
    ) -> Any:
        """A layer of a plugin, given itself or by its name ("domain::type").

        inputs: None for one that is left out.  outputs: names of results, None: as many as there are, called after the layer.
        Returns a Tensor, or a tuple of them for several results.
        Raises ModelError that says what is wrong with inputs or attributes.
        """
        found = plugin_named(plugin) if isinstance(plugin, str) else plugin
        if not isinstance(found, Plugin):
            raise ModelError(
                f"{plugin!r:.60} is no plugin; give what @camshaft.plugin made, or its name"
            )
        layer = self._layer_name(name, found.op_type)
        given = [
            None if x is None else self.tensor(x, name=f"{layer}.{i}") for i, x in enumerate(inputs)
        ]
        types = [None if t is None else self._root._live.held(t.name) for t in given]
        values = {k: v for k, v in attributes.items() if v is not None}
        complete = found.complete(values)
        values = {k: complete[k] for k in values}  # as the defaults' kinds
        to_text(values)  # refuses what is no value
        count = len(found.loosely_inferred(types, complete))
        results = count if outputs is None else outputs
        return self._op(found.op_type, given, results, layer, (found.domain, 1), values)
