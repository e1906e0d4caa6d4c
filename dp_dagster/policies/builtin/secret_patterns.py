"""Telling secrets from other texts: known forms, tell-tale keys, and how random a text looks."""

from __future__ import annotations

import math
import re
from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_REFERENCE = re.compile(r"\$\{[A-Za-z_][A-Za-z0-9_]*(?::-(?P<default>[^}]*))?\}")

# Known forms; what they are called, and how they begin and go on.
_FORMS = {
    "a private key": re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY( BLOCK)?-----"),
    "an AWS access key": re.compile(r"\b(AKIA|ASIA)[A-Z0-9]{16}\b"),
    "a GitHub token": re.compile(r"\b(gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{22,})"),
    "a GitLab token": re.compile(r"\bglpat-[A-Za-z0-9_-]{20,}"),
    "a Slack token": re.compile(r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}"),
    "the address of a chat's webhook": re.compile(
        r"https://(hooks\.slack\.com/services/T|discord(app)?\.com/api/webhooks/\d|[a-z0-9-]+\.webhook\.office\.com/)"
    ),
    "a Google API key": re.compile(r"\bAIza[0-9A-Za-z_-]{35}"),
    "a Stripe key": re.compile(r"\b[rs]k_live_[A-Za-z0-9]{16,}"),
    "a Databricks token": re.compile(r"\bdapi[0-9a-f]{32}\b"),
    "an npm token": re.compile(r"\bnpm_[A-Za-z0-9]{36}\b"),
    "a PyPI token": re.compile(r"\bpypi-[A-Za-z0-9_-]{50,}"),
    "an API key for a language model": re.compile(r"\bsk-[A-Za-z0-9_-]{20,}"),
    "a signed token": re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\."),
}
_PASSWORD_IN_URL = re.compile(r"[a-z][a-z0-9+.-]*://[^/\s:@]*:(?P<password>[^/\s@]+)@", re.IGNORECASE)
_TELLING = (
    r"pass(?:word|wd|phrase)?|pwd|secret|token|api_?key|access_?key|account_?key|private_?key|signing_?key|"
    r"encryption_?key|credentials?|client_?secret|bearer|signature|sig"
)
# password=… in the query of an address or in a connection string.
_ASSIGNED = re.compile(rf"(?:^|[?&;\s])\w*?(?:{_TELLING})\s*=\s*(?P<value>[^&;\s]+)", re.IGNORECASE)
_TELLING_KEY = re.compile(rf"(?:^|[._-])(?:{_TELLING})(?:_value|_base64)?\Z", re.IGNORECASE)
_LAST_KEY = re.compile(r"([A-Za-z_][\w-]*)(?:\[[0-9]+\])*\Z")
_PLACEHOLDER = re.compile(
    r"(?:[*x•.…-]+|<[^>]*>|none|null|true|false|yes|no|required|optional)\Z", re.IGNORECASE
)
# Keys of what looks random and is no secret.
_HARMLESS_KEY = re.compile(
    r"(?:^|[._-])(?:sha\d*|hash|checksum|digest|revision|commit|fingerprint|etag|uuid)\Z", re.IGNORECASE
)

_WORD = re.compile(r"[A-Za-z0-9+/=_-]{20,}")
_HEXADECIMAL = re.compile(r"[0-9a-f]{32,}\Z|[0-9A-F]{32,}\Z")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z", re.IGNORECASE)
_LEAST_BITS = 3.5
_LEAST_BITS_HEXADECIMAL = 3.0
# Share of neighbours of another class (upper case, lower case, digits): names change at words only.
_LEAST_CHANGES = 0.36
_LEAST_CHANGES_LOWER = 0.28


def what_secret(path: str, written: str) -> str:
    """What kind of secret a value is or holds; empty where it looks like none.

    Args:
        path: Where it stands: ``input_ports[0].password``.
        written: As its author wrote it. A reference is no secret; its default is looked at.
    """
    # What stands in for a reference is no part of a random text or of a password.
    text = _REFERENCE.sub(lambda found: found["default"] or " ", written)
    last = _LAST_KEY.search(path)
    return next(_kinds(last.group(1) if last is not None else "", text), "") if text.strip() else ""


def _kinds(key: str, text: str) -> Iterator[str]:
    yield from (what for what, form in _FORMS.items() if form.search(text))
    password = _PASSWORD_IN_URL.search(text)
    if password is not None and not _PLACEHOLDER.match(password["password"]):
        yield "an address with a password"
    if _TELLING_KEY.search(key) and not _PLACEHOLDER.match(text) and not text.strip().isdigit():
        yield f"a value of {key}"
    assigned = _ASSIGNED.search(text)
    if assigned is not None and not _PLACEHOLDER.match(assigned["value"]):
        yield "a password or token"
    if not _HARMLESS_KEY.search(key) and any(looks_random(word) for word in _WORD.findall(text)):
        yield "a key or token"


def looks_random(word: str) -> bool:
    """Whether a text without spaces looks as if a machine had drawn it."""
    if _UUID.match(word):
        return False
    if _HEXADECIMAL.match(word):
        return _bits(word) >= _LEAST_BITS_HEXADECIMAL
    # Names and paths are made of parts; what was drawn at random is one long part, or nearly.
    return any(
        len(part) >= 20 and _bits(part) >= _LEAST_BITS and _changes(part) >= _least_changes(part)
        for part in re.split(r"[/_=-]+", word)
    )


def _least_changes(word: str) -> float:
    return _LEAST_CHANGES if word.lower() != word and word.upper() != word else _LEAST_CHANGES_LOWER


def _bits(word: str) -> float:
    """Entropy of a character, in bits."""
    length = len(word)
    return -sum(count / length * math.log2(count / length) for count in Counter(word).values())


def _changes(word: str) -> float:
    """Share of neighbours that are of different classes."""
    classes = [
        "0" if one.isdigit() else "A" if one.isupper() else "a" if one.islower() else "." for one in word
    ]
    return sum(one != other for one, other in pairwise(classes)) / (len(word) - 1)
