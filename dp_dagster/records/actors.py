"""How records name who acted: ``user:ada``, ``service:dp-serve``, ``schedule:flights_daily``."""

from __future__ import annotations

import getpass


def os_user(role: str = "user") -> str:
    """The person whose account this process runs under.

    Args:
        role: What the person acts through; ``ui`` where a click in a user interface without log-in is all that is
            known, so that the account is that of its server.
    """
    # getuser raises where the user has no name, in a container for example.
    try:
        return f"{role}:{getpass.getuser()}"
    except (KeyError, OSError):
        return f"{role}:unknown"


def service(name: str) -> str:
    """A program that acts by itself."""
    return f"service:{name}"
