"""A customer's secret: an API access key, or an OAuth client's key and secret. In memory only, and never shown."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from frame_gainsight.connectors.errors import SecretError
from frame_gainsight.gainsight import AccessKey, Credentials, OAuthClient
from frame_gainsight.runtime import Clock

Kind = Literal["access_key", "oauth_client"]


@dataclass(frozen=True, slots=True)
class Secret:
    """A secret. `text` is the access key, or `key:secret` of an OAuth client."""

    kind: Kind
    text: str = field(repr=False)

    @staticmethod
    def access_key(text: str) -> Secret:
        """The access key that a person pasted. Raises SecretError."""
        key = text.strip()
        if not _is_word(key):
            raise SecretError(
                "That is not an API access key: it is one word of printable characters. Paste it at the prompt, or "
                "pipe it in: secret-command | frame-gainsight connector add FILE"
            )
        return Secret("access_key", key)

    @staticmethod
    def oauth_client(text: str) -> Secret:
        """The OAuth client of `key:secret`, or of the two on lines of their own. Raises SecretError."""
        words = text.split()
        parts = words[0].split(":", 1) if len(words) == 1 else words
        if len(parts) != 2 or not all(_is_word(part) for part in parts) or ":" in parts[0]:
            raise SecretError(
                "That is not an OAuth client: its key and its secret are needed, as key:secret or on two lines, each "
                "one word of printable characters."
            )
        return Secret("oauth_client", ":".join(parts))

    @staticmethod
    def of(kind: str, text: str) -> Secret:
        """The secret that was sealed. Raises SecretError for a kind that this release does not know."""
        if kind == "access_key":
            return Secret("access_key", text)
        if kind == "oauth_client":
            return Secret("oauth_client", text)
        raise SecretError(f"A secret of the kind '{kind}' was stored by another release of frame-gainsight.")

    def credentials(self, clock: Clock) -> Credentials:
        """The credentials that authenticate a client's calls."""
        if self.kind == "access_key":
            return AccessKey(self.text)
        key, _, secret = self.text.partition(":")
        return OAuthClient(key, secret, clock)


def _is_word(text: str) -> bool:
    return bool(text) and text.isascii() and text.isprintable() and not any(character.isspace() for character in text)
