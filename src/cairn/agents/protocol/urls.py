"""URLs that people give: how they are shown, and where what they name may lie.

A URL may be a secret: it has a password in it, or a signature that opens what it names to everybody. So it goes out as it
was given, byte for byte, and is shown and kept only as `shown_url` has it.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit, urlunsplit

_HIDDEN: Final = "…"
_SECRET_LENGTH = 3  #: shorter texts are found in every sentence, and no secrets

DENIED_NETWORKS: Final = (
    "0.0.0.0/8",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "::/127",
    "fe80::/10",
    "fec0::/10",
    "ff00::/8",
)
"""Networks that nothing is fetched from for strangers: a machine's own, link-local (where clouds keep their metadata),
multicast, and what is reserved. Private networks are not among them: they are where image servers are."""


def shown_url(url: str) -> str:
    """The URL without its user, password, and the values of its query, for people to read."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "the URL"
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, _shown_query(parts.query), ""))


def without_secrets(text: str, url: str) -> str:
    """`text` without what `url` has of secrets, whoever wrote it: an older agent repeats URLs whole."""
    text = text.replace(url, shown_url(url))
    try:
        parts = urlsplit(url)
    except ValueError:
        return text
    login = parts.netloc.rpartition("@")[0]
    values = [part.partition("=")[2] or part for part in parts.query.split("&")]
    for secret in (login, login.partition(":")[2], parts.query, *sorted(values, key=len, reverse=True)):
        if len(secret) >= _SECRET_LENGTH:
            text = text.replace(secret, _HIDDEN)
    return text


def _shown_query(query: str) -> str:
    """The names of a query's values; a part without a name may be a secret itself."""
    if not query:
        return ""
    names = [part.partition("=") for part in query.split("&")]
    return "&".join(f"{name}={_HIDDEN}" if equals else _HIDDEN for name, equals, _ in names)
