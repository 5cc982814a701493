"""The values that a variant's switch accepts: each kind checks what it is given and names what it accepts."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Values:
    """`text` names what is accepted; `check` returns the value in its settled form or raises ValueError."""

    text: str
    check: Callable[[Any], Any]


def choice(*allowed: str | int) -> Values:
    """One of the given values."""

    def check(value: Any) -> Any:
        if value not in allowed or isinstance(value, bool):
            raise ValueError(f"not one of {', '.join(map(str, allowed))}: {value!r}")
        return value

    return Values(" | ".join(map(str, allowed)), check)


def flag() -> Values:
    """True or False."""

    def check(value: Any) -> bool:
        if not isinstance(value, bool):
            raise ValueError(f"not true or false: {value!r}")
        return value

    return Values("true | false", check)


def whole(least: int = 0) -> Values:
    """A whole number."""

    def check(value: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise ValueError(f"not a whole number of at least {least}: {value!r}")
        return value

    return Values(f"whole number ≥ {least}", check)


def number(least: float = 0.0) -> Values:
    """A number, whole or not."""

    def check(value: Any) -> float:
        if not isinstance(value, int | float) or isinstance(value, bool) or value < least:
            raise ValueError(f"not a number of at least {least}: {value!r}")
        return float(value)

    return Values(f"number ≥ {least}", check)


def text() -> Values:
    """Any text but the empty one."""

    def check(value: Any) -> str:
        if not isinstance(value, str) or not value:
            raise ValueError(f"not a text: {value!r}")
        return value

    return Values("text", check)


def names(of: str = "field") -> Values:
    """A list of names, kept in lower case."""

    def check(value: Any) -> frozenset[str]:
        if not isinstance(value, list | tuple | set | frozenset) or not all(isinstance(v, str) for v in value):
            raise ValueError(f"not a list of names: {value!r}")
        return frozenset(v.lower() for v in value)

    return Values(f"list of {of} names", check)


def spellings() -> Values:
    """Field names, each with how the tenant spells it."""

    def check(value: Any) -> tuple[tuple[str, str], ...]:
        if not isinstance(value, dict) or not all(isinstance(v, str) and v for v in (*value, *value.values())):
            raise ValueError(f"not field names with their spellings: {value!r}")
        return tuple(value.items())

    return Values("{field name: spelling}", check)


def record(**parts: Values) -> Values:
    """An object with exactly the given parts."""

    def check(value: Any) -> dict[str, Any]:
        if not isinstance(value, dict) or set(value) != set(parts):
            raise ValueError(f"not an object with {', '.join(parts)}: {value!r}")
        return {name: part.check(value[name]) for name, part in parts.items()}

    return Values("{" + ", ".join(f"{name}: {part.text}" for name, part in parts.items()) + "}", check)
