"""What rode along with an activity: the columns of its company and its relationship, read in the same query."""

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
        asked = required.timeline_columns(definition, described) if required.ACTIVITY in described else []
        self._version = required.columns_version(asked)

    def row(self, object_name: str, activity: RawActivity) -> Row | None:
        """The object's row; None: it is to be looked up."""
        paths = self._paths[object_name]
        gsid = activity.get(required.JOINED_OBJECTS[object_name])
        if not paths or not gsid or value_of(activity.row, paths.get("Gsid", "")) != gsid:
            return None
        # A tenant may leave out what is null: then only the columns asked for tell it from what was not asked.
        if activity.columns != self._version:
            keys = {key.lower() for key in activity.row}
            if any(path.lower() not in keys for path in paths.values()):
                return None
        return {column: value_of(activity.row, path) for column, path in paths.items()}
