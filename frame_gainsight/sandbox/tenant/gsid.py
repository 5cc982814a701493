"""Gsids: 36 upper-case alphanumerics, derived from what they name, so that the same seed gives the same ids."""

from hashlib import blake2b

_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_PAIRS = [second + first for first in _DIGITS for second in _DIGITS]  # of what is left of a division by 36 * 36
_LENGTH = 36


def gsid(prefix: str, *parts: str | int) -> str:
    """The Gsid of the thing that `parts` identify; `prefix` is the object's key prefix (`1P02` for a company)."""
    number = digest(*parts)
    pairs = []
    for _ in range(0, _LENGTH - len(prefix), 2):
        number, pair = divmod(number, len(_PAIRS))
        pairs.append(_PAIRS[pair])
    return (prefix + "".join(pairs))[:_LENGTH]


def digest(*parts: str | int) -> int:
    """A 192-bit number that is the same for the same parts, in every process and on every machine."""
    return int.from_bytes(blake2b("\x1f".join(map(str, parts)).encode(), digest_size=24).digest())
