"""Where in the author's file a contract and its columns stand: read from the source, not by running it."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Positions:
    """Lines of one contract in its file.

    Attributes:
        file: The file, relative to the product's folder.
        line: Line of the class or of the assignment; 0 if the file does not show it.
        fields: Lines of the columns and checks that stand there, by name.
    """

    file: str
    line: int = 0
    fields: dict[str, int] = field(default_factory=dict)

    def place(self, name: str | None = None) -> str:
        """``file:line`` of a column or check, or of the contract where that is not known."""
        line = self.fields.get(name, self.line) if name is not None else self.line
        return f"{self.file}:{line}" if line else self.file


def find_positions(sources: dict[str, bytes], file: str, name: str) -> Positions:
    """Find the contract ``name`` in ``file``, with the columns that stand in it.

    Args:
        sources: Contents of the contract's files by relative path.
        file: The file that holds the contract.
        name: Name of the class or variable.
    """
    tree = ast.parse(sources[file])
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            return Positions(file, node.lineno, _class_fields(node))
        targets = node.targets if isinstance(node, ast.Assign) else []
        if isinstance(node, ast.AnnAssign) and node.value is not None:
            targets = [node.target]
        if any(isinstance(target, ast.Name) and target.id == name for target in targets):
            return Positions(file, node.lineno, _schema_fields(node))
    return Positions(file)


def _class_fields(node: ast.ClassDef) -> dict[str, int]:
    lines: dict[str, int] = {}
    for part in node.body:
        if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name):
            lines[part.target.id] = part.lineno
            for call in (found for found in ast.walk(part) if isinstance(found, ast.keyword)):
                if call.arg == "alias" and isinstance(call.value, ast.Constant):
                    lines[str(call.value.value)] = part.lineno
        elif isinstance(part, ast.FunctionDef):
            lines[part.name] = part.lineno
        elif isinstance(part, ast.Assign) and isinstance(part.targets[0], ast.Name):
            lines[part.targets[0].id] = part.lineno
    return lines


def _schema_fields(node: ast.AST) -> dict[str, int]:
    """Lines of the texts that are keys of dictionaries below: columns of a ``DataFrameSchema``."""
    return {
        key.value: key.lineno
        for part in ast.walk(node)
        if isinstance(part, ast.Dict)
        for key in part.keys
        if isinstance(key, ast.Constant) and isinstance(key.value, str)
    }
