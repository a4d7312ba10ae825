"""JSON into frozen dataclasses, as forgiving as a client of a newer server must be.

Fields that a dataclass does not have are left out, and fields that are missing take their defaults. A `Literal` is
what this version knows of; another string is handed on as it is.
"""

from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from functools import lru_cache
from types import NoneType, UnionType
from typing import Any, Literal, TypeAlias, TypeVar, Union, cast, get_args, get_origin, get_type_hints

T = TypeVar("T")
Json: TypeAlias = Mapping[str, Any]
"""A JSON object's fields."""

_Read: TypeAlias = Callable[[object], Any]


class Misfit(ValueError):
    """The JSON does not fit."""


def decode(shape: type[T], value: object, **known: object) -> T:
    """The dataclass `shape` of this JSON object; the fields in `known` are given, not read.

    Raises:
        Misfit: it is no object, lacks a field without a default, or has one of another type.

    """
    if not isinstance(value, dict):
        raise Misfit
    given = cast("dict[str, object]", value)
    readers = _readers(shape)
    read = {name: readers[name](item) for name, item in given.items() if name in readers and name not in known}
    try:
        return shape(**read, **known)
    except TypeError as error:
        raise Misfit from error


@lru_cache(maxsize=64)
def _readers(shape: type[Any]) -> Mapping[str, _Read]:
    hints = get_type_hints(shape)
    return {field.name: _reader(hints[field.name]) for field in fields(shape)}


def _reader(hint: Any) -> _Read:
    origin, arguments = get_origin(hint), get_args(hint)
    if is_dataclass(hint):
        return lambda value: decode(cast("type[Any]", hint), value)
    if origin in (UnionType, Union):
        (inner,) = (_reader(part) for part in arguments if part is not NoneType)
        return lambda value: None if value is None else inner(value)
    if origin is tuple:
        item = _reader(arguments[0])
        return lambda value: tuple(item(part) for part in _exactly(list[object], value))
    if origin is Mapping:
        item = _reader(arguments[1])
        return lambda value: {key: item(part) for key, part in _exactly(dict[str, object], value).items()}
    if origin is Literal or hint is str:
        return lambda value: _exactly(str, value)
    if hint is float:
        return lambda value: float(value) if type(value) is int else _exactly(float, value)
    if hint is Any:
        return lambda value: value
    return lambda value: _exactly(hint, value)


def _exactly(kind: type[T], value: object) -> T:
    """A truth value is no number here, though Python has it so."""
    if type(value) is not (get_origin(kind) or kind):
        raise Misfit
    return cast("T", value)
