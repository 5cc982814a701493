"""A tap by the Meltano SDK for Singer: its REST stream with offset paging; target-kafka takes what it prints.

`python singer_timeline.py --config FILE [--state FILE]`, in the peers' environment.
"""

import orjson
from singer_sdk import RESTStream, Tap
from singer_sdk import typing as th
from singer_sdk.pagination import BaseOffsetPaginator


class _Pages(BaseOffsetPaginator):
    def __init__(self, stream, page_size):
        super().__init__(0, page_size)
        self._stream = stream

    def has_more(self, response):
        return self._stream.in_page >= self._page_size


class Activities(RESTStream):
    """The timeline, oldest change first."""

    name = "activities"
    http_method = "POST"
    primary_keys = ("Gsid",)
    replication_key = "LastModifiedDate"
    is_sorted = True
    check_sorted = False  # a row that is edited meanwhile comes again, newer, at the end
    in_page = 0

    def __init__(self, tap):
        self._query = orjson.loads(tap.config["query"])
        anything = {"type": ["string", "number", "boolean", "array", "object", "null"]}
        columns = dict.fromkeys(self._query["select"], anything)
        columns |= {"Gsid": {"type": "string"}, "LastModifiedDate": {"type": "string", "format": "date-time"}}
        super().__init__(tap, schema={"type": "object", "properties": columns})

    @property
    def url_base(self):
        return self.config["host"]

    @property
    def path(self):
        return self.config["path"]

    @path.setter
    def path(self, value):
        pass

    @property
    def http_headers(self):
        return {"accesskey": self.config["key"], "accept-encoding": "gzip"}

    def get_new_paginator(self):
        return _Pages(self, self._query["limit"])

    def prepare_request_payload(self, context, next_page_token):
        where = {"conditions": [dict(self._query["where"]["conditions"][0])], "expression": "A"}
        since = self.get_starting_replication_key_value(context) or self.config["start"]
        where["conditions"][0]["value"] = [since]
        return self._query | {"where": where, "offset": next_page_token or 0}

    def parse_response(self, response):
        rows = orjson.loads(response.content)["data"]["records"]
        self.in_page = len(rows)
        return rows


class Timeline(Tap):
    """One stream."""

    name = "tap-timeline"
    config_jsonschema = th.PropertiesList(
        *(th.Property(n, th.StringType, required=True) for n in ("host", "path", "key", "query", "start"))
    ).to_dict()

    def discover_streams(self):
        return [Activities(self)]


if __name__ == "__main__":
    Timeline.cli()
