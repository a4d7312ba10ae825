"""Values to JSON bytes and back: for events, journal steps and stored questions alike."""

from functools import lru_cache
from typing import TypeVar, cast

import orjson
from pydantic import TypeAdapter

T = TypeVar("T")


def to_json(value: object) -> bytes:
    """The value as JSON. Lone surrogates, which UTF-8 cannot carry, become U+FFFD: models and pages do produce them."""
    try:
        return orjson.dumps(value)
    except TypeError:
        return orjson.dumps(_without_surrogates(_adapter(type(value)).dump_python(value)))


def from_json(shape: type[T], data: bytes) -> T:
    """The value of type `shape` in these bytes.

    Raises:
        ValueError: the data does not fit the shape.

    """
    return _adapter(shape).validate_json(data)


@lru_cache(maxsize=128)
def _adapter(shape: type[T]) -> TypeAdapter[T]:
    return TypeAdapter(shape)


def _without_surrogates(value: object) -> object:
    match value:
        case str():
            return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        case dict():
            items = cast("dict[str, object]", value).items()
            return {str(_without_surrogates(key)): _without_surrogates(item) for key, item in items}
        case list() | tuple():
            return [_without_surrogates(item) for item in cast("list[object]", value)]
        case _:
            return value
