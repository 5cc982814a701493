"""Which variants are on: their values, and the scope of each by object, kind of call and number of requests."""

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from frame_gainsight.sandbox.http.variants import VARIANTS, Variant
from frame_gainsight.sandbox.query.dialect import Dialect, default_dialect


class UnknownVariantError(ValueError):
    """A variant that is not in the table, or a value or scope that it does not take."""


@dataclass(slots=True)
class Setting:
    """A variant switched on.  `every` n: only each n-th request; `times` left: that many requests, then off."""

    variant: Variant
    value: Any
    raw: Any
    object: str | None = None
    endpoint: str | None = None
    every: int = 1
    times: int | None = None
    met: int = 0

    def covers(self, kind: str, objects: tuple[str, ...]) -> bool:
        """Whether a call of that kind on those objects is in scope."""
        if self.variant.touches and kind not in self.variant.touches:
            return False
        if self.endpoint is not None and self.endpoint != kind:
            return False
        return self.object is None or self.object in objects


Settings = dict[tuple[str, str | None, str | None], Setting]
"""By name, object and kind of call."""


class Switches:
    """The settings of one tenant.  Without any it has its default dialect."""

    def __init__(self) -> None:
        self._settings: Settings = {}

    def set(
        self,
        name: str,
        value: Any,
        *,
        object: str | None = None,
        endpoint: str | None = None,
        every: int = 1,
        times: int | None = None,
    ) -> None:
        """Switch a variant on, or off with the value None.

        Raises UnknownVariantError, which names what is close or allowed.
        """
        variant = VARIANTS.get(name)
        if variant is None:
            close = get_close_matches(name, VARIANTS, n=3, cutoff=0.5)
            raise UnknownVariantError(
                f"no variant {name!r}" + (f"; did you mean {' or '.join(close)}?" if close else "")
            )
        scope = object.lower() if object else None
        if value is None:
            self.clear(name, scope, endpoint)
            return
        for number in (every, 1 if times is None else times):
            if not isinstance(number, int) or number < 1:
                raise UnknownVariantError(f"`every` and `times` of {name} are whole numbers of at least 1")
        try:
            settled = variant.values.check(value)
        except ValueError as error:
            raise UnknownVariantError(f"{name}: {error}") from None
        self._settings[name, scope, endpoint] = Setting(variant, settled, value, scope, endpoint, every, times)

    def clear(self, name: str | None = None, object: str | None = None, endpoint: str | None = None) -> None:
        """Switch one variant off (in all scopes, or in the one given), or all variants."""
        for key in list(self._settings):
            if name in (None, key[0]) and (object, endpoint) in ((None, None), key[1:]):
                del self._settings[key]

    def snapshot(self) -> Settings:
        """The settings as they are, for `restore`."""
        return dict(self._settings)

    def restore(self, settings: Settings) -> None:
        """Put back what `snapshot` gave."""
        self._settings = dict(settings)

    def shown(self) -> dict[str, Any]:
        """The settings in the form in which the control API takes them."""
        found: dict[str, list[dict[str, Any]]] = {}
        for setting in self._settings.values():
            scope = {
                "object": setting.object,
                "endpoint": setting.endpoint,
                "every": setting.every if setting.every > 1 else None,
                "times": setting.times,
            }
            shown = {"value": setting.raw} | {k: v for k, v in scope.items() if v is not None}
            found.setdefault(setting.variant.name, []).append(shown)
        return {name: several[0] if len(several) == 1 else several for name, several in found.items()}

    def begin(self, kind: str, objects: tuple[str, ...]) -> list[Setting]:
        """The settings in force for a call that begins, in the table's order; one with `every` skips some calls."""
        found = []
        for setting in sorted(self._settings.values(), key=lambda s: _ORDER[s.variant.name]):
            if setting.covers(kind, objects):
                setting.met += 1
                if setting.met % setting.every == 0:
                    found.append(setting)
        return found

    def spend(self, setting: Setting) -> None:
        """Use up one of the setting's `times`; to be called when it has had its effect on a call."""
        if setting.times is not None:
            setting.times -= 1
            key = (setting.variant.name, setting.object, setting.endpoint)
            if setting.times <= 0 and self._settings.get(key) is setting:
                del self._settings[key]

    def dialect(self, kind: str, name: str, in_force: Sequence[Setting] = ()) -> Dialect:
        """The dialect of object `name`: the settings in force for the call, and those that are scoped to this object.

        The second matter for objects that a call reaches through look-ups.
        """
        name = name.lower()
        others = [s for s in self._settings.values() if s.object == name and s.every == 1 and s not in in_force]
        dialect = default_dialect(name)
        for setting in (*in_force, *others):
            if setting.variant.dialect is not None and setting.covers(kind, (name,)):
                dialect = setting.variant.dialect(dialect, setting.value)
        return dialect


_ORDER = {name: number for number, name in enumerate(VARIANTS)}
