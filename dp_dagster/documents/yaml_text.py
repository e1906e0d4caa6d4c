"""Plain values as YAML that the two versions of YAML read alike.

Many tools still read YAML 1.1, for which ``on``, ``1_000`` and ``2024-01-01`` are no text; whatever could be taken for
something else is written in quotes.
"""

from __future__ import annotations

import io
import re
from typing import Any

# Letters first, nothing that either version of YAML could take for a number, a date, a constant or syntax.
_PLAIN = re.compile(r"[A-Za-z_$(/][\w $()/.,+@%*=|<>&;~-]*[\w)/%.+]|[A-Za-z_]", re.ASCII)
_CONSTANTS = frozenset(["y", "n", "yes", "no", "on", "off", "true", "false", "null", "none", "nan", "inf"])
_WIDTH = 100_000  # a folded text is hard to compare and to search


def yaml_text(data: Any) -> str:
    """Write mappings (in their order), lists and scalars as a YAML document in block style."""
    from ruamel.yaml import YAML

    writer = YAML()
    writer.default_flow_style = False
    writer.allow_unicode = True
    writer.width = _WIDTH
    writer.sort_base_mapping_type_on_output = False  # type: ignore[assignment]  # ruamel's own hint is too narrow
    writer.indent(mapping=2, sequence=4, offset=2)
    writer.Representer = _representer()
    stream = io.StringIO()
    writer.dump(data, stream)
    return stream.getvalue()


def _representer() -> Any:
    from ruamel.yaml.representer import SafeRepresenter

    class Representer(SafeRepresenter):
        """Quotes what is not plainly text; repeats values instead of using aliases."""

        def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - the base class hands it over
            return True

    Representer.add_representer(str, _text)
    return Representer


def _text(representer: Any, value: str) -> Any:
    tag = "tag:yaml.org,2002:str"
    if "\n" in value:
        return representer.represent_scalar(tag, value, style="|" if _fits_a_block(value) else '"')
    if _PLAIN.fullmatch(value) and value.lower() not in _CONSTANTS and " #" not in value:
        return representer.represent_scalar(tag, value)
    single = value.isprintable() and ('"' in value or "\\" in value)
    return representer.represent_scalar(tag, value, style="'" if single else '"')


def _fits_a_block(value: str) -> bool:
    """Whether a literal block gives back exactly this text, in every reader."""
    lines = value.split("\n")
    return (
        bool(lines[0])
        and not lines[0][0].isspace()
        and all(line == line.rstrip() and line.isprintable() for line in lines)
    )
