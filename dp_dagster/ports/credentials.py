"""What stands in a descriptor as ``${NAME}`` and may hold a secret: read when it is used, and never shown."""

from __future__ import annotations

import os
import re

from dp_dagster.descriptor.alerting import Secret
from dp_dagster.descriptor.interpolation import InterpolationError, interpolate, without_secret
from dp_dagster.errors import SettingsError

__all__ = ["Secret", "Secrets", "without_login"]

# `user:password@` of a URL, also of one inside another (zip://a.csv::https://…).
_LOGIN = re.compile(r"(?<=//)[^/\s]*@")


class Secrets:
    """Reads the references of one input port, and knows afterwards what must not be shown.

    Args:
        what: The port, for messages.
    """

    def __init__(self, what: str) -> None:
        self.what = what
        self._variables: set[str] = set()

    def value(self, text: str) -> str:
        """A text with its references replaced. Nothing that this gives is ever logged or kept.

        Raises:
            SettingsError: a variable is not set; says which.
        """
        try:
            read = interpolate(text, os.environ)
        except InterpolationError as error:
            raise SettingsError(f"{self.what}: {error}") from error
        self._variables |= read.variables
        return read.text

    def hide(self, text: str) -> str:
        """A text on one line, without any value that was read, whole or in parts."""
        text = " ".join(text.split())
        for name in sorted(self._variables):
            text = without_secret(text, name, os.environ.get(name, ""))
        return _LOGIN.sub("", text)


def without_login(url: str) -> str:
    """A URL as it may be shown: without user and password, and without its query."""
    return re.split(r"[?#]", _LOGIN.sub("", url), maxsplit=1)[0]
