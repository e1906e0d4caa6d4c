"""The base of all models of a descriptor's parts."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Model(BaseModel):
    """Base of all parts: frozen, unknown keys refused."""

    # Built when it is first used: a command that reads no descriptor pays for none of the models.
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, defer_build=True)
