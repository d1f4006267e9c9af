"""Values that are no named tuples: frozen, cheap to define, and the settings among them validated.

Knows: how a class of annotated fields gets a constructor, equality and a repr.
Must not know: which settings there are (`policy`), what a lock is (`model`).

To its users, to type checkers and to the functions of `dataclasses`, a subclass is a frozen dataclass. It is made here
because `dataclasses` compiles methods for each class and brings in `inspect` and `ast`: as much time at import as all
of the core takes. A named tuple, which is what the other values are, cannot look at its fields when it is made.
A subclass may have slots; then it has a constructor of its own.
"""

from __future__ import annotations

from typing import Any, ClassVar, NoReturn, Self, dataclass_transform

__all__ = ["Frozen"]


class _AsDataclass:
    """What `dataclasses` wants to know of a class, told by a dataclass that is made when it asks."""

    def __get__(self, value: object, kind: type[Frozen]) -> Any:
        import dataclasses  # noqa: PLC0415 - who asks has imported it

        fields = [
            (name, kind.__annotations__[name], dataclasses.field(default=getattr(kind, name, dataclasses.MISSING)))
            for name in kind._fields
        ]
        twin = dataclasses.make_dataclass(kind.__name__, fields)
        return {field.name: field for field in dataclasses.fields(twin)}


@dataclass_transform(frozen_default=True)
class Frozen:
    """A value whose fields are the annotations of its class, with their defaults; `__post_init__` looks at them.

    Raises TypeError for an argument that is one too many, unknown, given twice or missing, AttributeError where a field
    is set later.
    """

    __slots__ = ()
    _fields: ClassVar[tuple[str, ...]] = ()
    __dataclass_fields__: ClassVar[Any] = _AsDataclass()

    def __init_subclass__(cls) -> None:
        cls._fields = tuple(cls.__annotations__)

    def __init__(self, *values: Any, **named: Any) -> None:
        kind = type(self)
        fields = {name: getattr(kind, name) for name in kind._fields if hasattr(kind, name)}
        given = dict(zip(kind._fields, values, strict=False)) | named
        fields |= given
        if len(given) < len(values) + len(named) or fields.keys() != set(kind._fields):
            wrong = ", ".join(sorted(fields.keys() ^ set(kind._fields))) or "one that is given twice, or one too many"
            raise TypeError(f"{kind.__name__} takes {', '.join(kind._fields)}, each once; unknown or missing: {wrong}")
        self.__dict__.update(fields)
        self.__post_init__()

    def __post_init__(self) -> None:
        """Raise for what cannot be, bring into shape what may come in several."""

    def _replace(self, **changes: Any) -> Self:
        """A copy with some fields changed, validated like any other. `copy.replace` of Python 3.13 takes this way."""
        return type(self)(**{name: getattr(self, name) for name in self._fields} | changes)

    __replace__ = _replace

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self._values()

    def _values(self) -> tuple[Any, ...]:
        return tuple(getattr(self, name) for name in self._fields)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"{type(self).__name__}.{name} cannot be set: the value is frozen; make another one")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"{type(self).__name__}.{name} cannot be deleted: the value is frozen")

    def __eq__(self, other: object) -> bool:
        return self._values() == other._values() if isinstance(other, type(self)) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._values())

    def __repr__(self) -> str:
        fields = (f"{name}={value!r}" for name, value in zip(self._fields, self._values(), strict=True))
        return f"{type(self).__name__}({', '.join(fields)})"
