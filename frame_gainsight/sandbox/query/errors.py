"""Failures in Gainsight's own shapes and codes (gainsight-api reference, sections 5.3 and 9.8)."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Failure:
    """What a failed call answers: a status, a code and a text; `title` makes it the shape that objects unknown have."""

    status: int
    code: str
    text: str
    title: bool = False
    semantic: bool = False
    """A complaint about the query itself; its status is unknown, so a variant may set it."""


class ApiError(Exception):
    """Ends a call with `failure`."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(f"{failure.code}: {failure.text}")
        self.failure = failure


def unknown_field(name: str) -> ApiError:
    """P_5005, as a missing database column is reported."""
    return ApiError(Failure(400, "P_5005", f"Column t1.{name} does not exist", semantic=True))


def not_a_lookup(name: str) -> ApiError:
    """P_5068: `__gr` on a field that points nowhere."""
    return ApiError(Failure(400, "P_5068", f"Field {name} is not a lookup field", semantic=True))


def refused_path(path: str, code: str) -> ApiError:
    """A path through a look-up where the tenant takes none: as an unknown field, or as no look-up."""
    return unknown_field(path) if code == "P_5005" else not_a_lookup(path.partition(".")[0])


def unsupported(text: str) -> ApiError:
    """P_5026: an operator, an order or an expression that is not supported."""
    return ApiError(Failure(400, "P_5026", text, semantic=True))


def invalid(text: str) -> ApiError:
    """GSOBJ_1008: a value that fails validation."""
    return ApiError(Failure(400, "GSOBJ_1008", text))


def bad_mapping(text: str) -> ApiError:
    """GSOBJ_1002: an invalid field or mapping."""
    return ApiError(Failure(400, "GSOBJ_1002", text))


def bad_date(text: str, kind: str) -> ApiError:
    """GSOBJ_1005 for an unparseable DATETIME, GSOBJ_1006 for a DATE."""
    return ApiError(Failure(400, "GSOBJ_1005" if kind == "DATETIME" else "GSOBJ_1006", f"Cannot parse {kind}: {text}"))


def unknown_object(name: str) -> ApiError:
    """OBJECT_NOT_FOUND, in the shape of its own."""
    return ApiError(Failure(400, "OBJECT_NOT_FOUND", f"Object {name} is not available", title=True))


UNAUTHORIZED = Failure(401, "GS_APIG_2401", "Unauthorized")
BAD_AUTHORIZATION = Failure(400, "GSOBJ_1024", "Invalid authorization headers")
ADDRESS_NOT_ALLOWED = Failure(403, "GS_APIG_2402", "Client IP is not in the allowlist")
NO_ROUTE = Failure(404, "GS_APIG_1000", "No such route")
