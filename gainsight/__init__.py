"""The Gainsight NXT read API: one client for the producer, the enricher and the checks."""

from gainsight.auth import AccessKey, Credentials, OAuthClient
from gainsight.budget import Budget, CallBudget, Priority
from gainsight.client import GainsightClient, Reply
from gainsight.clock import Clock, SystemClock
from gainsight.dates import format_date, parse_date, whole_second
from gainsight.describe import Field, Listed, ObjectDescription, parse_object
from gainsight.envelope import Row, parse_flag, value_of
from gainsight.errors import (
    BadClientError,
    BadKeyError,
    CallsSpentError,
    ConfigError,
    Failure,
    GainsightError,
    RefusedQueryError,
    ReplyTooLargeError,
    ThrottledError,
    TransientError,
    UnknownFieldError,
    UnknownObjectError,
    cause_of,
)
from gainsight.lookup import Chunking, Proven, Stretch, fetch_in, fetch_on
from gainsight.memory import LargeReplies
from gainsight.query import Condition, Query, is_full

__all__ = [
    "AccessKey",
    "BadClientError",
    "BadKeyError",
    "Budget",
    "CallBudget",
    "CallsSpentError",
    "Chunking",
    "Clock",
    "Condition",
    "ConfigError",
    "Credentials",
    "Failure",
    "Field",
    "GainsightClient",
    "GainsightError",
    "LargeReplies",
    "Listed",
    "OAuthClient",
    "ObjectDescription",
    "Priority",
    "Proven",
    "Query",
    "RefusedQueryError",
    "Reply",
    "ReplyTooLargeError",
    "Row",
    "Stretch",
    "SystemClock",
    "ThrottledError",
    "TransientError",
    "UnknownFieldError",
    "UnknownObjectError",
    "cause_of",
    "fetch_in",
    "fetch_on",
    "format_date",
    "is_full",
    "parse_date",
    "parse_flag",
    "parse_object",
    "value_of",
    "whole_second",
]
