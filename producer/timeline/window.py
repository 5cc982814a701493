"""Windows on LastModifiedDate: the time span of one poll."""

from __future__ import annotations

from dataclasses import dataclass

from frame_gainsight.gainsight import format_date, whole_second


@dataclass(frozen=True, slots=True)
class Window:
    """`[start, end)` in milliseconds, both whole seconds."""

    start: int
    end: int

    def __str__(self) -> str:
        return f"[{format_date(self.start)}, {format_date(self.end)})"


def next_window(cursor: int, overlap: int, beginning: int, tenant_now: int, margin: int) -> Window | None:
    """The window of the next poll, or None when there is nothing to read yet. All in milliseconds.

    It begins `overlap` before the cursor, since rows become visible after their LastModifiedDate, but never before
    the `beginning` of processing; it ends `margin` before the tenant's own clock. Once it has been read, its end is
    the cursor, also when it was empty.
    """
    end = whole_second(tenant_now - margin)
    if end <= cursor:
        return None
    return Window(whole_second(max(beginning, cursor - overlap)), end)
