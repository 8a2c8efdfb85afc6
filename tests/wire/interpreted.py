"""Messages to construct's containers and back, for the interpreted construct."""

from __future__ import annotations

from typing import Any

import construct

from wire.primitives import (
    TAGGED_FIELDS,
    Array,
    NullableStructure,
    Records,
    StructureStruct,
    TaggedFields,
)


def container_of(tree: construct.Construct, value: Any) -> Any:
    """What the construct builds from: containers of the fields that it has, tagged ones only if not default."""
    if isinstance(tree, construct.Renamed):
        return container_of(tree.subcon, value)
    if value is None:
        return None
    if isinstance(tree, NullableStructure):
        return container_of(tree.subcon, value)
    if isinstance(tree, Array):
        return [container_of(tree.element, element) for element in value]
    if not isinstance(tree, StructureStruct):
        return value
    default = tree.structure_class()
    container = construct.Container()
    for subcon in tree.subcons:
        if isinstance(subcon.subcon, TaggedFields):
            container[TAGGED_FIELDS] = construct.Container(
                {
                    field.name: container_of(field, getattr(value, field.name))
                    for field in subcon.subcon.fields.values()
                    if getattr(value, field.name) != getattr(default, field.name)
                }
            )
        else:
            container[subcon.name] = container_of(subcon, getattr(value, subcon.name))
    return container


def message_of(tree: construct.Construct, value: Any) -> Any:
    """The message that a parsed container stands for."""
    if isinstance(tree, construct.Renamed):
        return message_of(tree.subcon, value)
    if value is None:
        return None
    if isinstance(tree, NullableStructure):
        return message_of(tree.subcon, value)
    if isinstance(tree, Array):
        return [message_of(tree.element, element) for element in value]
    if isinstance(tree, Records):
        return memoryview(value)
    if not isinstance(tree, StructureStruct):
        return value
    values = {}
    for subcon in tree.subcons:
        if isinstance(subcon.subcon, TaggedFields):
            for field in subcon.subcon.fields.values():
                if field.name in value[TAGGED_FIELDS]:
                    values[field.name] = message_of(field, value[TAGGED_FIELDS][field.name])
        else:
            values[subcon.name] = message_of(subcon, value[subcon.name])
    return tree.structure_class(**values)
