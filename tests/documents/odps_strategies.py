"""Random ODPS documents, made from the models, and ways to spoil them."""

from __future__ import annotations

import copy
import typing

from hypothesis import strategies as st

from dp_dagster.documents.odps_model import Day, Moment, Part, Product, Uri

_TRICKY = """on no null ~ 1.0 010 2024-01-31 12:30:00 0x1F ' " { [x] *a &a !x % @x `x` > tier:gold a\\b #1 = << $x | <
order payments 1.2.0 v1.0.0 2 active SQL FILES REST_API a@example.com Zürich-🚲""".split()  # noqa: SIM905 - shorter so
_TRICKY += ["", " ", "a: b", "a # b", "- x", "t ", "a\nb\n\n  c", " lead\nx", "x\n", "a b"]
_ANY = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), max_size=12)
TEXTS = st.one_of(st.sampled_from(_TRICKY), _ANY.filter(lambda text: "${" not in text))
_FLOATS = st.floats(allow_nan=False, allow_infinity=False, width=32)
_SCALARS = st.one_of(st.none(), st.booleans(), st.integers(-(2**40), 2**40), _FLOATS, TEXTS)
_KEYS = st.sampled_from(["a", "b c", "on", "1"])
VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(_KEYS, inner, max_size=2)),
    max_leaves=4,
)
URIS = st.sampled_from(["https://example.com/a?b=c#d", "mailto:data@example.com", "urn:x:y", "slack://C0000"])


def _of(annotation, *, modern: bool, depth: int):  # noqa: PLR0911 - one return for each type
    if annotation is Uri:
        return URIS
    if annotation is Day:
        return st.sampled_from(["2024-02-29", "1999-12-31"])
    if annotation is Moment:
        return st.sampled_from(["2024-01-31T12:00:00Z", "2024-01-31T12:00:00.5+01:00"])
    if annotation is typing.Any:
        return VALUES
    if isinstance(annotation, type) and issubclass(annotation, Part):
        return parts(annotation, modern=modern, depth=depth + 1)
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is list:
        return st.lists(_of(arguments[0], modern=modern, depth=depth), max_size=2 if depth < 2 else 1)
    if origin is typing.Literal:
        return st.sampled_from(arguments)
    if origin is typing.Annotated:
        return st.booleans() if arguments[0] is bool else TEXTS
    inner = [one for one in arguments if one is not type(None)]
    return _of(inner[0], modern=modern, depth=depth)


def _hints(model):
    return typing.get_type_hints(model, include_extras=True)


def parts(model, *, modern: bool, depth: int = 0):
    required, optional = {}, {}
    hints = _hints(model)
    for name, info in model.model_fields.items():
        later = isinstance(info.json_schema_extra, dict) and info.json_schema_extra.get("later")
        if later and not modern:
            continue
        key = info.alias or name
        strategy = _of(hints[name], modern=modern, depth=depth)
        needed = info.is_required() or (not modern and key in model.required_before_1_1)
        (required if needed else optional)[key] = strategy
    if depth > 2:
        optional = {}
    return st.fixed_dictionaries(required, optional=optional)


def _distinct(document: dict) -> bool:
    for part in ("inputPorts", "outputPorts"):
        names = [(port["name"], str(port.get("version"))) for port in document.get(part, [])]
        if len(names) != len(set(names)):
            return False
    return True


@st.composite
def documents(draw):
    """A valid document of any version."""
    version = draw(st.sampled_from(["v1.1.0", "v1.1.0", "v1.0.0", "v0.9.0"]))
    document = draw(parts(Product, modern=version == "v1.1.0").filter(_distinct))
    return {**document, "apiVersion": version}


def _places(node, path=()):
    if isinstance(node, dict):
        for key, value in node.items():
            yield (*path, key)
            if key != "value":
                yield from _places(value, (*path, key))
    elif isinstance(node, list):
        for number, value in enumerate(node):
            yield (*path, number)
            yield from _places(value, (*path, number))


@st.composite
def spoiled(draw):
    """A document that was valid, with one thing changed."""
    document = copy.deepcopy(draw(documents()))
    place = draw(st.sampled_from(sorted(_places(document), key=repr)))
    holder = document
    for key in place[:-1]:
        holder = holder[key]
    match draw(st.sampled_from(["remove", "null", "number", "text", "list", "mapping", "unknown"])):
        case "remove":
            del holder[place[-1]]
        case "null":
            holder[place[-1]] = None
        case "number":
            holder[place[-1]] = 7
        case "text":
            holder[place[-1]] = "text"
        case "list":
            holder[place[-1]] = ["text"]
        case "mapping":
            holder[place[-1]] = {"text": "text"}
        case "unknown":
            target = holder if isinstance(holder, dict) else document
            target["nobodyKnowsThis"] = 1
    return document
