"""Asking for a customer's secret: from a prompt without echo, or from standard input."""

from __future__ import annotations

import sys
from getpass import getpass

import typer

from frame_gainsight.cli.input import read_text
from frame_gainsight.cli.output import notes, wrong_use
from frame_gainsight.connectors import Secret, SecretError

_LONGEST = 100_000  # bytes of what is piped in


def ask(oauth: bool, *, kept: bool = False) -> Secret | None:
    """The API key, or an OAuth client's key and secret; None: nothing was given, where one is kept that will do.

    Ends the command when what was given cannot be one.
    """
    text = _prompted(oauth, kept) if sys.stdin.isatty() else read_text(None, _LONGEST)
    if not text.strip():
        if kept:
            return None
        wrong_use("No key was given. Type it at the prompt, or pipe it in: secret-command | frame-gainsight …")
    try:
        return Secret.oauth_client(text) if oauth else Secret.access_key(text)
    except SecretError as error:
        wrong_use(str(error))


def _prompted(oauth: bool, kept: bool) -> str:
    keeps = " (Enter keeps the stored one)" if kept else ""
    if not oauth:
        return _hidden(f"API access key{keeps}", kept)
    key = _hidden(f"OAuth client key{keeps}", kept)
    return f"{key}\n{_hidden('OAuth client secret', False)}" if key else ""


def _hidden(label: str, optional: bool) -> str:
    # Not typer's prompt: it prompts first and turns the echo off then, and a key pasted in between would be seen.
    try:
        while not (text := getpass(f"{label}: ").strip()) and not optional:
            pass
    except (KeyboardInterrupt, EOFError):
        notes.print()  # the prompt's line has not ended
        raise typer.Abort from None
    return text
