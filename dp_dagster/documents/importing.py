"""From an ODPS document and its contracts to a product's folder.

The documents themselves are kept as they are, so that export gives the same ones. ``product.yaml`` says of them what it
has a place for. What the documents leave open is left open: a port of unknown kind is ``DECLARED``, and a dataset is
made by a placeholder that fails until somebody writes the query.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from dp_dagster.descriptor.names import id_fault
from dp_dagster.descriptor.paths import shown
from dp_dagster.documents.contract_catalog import ContractCatalog
from dp_dagster.documents.odps_mapping import identifier, kind_name, mapped
from dp_dagster.documents.odps_reading import read_odps
from dp_dagster.documents.placeholders import DEFINITIONS, placeholder_query, usable_kind
from dp_dagster.documents.yaml_text import yaml_text
from dp_dagster.errors import AuthorError, ContractDocumentError, DescriptorError, UsageError
from dp_dagster.registry import DECLARED, Registry

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from dp_dagster.contracts.model import Contract
    from dp_dagster.documents.odps_mapping import PortPlan
    from dp_dagster.documents.odps_reading import OdpsDocument
    from dp_dagster.errors import Problem
    from dp_dagster.settings import Settings

_HEADER = """\
# Made by `dp import`; {kept} is the document itself. `dp export` hands it back with what is changed here.
"""


@dataclass(frozen=True)
class Table:
    """One schema object of a contract, with what it compiles to."""

    reference: str
    name: str
    contract: Contract | None
    reason: str = ""

    @property
    def key(self) -> tuple[str, ...]:
        """Columns that the contract proves to identify a row; empty where it proves none."""
        if self.contract is None:
            return ()
        sets = [
            rule.columns
            for rule in self.contract.rules
            if rule.kind == "unique" and rule.severity == "error" and not rule.params.get("path")
        ]
        optional = {column.name for column in self.contract.columns if column.nullable}
        proven = [columns for columns in sets if not optional & set(columns)]
        if self.contract.key and any(set(columns) <= set(self.contract.key) for columns in proven):
            return self.contract.key
        return min(proven, key=len, default=())


@dataclass
class Imported:
    """What an import writes.

    Attributes:
        product_id: Id of the product.
        files: Content by path in the product's folder.
        notes: What the documents left open, and what was put in its place.
    """

    product_id: str
    files: dict[str, bytes]
    notes: list[str] = field(default_factory=list)


def import_product(
    file: Path, settings: Settings, *, contracts: Sequence[Path] = (), product_id: str | None = None
) -> Imported:
    """Read an ODPS document and the contracts that it points to.

    Args:
        file: The document.
        settings: Of the platform.
        contracts: Further folders in which contracts lie; that of the document is always looked at.
        product_id: Id of the product here; by default made from the document's id or name.

    Raises:
        DescriptorError: the document or a contract is invalid; with every problem found.
        UsageError: the id is none, or a contract cannot be told from another.
    """
    document = read_odps(file)
    if product_id is not None and (fault := id_fault(product_id, product=True)) is not None:
        raise UsageError(f"product id {product_id!r} {fault[0]}; {fault[1]}")
    return _Import(
        document, file, settings, ContractCatalog([file.absolute().parent, *contracts]), product_id
    ).done()


class _Import:
    def __init__(
        self,
        document: OdpsDocument,
        file: Path,
        settings: Settings,
        catalog: ContractCatalog,
        product_id: str | None,
    ) -> None:
        self.document = document
        self.settings = settings
        self.catalog = catalog
        self.said = mapped(document, product_id)
        self.files: dict[str, bytes] = {}
        self.notes = list(self.said.notes)
        self.problems: list[Problem] = []
        self.sources: dict[Path, str] = {}
        """Contracts by the file that they were found in: path in the product's folder."""
        self.tables: dict[Path, list[Table]] = {}
        self.datasets: dict[str, dict[str, Any]] = {}
        self.kept = (
            f"documents/{self.said.head['product_id']}.odps{'.json' if file.suffix == '.json' else '.yaml'}"
        )

    def done(self) -> Imported:
        found = {plan.name: self._source(plan, "inputPorts") for plan in self.said.inputs}
        inputs = [(plan, found[plan.name]) for plan in self.said.inputs]
        outputs = [(plan, self._source(plan, "outputPorts")) for plan in self.said.outputs]
        if self.problems:
            raise DescriptorError(sorted(set(self.problems), key=lambda one: (one.file, one.line, one.field)))
        self._compile()
        input_ports = [self._input(plan, source) for plan, source in inputs]
        taken = {plan.name for plan in self.said.inputs}
        parts = [self._output(plan, source, taken) for plan, source in outputs]
        output_ports = [self._settled(port) for ports in parts for port in ports]
        used = {
            str(part.get("contract", "")).partition(":")[0]
            for part in (*input_ports, *self.datasets.values())
        }
        others = [name for name in self.sources.values() if name not in used]
        transforms = [
            {"name": one["from"], "type": "SQL", "path": f"transforms/{one['from']}.sql"}
            for one in self.datasets.values()
        ]
        head = self.said.head
        product = {
            **head,
            "documents": {"odps": self.kept} | ({"odcs": others} if others else {}),
            "input_ports": input_ports,
            "transforms": transforms,
            "datasets": list(self.datasets.values()),
            "output_ports": output_ports,
        }
        text = yaml_text({key: value for key, value in product.items() if value not in ([], {})})
        self.files["product.yaml"] = (_HEADER.format(kept=self.kept) + text).encode()
        self.files[self.kept] = self.document.text.encode()
        self.files["definitions.py"] = DEFINITIONS.encode()
        return Imported(str(head["product_id"]), self.files, self.notes)

    # -- contracts --------------------------------------------------------------------------------------

    def _source(self, plan: PortPlan, part: str) -> Path | None:
        """The file of a port's contract; its shape is checked, and it is copied."""
        from dp_dagster.contracts.odcs.reading import read_odcs

        if plan.contract_id is None:
            return None
        try:
            path = self.catalog.find(plan.contract_id, plan.version)
            if path is None:
                where = " and ".join(str(folder) for folder in self.catalog.folders)
                self.notes.append(
                    f"{part}[{plan.index}].contractId: no ODCS contract {plan.contract_id} in {where}; put it there, "
                    "or name its folder with --contracts"
                )
                return None
            if path not in self.sources:
                document = read_odcs(path)
                self.sources[path] = self._contract_file(path, str(document.head.name or document.head.id))
                self.files[self.sources[path]] = path.read_bytes()
        except (ContractDocumentError, DescriptorError) as error:
            self.problems += error.problems
            return None
        return path

    def _contract_file(self, path: Path, name: str) -> str:
        ending = ".json" if path.suffix == ".json" else ".yaml"
        stem = identifier(name) or "contract"
        number = 1
        while (file := f"contracts/{stem}{f'_{number}' if number > 1 else ''}.odcs{ending}") in self.files:
            number += 1
        return file

    def _compile(self) -> None:
        """Compile each table of each contract, in a folder like that of the product."""
        import tempfile
        from pathlib import Path

        from dp_dagster.contracts.odcs.reading import read_odcs

        with tempfile.TemporaryDirectory() as place:
            root = Path(place)
            _write(root, self.files)
            for path, file in self.sources.items():
                objects = read_odcs(path).document.data.get("schema") or []
                names = [str(one["name"]) for one in objects]
                self.tables[path] = [
                    self._table(root, file if len(names) == 1 else f"{file}:{name}", name) for name in names
                ]

    def _table(self, root: Path, reference: str, name: str) -> Table:
        from dp_dagster.contracts.load import load_contract

        if ":" in name or not name.strip() or name != name.strip():
            return Table(reference, name, None, "its name cannot be written in a reference")
        try:
            contract = load_contract(reference, product_root=root)
        except AuthorError as error:
            first = str(error).splitlines()[0].removeprefix(f"{root}/")
            return Table(reference, name, None, first)
        return Table(reference, name, contract)

    # -- ports ------------------------------------------------------------------------------------------

    def _input(self, plan: PortPlan, source: Path | None) -> dict[str, Any]:
        port = self._kind("input_ports", plan)
        tables = self.tables.get(source, []) if source is not None else []
        if len(tables) == 1 and tables[0].contract is not None:
            port["contract"] = tables[0].reference
        elif tables:
            reason = tables[0].reason or f"{len(tables)} tables, and nothing says which is read"
            self.notes.append(f"inputPorts[{plan.index}].contractId: kept, but not proven here: {reason}")
        return port

    def _output(self, plan: PortPlan, source: Path | None, taken: set[str]) -> list[dict[str, Any]]:
        port = self._kind("output_ports", plan)
        tables = self.tables.get(source, []) if source is not None else []
        made = []
        for table in tables:
            if not table.key:
                reason = table.reason or "no primary key, so nothing can tell its rows apart"
                self.notes.append(
                    f"outputPorts[{plan.index}].contractId: {table.name} is declared only: {reason}"
                )
                continue
            name = plan.name if len(tables) == 1 else f"{plan.name}_{identifier(table.name)}"[:63]
            made.append({**port, "name": name, "dataset": self._dataset(table, plan, taken)})
        return made or [port]

    def _dataset(self, table: Table, plan: PortPlan, taken: set[str]) -> str:
        """The dataset of a table, made when it is first asked for."""
        for name, dataset in self.datasets.items():
            if dataset["contract"] == table.reference:
                return name
        base = identifier(table.name)
        if id_fault(base) is not None:
            base = f"dataset_{base or len(self.datasets) + 1}"
        major = identifier(plan.version or "").removeprefix("v").partition("_")[0]
        name = base if base not in self.datasets or not major else f"{base}_v{major}"
        source, number = name, 2
        while name in self.datasets:
            name, number = f"{base}_{number}", number + 1
        source = name
        while source in taken:
            source = f"{source}_rows"
        taken.add(source)
        self.datasets[name] = {
            "name": name,
            "from": source,
            "contract": table.reference,
            "key": list(table.key),
        }
        assert table.contract is not None
        self.files[f"transforms/{source}.sql"] = placeholder_query(name, source, table.contract).encode()
        self.notes.append(
            f"transforms/{source}.sql is a placeholder: the documents do not say how {name} is made"
        )
        return name

    def _kind(self, family: Any, plan: PortPlan) -> dict[str, Any]:
        port, reason = usable_kind(Registry.load(), family, plan.fields)
        if reason:
            label = "inputPorts" if family == "input_ports" else "outputPorts"
            self.notes.append(f"{label}[{plan.index}] ({plan.name}) is declared only: {reason}")
        return port

    def _settled(self, port: dict[str, Any]) -> dict[str, Any]:
        """A port without a dataset in a product that has some can only be declared."""
        if "dataset" in port or not self.datasets or kind_name(port["type"]) == DECLARED:
            return port
        kept = {key: port[key] for key in ("name", "description") if key in port}
        return {**kept, "type": DECLARED}


def write_import(imported: Imported, folder: Path, settings: Settings) -> None:
    """Write an import into a folder, all or nothing, after it was found to be a sound product.

    Raises:
        UsageError: the folder is there already.
        DescriptorError: what was made is no sound product.
    """
    import shutil
    import tempfile
    from pathlib import Path

    from dp_dagster.resolve import resolve

    if folder.exists():
        raise UsageError(f"{folder} is there already; choose another folder (--output) or id (--id)")
    folder.parent.mkdir(parents=True, exist_ok=True)
    settings.state_directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=settings.state_directory, prefix="import-") as place:
        staged = Path(place) / folder.name
        _write(staged, imported.files)
        try:
            resolve(staged, settings)
        except DescriptorError as error:
            # Said of the file that would be there.
            seen, wanted = shown(staged), shown(folder)
            told = [replace(one, file=one.file.replace(seen, wanted, 1)) for one in error.problems]
            raise DescriptorError(told) from error
        shutil.move(staged, folder)


def _write(root: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
