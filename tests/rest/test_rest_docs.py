"""What docs/rest.md says is what there is."""

from __future__ import annotations

import re
from pathlib import Path

from dp_dagster.ports.outputs.rest import LARGEST_PAGE
from dp_dagster.ports.outputs.rest.asking import OPERATOR_NAMES, OPTIONS
from dp_dagster.ports.outputs.rest.negotiation import FORMS

DOCUMENT = (Path(__file__).parents[2] / "docs" / "rest.md").read_text()


def test_every_operator_option_and_format_is_named() -> None:
    words = {*OPERATOR_NAMES, *FORMS, *(form.media_type for form in FORMS.values())}
    assert [word for word in sorted(words) if f"`{word}`" not in DOCUMENT] == []
    for option in OPTIONS:
        assert re.search(rf"\b{option}[=`]", DOCUMENT), option


def test_the_largest_page_is_said() -> None:
    assert f"never more than {LARGEST_PAGE:,}" in DOCUMENT
