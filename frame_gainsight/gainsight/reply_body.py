"""A reply's body: decompressed within bounds, and its JSON read without holding up the event loop."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Any

import httpx
import orjson

from frame_gainsight.gainsight.errors import ReplyTooLargeError, TransientError
from frame_gainsight.gainsight.reply_json import is_quick, parse_json
from frame_gainsight.gainsight.reply_slots import WORKER
from frame_gainsight.gainsight.transport import Request

ENCODING = "gzip"
"""The one encoding that a request accepts, since it is bounded here while it is decompressed."""

_PIECE = 64 * 1024  # bytes decompressed in one step: a compressed byte can stand for a thousand
_PAUSE = 1024 * 1024  # bytes decompressed, after which others have their turn
_MAX_MEMBERS = 1000  # of a gzip body; one is usual
_LEAST_CHUNK = 64  # bytes, on average: smaller ones cost more time than what is in them
_CHUNKS = 10_000  # from which on that counts


async def pieces_of(reply: httpx.Response, name: str, most: int) -> AsyncGenerator[bytes, None]:
    """The decoded body, piece by piece; of a compressed one never more than _PIECE in one step.

    Raises TransientError for a body in an encoding that the request did not accept, since nothing bounds what it
    decodes to, and for one in tiny chunks; ReplyTooLargeError for one that has more bytes as sent than `most`;
    zlib.error.
    """
    gunzip = _gunzip_of(reply, name)
    if reply.is_stream_consumed:  # of a transport in memory
        yield reply.content
        return
    sent = chunks = members = decoded = 0
    async for arrived in reply.aiter_raw():
        chunks += 1
        sent += len(arrived)
        if sent > most:
            raise ReplyTooLargeError(name, most)
        if chunks > _CHUNKS and sent < chunks * _LEAST_CHUNK:
            raise _refused(reply, f"The tenant's answer comes in chunks of a few bytes ({name}).")
        if gunzip is None:
            yield arrived
            continue
        compressed = arrived
        while compressed:
            if gunzip.eof:
                if not compressed.startswith(b"\x1f"):
                    break  # padding
                members += 1
                if members > _MAX_MEMBERS:
                    raise _refused(reply, f"The tenant's answer is compressed in too many parts ({name}).")
                gunzip = zlib.decompressobj(16 + zlib.MAX_WBITS)
            piece = gunzip.decompress(compressed, _PIECE)
            compressed = gunzip.unconsumed_tail or gunzip.unused_data
            decoded += len(piece)
            if decoded > _PAUSE:
                decoded = 0
                await asyncio.sleep(0)
            yield piece
    if gunzip is not None:
        yield gunzip.flush(_PIECE)


def _gunzip_of(reply: httpx.Response, name: str) -> Any:
    """What decompresses the body; None where it is not compressed."""
    named = reply.headers.get("content-encoding", "").lower().split(",")
    encodings = [encoding for part in named if (encoding := part.strip()) not in ("", "identity")]
    if not encodings:
        return None
    if encodings not in ([ENCODING], [f"x-{ENCODING}"]):
        raise _refused(
            reply,
            f"The tenant's answer has the Content-Encoding '{', '.join(encodings)[:64]}', and only {ENCODING} is "
            f"accepted ({name}). Ask the Gainsight admin what stands between the tenant and Frame.",
        )
    return zlib.decompressobj(16 + zlib.MAX_WBITS)


def _refused(reply: httpx.Response, text: str) -> TransientError:
    return TransientError(text, status=reply.status_code)


async def value_of_body(content: bytearray, request: Request) -> Any:
    """The JSON of a body, as `parse_json` reads it; None for what is none. Raises TooManyValuesError.

    What may take long is done in a thread, in steps of which none holds the interpreter for a second; one reply at a
    time, since none is ready sooner beside another one.
    """
    if is_quick(content):
        with suppress(orjson.JSONDecodeError):
            return orjson.loads(content)
    with suppress(orjson.JSONDecodeError):
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(WORKER, parse_json, content, request.name, _columns(request.content))
    return None


def _columns(content: bytes) -> list[str]:
    """The columns that a query selects; none where the call is no query."""
    with suppress(orjson.JSONDecodeError):
        payload = orjson.loads(content)
        columns = payload.get("select") if isinstance(payload, dict) else None
        return columns if isinstance(columns, list) else []
    return []
