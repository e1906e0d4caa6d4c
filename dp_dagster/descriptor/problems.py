"""What pydantic found wrong, said in the words of the project: place, what is wrong, what would be right."""

from __future__ import annotations

import difflib
import typing
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from dp_dagster.descriptor.values import ERROR_TYPE

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pydantic import ValidationError
    from pydantic.fields import FieldInfo

    from dp_dagster.descriptor.document import Document, Mark
    from dp_dagster.descriptor.paths import Keys
    from dp_dagster.errors import Problem

_WANTED = {
    "string": "text",
    "int": "a whole number",
    "float": "a number",
    "decimal": "a number",
    "bool": "true or false",
    "dict": "a mapping",
    "mapping": "a mapping",
    "model": "a mapping",
    "dataclass": "a mapping",
    "list": "a list",
    "tuple": "a list",
    "set": "a list",
    "literal": "",
}
_FIXES = {
    "a mapping": "write `name: value` lines below it",
    "a list": "write it as a list: [first, second]",
    "true or false": "write true or false",
}


def suggestion(word: str, choices: Iterable[str], label: str = "choices") -> str:
    """``did you mean x?`` if a choice is close to the word, else ``choices: …``."""
    known = sorted(choices)
    close = difflib.get_close_matches(word.lower(), [name.lower() for name in known], n=1, cutoff=0.6)
    if close:
        return f"did you mean {next(name for name in known if name.lower() == close[0])}?"
    return f"{label}: {', '.join(known)}" if known else "there are none"


def described(value: Any) -> str:
    """A value as messages name it."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return f"the number {value}"
    if isinstance(value, str):
        return f"the text {value[:60]!r}"
    return "a mapping" if isinstance(value, dict) else "a list"


def problems_of(
    error: ValidationError,
    document: Document,
    base: Keys,
    model: type[BaseModel],
    known: Iterable[str] | None = None,
) -> list[Problem]:
    """One problem for each error.

    Args:
        error: What validating a part of the document raised.
        document: The document, for places.
        base: Where the part stands.
        model: What it was validated against, for the names of keys.
        known: Keys of the part, where they are more than the model's fields.
    """
    told = {(problem.field, problem.line) for problem in document.problems}
    found = []
    for detail in error.errors(include_url=False):
        problem = _problem(detail, document, base, model, known)
        # A value that could not be read is no new problem when it then fits nowhere.
        if (problem.field, problem.line) not in told or detail["type"] == "extra_forbidden":
            found.append(problem)
    return found


def _problem(
    detail: Any, document: Document, base: Keys, model: type[BaseModel], known: Iterable[str] | None
) -> Problem:
    kind: str = detail["type"]
    context = detail.get("ctx", {})
    location: Keys = detail["loc"]
    keys = (*base, *location, *(context.get("at", ()) if kind == ERROR_TYPE else ()))
    if kind == "missing":
        return document.problem(keys, "is missing", f"add `{keys[-1]}: …`")
    if kind == "extra_forbidden":
        choices = known if known is not None and len(location) == 1 else _keys_at(model, location[:-1])
        return document.problem(keys, "unknown key", suggestion(str(keys[-1]), choices, "known keys"))
    keys = _existing(document, keys, len(base))
    mark = document.mark(keys)
    value = detail["input"] if not context.get("at") else None
    if mark.secret:
        shown = ""
    elif mark.interpolated:
        shown = mark.text or ""
    elif mark.text is not None and not isinstance(value, str):
        shown = mark.text
    else:
        shown = value if isinstance(value, str) else ""
    if kind == ERROR_TYPE:
        said = str(context["said"])
        if shown and shown not in said and said.startswith(("is ", "has ", "names ", "wants ")):
            said = f"{shown[:80]} {said}" if not said.startswith("wants ") else f"{said}, not {shown[:80]}"
        return document.problem(keys, said, str(context["fix"]))
    if kind in {"literal_error", "enum"}:
        choices = _literals(context.get("expected", ""))
        return document.problem(keys, f"{shown[:80]} is no choice here", suggestion(shown, choices))
    info = _field_at(model, location)
    return document.problem(keys, *_said(detail, shown, mark, info.description if info is not None else None))


def _said(detail: Any, shown: str, mark: Mark, description: str | None) -> tuple[str, str]:
    kind: str = detail["type"]
    wanted = _WANTED.get(kind.removesuffix("_type").removesuffix("_parsing"))
    if wanted is not None and kind.endswith(("_type", "_parsing")):
        if mark.secret:
            return f"wants {wanted}", _FIXES.get(wanted, "")
        got = f"the value of {shown}" if mark.interpolated else described(detail["input"])
        fix = _FIXES.get(wanted, "")
        if wanted == "text" and isinstance(detail["input"], int | float) and shown:
            fix = f'write it in quotes: "{shown}"'
        return f"wants {wanted}, not {got}", fix
    fix = f"expected: {description}" if description else ""
    if kind == "string_pattern_mismatch":
        return f"{shown[:80]} has the wrong form", fix
    message = str(detail["msg"])
    return message[:1].lower() + message[1:], fix


def _existing(document: Document, keys: Keys, least: int) -> Keys:
    """Without what pydantic adds to places inside of unions."""
    while len(keys) > least and keys not in document.marks:
        keys = keys[:-1]
    return keys


def _literals(expected: str) -> list[str]:
    return [part.strip(" '\"") for part in expected.replace(" or ", ", ").split(",") if part.strip()]


def _keys_at(model: type[BaseModel], location: Sequence[str | int]) -> list[str]:
    info = _field_at(model, location)
    current = model if not location else _model_in(info.annotation) if info is not None else None
    if current is None:
        return []
    return [info.alias or name for name, info in current.model_fields.items() if name != "options"]


def _field_at(model: type[BaseModel], location: Sequence[str | int]) -> FieldInfo | None:
    current: type[BaseModel] | None = model
    info: FieldInfo | None = None
    for part in location:
        if isinstance(part, int):
            continue
        fields = current.model_fields if current is not None else {}
        info = next((one for name, one in fields.items() if part in {name, one.alias}), None)
        current = _model_in(info.annotation) if info is not None else None
    return info


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = (_model_in(argument) for argument in typing.get_args(annotation))
    return next((model for model in found if model is not None), None)
