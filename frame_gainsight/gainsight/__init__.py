"""The Gainsight NXT read API: the client of the producer, the enricher and the checks."""

from frame_gainsight.gainsight.auth import AccessKey, Credentials, OAuthClient
from frame_gainsight.gainsight.batch_query import Chunking, PageCap, ScanPage, fetch_where_in, scan_from
from frame_gainsight.gainsight.budget import Budget, CallBudget, Priority
from frame_gainsight.gainsight.client import GainsightClient, Reply
from frame_gainsight.gainsight.dates import format_date, parse_date, whole_second
from frame_gainsight.gainsight.describe import Field, Listed, ObjectDescription, parse_object
from frame_gainsight.gainsight.envelope import Row, UnreadableRow, parse_flag, value_of
from frame_gainsight.gainsight.errors import (
    BadClientError,
    BadKeyError,
    CallsSpentError,
    ConfigError,
    GainsightError,
    NoCallsError,
    RefusedQueryError,
    ReplyTooLargeError,
    ThrottledError,
    TransientError,
    UnknownFieldError,
    UnknownObjectError,
)
from frame_gainsight.gainsight.http_transport import HttpTransport
from frame_gainsight.gainsight.query import Condition, Query, is_full
from frame_gainsight.gainsight.reply_slots import ReplySlots
from frame_gainsight.gainsight.transport import OfflineTransport

__all__ = [
    "AccessKey",
    "BadClientError",
    "BadKeyError",
    "Budget",
    "CallBudget",
    "CallsSpentError",
    "Chunking",
    "Condition",
    "ConfigError",
    "Credentials",
    "Field",
    "GainsightClient",
    "GainsightError",
    "HttpTransport",
    "Listed",
    "NoCallsError",
    "OAuthClient",
    "ObjectDescription",
    "OfflineTransport",
    "PageCap",
    "Priority",
    "Query",
    "RefusedQueryError",
    "Reply",
    "ReplySlots",
    "ReplyTooLargeError",
    "Row",
    "ScanPage",
    "ThrottledError",
    "TransientError",
    "UnknownFieldError",
    "UnknownObjectError",
    "UnreadableRow",
    "fetch_where_in",
    "format_date",
    "is_full",
    "parse_date",
    "parse_flag",
    "parse_object",
    "scan_from",
    "value_of",
    "whole_second",
]
