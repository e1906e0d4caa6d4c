"""Named formats of texts (``logicalTypeOptions.format`` of a string), as regular expressions over the whole text."""

from __future__ import annotations

_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_HEX = "[0-9A-Fa-f]{1,4}"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_DATE = r"[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])"
_CLOCK = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:(?:[0-5][0-9]|60)(?:\.[0-9]+)?"
_ZONE = r"(?:[Zz]|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
_IPV4 = rf"{_OCTET}(?:\.{_OCTET}){{3}}"
_IPV6 = "|".join(
    [
        rf"(?:{_HEX}:){{7}}{_HEX}",
        rf"(?:{_HEX}:){{1,7}}:",
        *(rf"(?:{_HEX}:){{1,{7 - after}}}(?::{_HEX}){{1,{after}}}" for after in range(1, 7)),
        rf":(?:(?::{_HEX}){{1,7}}|:)",
        rf"(?:{_HEX}:){{6}}{_IPV4}",
        rf"::(?:[Ff]{{4}}:)?{_IPV4}",
    ]
)

TEXT_FORMATS: dict[str, str] = {
    "email": rf"[A-Za-z0-9!#$%&'*+/=?^_`{{|}}~.-]+@{_LABEL}(?:\.{_LABEL})+",
    "uuid": r"[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}",
    "uri": r"[A-Za-z][A-Za-z0-9+.-]*:[^\s<>\"{}|\\^`]+",
    "hostname": rf"{_LABEL}(?:\.{_LABEL})*\.?",
    "ipv4": _IPV4,
    "ipv6": f"(?:{_IPV6})",
    "date": _DATE,
    "time": f"{_CLOCK}(?:{_ZONE})?",
    "date-time": f"{_DATE}[Tt ]{_CLOCK}{_ZONE}",
    "byte": r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?",
}
"""Formats that are checked. Dates are checked as to form and ranges of their parts."""

UNCHECKABLE: dict[str, str] = {
    "password": "format password asks for nothing that could be checked",
    "binary": "format binary asks for nothing that could be checked",
}
