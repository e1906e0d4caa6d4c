"""YAML (and so JSON) text to plain values, with the line of every one of them.

The reader follows YAML 1.2: ``on`` and ``no`` are text, dates are text, and what the two versions of YAML
read as different numbers (``010``) is refused. Values stay as the author wrote them beside what they mean, so
that messages and listings can show ``1.10`` and ``${TOKEN}`` rather than ``1.1`` and a secret.
"""

from __future__ import annotations

import os
import re
import warnings
from dataclasses import dataclass, field, replace
from math import isfinite
from typing import TYPE_CHECKING, Any

from dp_dagster.descriptor.interpolation import InterpolationError, interpolate
from dp_dagster.descriptor.paths import Keys, dotted
from dp_dagster.errors import DescriptorError, Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

MAX_BYTES = 1_000_000
MAX_VALUES = 20_000
"""More values than any descriptor needs; what has more is a mistake or an attack by aliases."""

_TAG = "tag:yaml.org,2002:"
_SCALAR_TAGS = {_TAG + name for name in ("null", "bool", "int", "float", "timestamp", "merge", "value")}
_CONSTANTS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]{0,30})\Z")
_BASED = re.compile(r"0o[0-7]{1,30}\Z|0x[0-9a-fA-F]{1,30}\Z")
_AMBIGUOUS = re.compile(r"[-+]?0[0-9_]+\Z")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]{1,4})?\Z")


@dataclass(frozen=True)
class Mark:
    """Where a value stands (line from 1) and, for a leaf, how its author wrote it."""

    line: int
    text: str | None = None
    interpolated: bool = False
    secret: bool = False
    """Whether a secret may stand here: what was written is then never told."""


@dataclass(frozen=True)
class Document:
    """A parsed document: its values, and a mark for each of them (``()`` is the document itself)."""

    file: str
    data: Any
    marks: Mapping[Keys, Mark]
    variables: frozenset[str] = frozenset()
    problems: tuple[Problem, ...] = ()

    def mark(self, keys: Keys) -> Mark:
        """The mark of the value at ``keys``, or of the nearest value around it."""
        while keys and keys not in self.marks:
            keys = keys[:-1]
        return self.marks.get(keys, Mark(0))

    def problem(self, keys: Keys, message: str, fix: str = "") -> Problem:
        """A problem at that place. Values of environment variables are taken out of its text."""
        return Problem(
            self.file, self.mark(keys).line, dotted(keys), self._redacted(message), self._redacted(fix)
        )

    def leaves(self) -> Iterator[tuple[Keys, Mark]]:
        """Every leaf in the order of the document."""
        return ((keys, mark) for keys, mark in self.marks.items() if mark.text is not None)

    def _redacted(self, text: str) -> str:
        for name in sorted(self.variables):
            value = os.environ.get(name, "")
            # Very short values cannot be told from ordinary words; messages name no interpolated value anyway.
            if len(value) > 3:
                text = re.sub(re.escape(value), f"${{{name}}}", text, flags=re.IGNORECASE)
        return " ".join(text.split()) if "\n" in text else text


def read_text(path: Path, file: str) -> str:
    """The file's text.

    Raises:
        DescriptorError: it cannot be read, is too long, or is not UTF-8.
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise DescriptorError([Problem(file, 0, "", f"cannot be read: {error.strerror}")]) from error
    if len(content) > MAX_BYTES:
        raise DescriptorError([Problem(file, 0, "", f"is longer than {MAX_BYTES:,} bytes", "shorten it")])
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        byte = content[error.start]
        raise DescriptorError(
            [Problem(file, line, "", f"is not UTF-8 text (byte 0x{byte:02x})", "save the file as UTF-8")]
        ) from error


def parse(
    text: str, file: str, *, interpolation: bool = True, secret: Callable[[Keys], bool] = lambda _: False
) -> Document:
    """Parse YAML or JSON text.

    Args:
        text: The text.
        file: Name for messages.
        interpolation: Whether ``${NAME}`` stands for an environment variable. Without it the text is taken as it
            is: in a contract the same characters may be a regular expression.
        secret: Places where a secret may stand. References there are left as they are, to be read when they are
            used, and nothing that was written there is ever told.

    Problems that leave the rest readable (a duplicate key, a variable that is not set) are in the document's
    ``problems``.

    Raises:
        DescriptorError: the text is empty, is no YAML, or its aliases explode.
    """
    builder = _Builder(file, interpolation, secret)
    try:
        node = _compose(text, file)
        data = builder.build(node, ())
    except RecursionError as error:
        raise DescriptorError([Problem(file, 0, "", "is nested too deeply", "flatten it")]) from error
    return Document(file, data, builder.marks, frozenset(builder.variables), tuple(builder.problems))


def from_mapping(
    data: Mapping[str, Any], file: str, *, secret: Callable[[Keys], bool] = lambda _: False
) -> Document:
    """A document of values that were parsed elsewhere (an inline descriptor), so without line numbers.

    Raises:
        DescriptorError: the values are not what JSON can hold, or nested too deeply.
    """
    import json

    try:
        text = json.dumps(data)
    except (TypeError, ValueError, RecursionError) as error:
        raise DescriptorError([Problem(file, 0, "", f"is not plain data: {error}")]) from error
    document = parse(text, file, secret=secret)
    marks = {keys: replace(mark, line=0) for keys, mark in document.marks.items()}
    problems = tuple(Problem(file, 0, one.field, one.message, one.fix) for one in document.problems)
    return Document(file, document.data, marks, document.variables, problems)


def _compose(text: str, file: str) -> Any:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError
    from ruamel.yaml.reader import ReaderError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an anchor used twice is legal YAML
            node = YAML(typ="safe", pure=True).compose(text)
    except ReaderError as error:
        position = error.position if isinstance(error.position, int) else 0
        line = text.count("\n", 0, position) + 1
        message = f"holds the control character {error.character!r}"
        raise DescriptorError([Problem(file, line, "", message, "remove it")]) from error
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark is not None else 0
        what = error.problem or error.context or "cannot be parsed"
        message, fix = f"is not valid YAML: {what}", "check indentation, quotes and brackets"
        if r"\t" in what:
            message, fix = "is indented with a tab", "indent with spaces"
        elif "another document" in what:
            message, fix = "holds a second document", "keep one document in each file"
        elif "${" in "".join(text.splitlines()[line - 1 : line]):
            fix = 'inside of {…} and […], put ${NAME} in quotes: "${NAME}"'
        raise DescriptorError([Problem(file, line, "", message, fix)]) from error
    except (YAMLError, ValueError, ArithmeticError, LookupError, AttributeError, TypeError) as error:
        # The scanner fails in such ways on malformed escapes and directives.
        raise DescriptorError([Problem(file, 0, "", f"is not valid YAML: {error}")]) from error
    if node is None:
        raise DescriptorError([Problem(file, 1, "", "is empty", "start with `product_id: …`")])
    return node


@dataclass
class _Builder:
    """Turns YAML nodes into values. Every value is counted, so that aliases cannot explode."""

    file: str
    interpolation: bool = True
    secret: Callable[[Keys], bool] = lambda _: False
    marks: dict[Keys, Mark] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    variables: set[str] = field(default_factory=set)
    open: set[int] = field(default_factory=set)
    count: int = 0

    def build(self, node: Any, keys: Keys, line: int | None = None) -> Any:
        line = node.start_mark.line + 1 if line is None else line
        self._spend(line, keys)
        if id(node) in self.open:
            self._stop(line, keys, "is an alias that contains itself", "write the value out")
        self.marks[keys] = Mark(line, secret=self.secret(keys))
        if node.id == "scalar":
            return self._scalar(node, keys, line)
        if node.tag not in (_TAG + "map", _TAG + "seq"):
            self._problem(line, keys, f"carries the YAML tag {node.tag}", "remove the tag")
        self.open.add(id(node))
        try:
            result = self._mapping(node, keys) if node.id == "mapping" else self._sequence(node, keys)
        finally:
            self.open.discard(id(node))
        if not result:
            self.marks[keys] = replace(self.marks[keys], text="{}" if isinstance(result, dict) else "[]")
        return result

    def _sequence(self, node: Any, keys: Keys) -> list[Any]:
        return [self.build(item, (*keys, index)) for index, item in enumerate(node.value)]

    def _mapping(self, node: Any, keys: Keys) -> dict[str, Any]:
        result: dict[str, Any] = {}
        first: dict[str, int] = {}
        for key, line, value_node, inherited in self._entries(node, keys, inherited=False):
            if key not in result:
                first[key] = line
                result[key] = self.build(value_node, (*keys, key), line)
            elif not inherited:
                where = f"first on line {first[key]}"
                self._problem(line, (*keys, key), f"key appears twice ({where})", "remove one of them")
        return result

    def _entries(self, node: Any, keys: Keys, *, inherited: bool) -> Iterator[tuple[str, int, Any, bool]]:
        """The mapping's own entries, then those that it merges (``<<``), which its own ones override."""
        bases: list[Any] = []
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if key_node.id != "scalar":
                self._problem(line, keys, "has a key that is not text", "write `name: value`")
            elif key_node.value == "<<" and key_node.style is None:
                bases.extend(value_node.value if value_node.id == "sequence" else [value_node])
            else:
                yield _joined(key_node.value), line, value_node, inherited
        for base in bases:
            line = base.start_mark.line + 1
            self._spend(line, keys)
            if base.id != "mapping":
                self._problem(line, keys, "merges (<<) what is not a mapping", "merge a mapping")
            elif id(base) in self.open:
                self._stop(line, keys, "merges itself", "write the values out")
            else:
                self.open.add(id(base))
                yield from self._entries(base, keys, inherited=True)
                self.open.discard(id(base))

    def _spend(self, line: int, keys: Keys) -> None:
        self.count += 1
        if self.count > MAX_VALUES:
            self._stop(line, keys, f"expands to more than {MAX_VALUES:,} values", "use fewer YAML aliases")

    def _scalar(self, node: Any, keys: Keys, line: int) -> Any:
        written = _joined(node.value)
        if any("\ud800" <= character <= "\udfff" for character in written):
            self._problem(line, keys, "holds half of a surrogate pair", "write the whole character")
            written = written.encode("utf-8", "replace").decode("utf-8")
        if "\x00" in written:
            self._problem(line, keys, "holds a null character", "remove it")
        value: Any = written
        if node.tag in _SCALAR_TAGS:
            value = self._plain(written, keys, line)
        elif node.tag != _TAG + "str":
            self._problem(line, keys, f"carries the YAML tag {node.tag}", "remove the tag")
        interpolated = False
        secret = self.secret(keys)
        if isinstance(value, str) and self.interpolation and not secret:
            try:
                outcome = interpolate(value, os.environ)
            except InterpolationError as error:
                self._problem(line, keys, str(error), error.fix)
            else:
                value, interpolated = outcome.text, outcome.replaced
                self.variables |= outcome.variables
        self.marks[keys] = Mark(line, written, interpolated, secret)
        return value

    def _plain(self, text: str, keys: Keys, line: int) -> Any:
        """An unquoted scalar, by the core schema of YAML 1.2."""
        value: Any = text
        if text in _CONSTANTS:
            value = _CONSTANTS[text]
        elif _INTEGER.match(text):
            value = int(text)
        elif _BASED.match(text):
            value = int(text, 0)
        elif _AMBIGUOUS.match(text):
            self._problem(
                line,
                keys,
                f"{text[:40]} is an octal number for YAML 1.1 and a decimal one for YAML 1.2",
                "write it without the leading zero, or in quotes if it is text",
            )
        elif _FLOAT.match(text) and isfinite(float(text)):
            value = float(text)
        return value

    def _problem(self, line: int, keys: Keys, message: str, fix: str) -> None:
        self.problems.append(Problem(self.file, line, dotted(keys), message, fix))

    def _stop(self, line: int, keys: Keys, message: str, fix: str) -> None:
        self._problem(line, keys, message, fix)
        raise DescriptorError(self.problems)


def _joined(text: str) -> str:
    """JSON writes characters beyond the basic plane as two escapes; YAML keeps them apart."""
    if any("\ud800" <= character <= "\udbff" for character in text):
        try:
            return text.encode("utf-16", "surrogatepass").decode("utf-16")
        except UnicodeDecodeError:
            return text
    return text
