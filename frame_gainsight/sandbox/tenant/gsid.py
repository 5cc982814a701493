"""Gsids: 36 upper-case alphanumerics, derived from what they name, so that the same seed gives the same ids."""

from hashlib import blake2b

_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_LENGTH = 36


def gsid(prefix: str, *parts: str | int) -> str:
    """The Gsid of the thing that `parts` identify; `prefix` is the object's key prefix (`1P02` for a company)."""
    number = digest(*parts)
    digits = []
    for _ in range(_LENGTH - len(prefix)):
        number, digit = divmod(number, 36)
        digits.append(_DIGITS[digit])
    return prefix + "".join(digits)


def digest(*parts: str | int) -> int:
    """A 192-bit number that is the same for the same parts, in every process and on every machine."""
    return int.from_bytes(blake2b("\x1f".join(map(str, parts)).encode(), digest_size=24).digest())
