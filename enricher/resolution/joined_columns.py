"""Joined columns: those of an activity's company and relationship, read by look-up in the timeline query."""

from __future__ import annotations

from collections.abc import Mapping

from enricher.activity.raw_record import RawActivity
from frame_gainsight.connectors import Definition
from frame_gainsight.connectors.columns import required
from frame_gainsight.gainsight import ObjectDescription, Row, value_of


class JoinedColumns:
    """Takes an activity's company and relationship out of its own row, where all that is needed of them is in it."""

    def __init__(self, definition: Definition, described: Mapping[str, ObjectDescription]) -> None:
        self._paths = {name: required.joined_columns(definition, name, described) for name in required.JOINED_OBJECTS}
        selected = required.timeline_columns(definition, described) if required.ACTIVITY in described else []
        self._version = required.columns_version(selected)

    def row(self, object_name: str, activity: RawActivity, gsid: str | None) -> Row | None:
        """The row of the object with this Gsid; None: it has to be looked up."""
        paths = self._paths[object_name]
        if not paths or not gsid or activity.text(paths.get("Gsid", "")) != gsid:
            return None
        # A tenant may leave out what is null: then only the selected columns tell a null from what was not selected.
        if activity.columns != self._version:
            keys = {key.lower() for key in activity.row}
            if any(path.lower() not in keys for path in paths.values()):
                return None
        return {column: value_of(activity.row, path) for column, path in paths.items()}
