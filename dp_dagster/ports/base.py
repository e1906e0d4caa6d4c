"""The two port families: what a kind of input port and a kind of output port must be able to do.

Built-in kinds and those of third parties register in the same way, through the entry point groups
``dp_dagster.input_ports`` and ``dp_dagster.output_ports``. The module of a kind must be cheap to import:
listing and validating products load it, so libraries are imported inside the methods that use them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime
    from pathlib import Path

    import duckdb

    from dp_dagster.access.policy import GuardedDataset
    from dp_dagster.access.view import DatasetView
    from dp_dagster.contracts.model import Column, Contract
    from dp_dagster.settings import Settings
    from dp_dagster.storage import Snapshot
    from dp_dagster.storage.manifest import Manifest


class KindConfig(BaseModel):
    """Base of every kind's own configuration: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


ConfigT = TypeVar("ConfigT", bound=KindConfig)


@dataclass(frozen=True)
class Fault:
    """Something wrong with a kind's configuration that its types alone cannot show.

    ``field`` is the key in the port's or transform's own mapping (``path``); the resolver adds file and line.
    """

    field: str
    message: str
    fix: str = ""


@dataclass(frozen=True)
class UpstreamPort:
    """Another product's output port, as an input port names it."""

    product: str
    major: int
    port: str

    def __str__(self) -> str:
        return f"{self.product}.{self.port}@{self.major}"


@dataclass(frozen=True)
class PinnedPartition:
    """One partition of a pinned version: its files, and what its rows were made from (equal for equal rows)."""

    files: tuple[str, ...]
    made_from: str


@dataclass(frozen=True)
class Pinned:
    """One version of one input, resolved once and read for the whole run.

    Attributes:
        name: The input's name in this product.
        files: Absolute paths of the Parquet files that make up the version.
        version: Committed version, or ``None`` for files that are read where they lie.
        provenance: What the publication records of it (product, port, version, fingerprint, …); JSON.
        rows: Number of rows, where known without reading the data.
        partitions: By key, for data that is stored by partition.
        digest: Equal for equal data, where that is known; empty where only the version tells.
    """

    name: str
    files: tuple[str, ...]
    version: int | None
    provenance: dict[str, Any] = field(default_factory=dict)
    rows: int | None = None
    partitions: Mapping[str, PinnedPartition] = field(default_factory=dict)
    digest: str = ""


def pinned_partitions(snapshot: Snapshot) -> dict[str, PinnedPartition]:
    """The partitions of a committed version, as a run pins them."""
    paths = {path.rpartition("/")[2]: path for path in snapshot.files}
    return {
        key: PinnedPartition(tuple(paths[name] for name in one.files), one.made_from)
        for key, one in snapshot.partitions.items()
        if all(name in paths for name in one.files)
    }


LandingMode = Literal["replace", "append", "merge"]
OnSchemaChange = Literal["stop", "evolve", "quarantine"]


@dataclass(frozen=True)
class Landing:
    """How what a kind reads becomes the next version of the landed input.

    Attributes:
        mode: ``replace``: it is the whole version. ``append``: it is added. ``merge``: of each key, what comes later
            takes the place of what was there.
        key: With ``merge``, the columns that identify a row.
        order: With ``merge``, the column by which one of several rows of a key is later; of equal ones the last that
            was written is.
        deleted: With ``merge``, a column that says of a row that it is no more: true, or not null.
        on_schema_change: What happens where columns or types are no longer those of the last version. ``stop``: an
            error. ``evolve``: columns are added and types widened, and the contract judges the outcome.
            ``quarantine``: columns and types stay, rows that do not fit are set aside. ``None``: nobody asks.
    """

    mode: LandingMode = "replace"
    key: tuple[str, ...] = ()
    order: str | None = None
    deleted: str | None = None
    on_schema_change: OnSchemaChange | None = None


@dataclass(frozen=True)
class Rejected:
    """Something that cannot become a row, for the quarantine: a name for what is wrong, the reason, and it, as JSON."""

    rule: str
    reason: str
    row: str


@dataclass(frozen=True)
class Written:
    """What a kind says of what it has written.

    Attributes:
        state: JSON; committed together with the rows, and handed back when the next rows are read.
        fingerprint: What :meth:`InputPort.fingerprint` would have said of the source as it was read; whoever gives it
            has read one state of the source, though it goes on changing.
        again: A column and a value: the rows from there on may have been landed before. With ``append`` those that
            were are left out.
        known_by: The columns by which a row that was landed before is known; by default all.
        rejected: What was read and cannot become a row; it is set aside.
    """

    state: Mapping[str, Any] = field(default_factory=dict)
    fingerprint: str = ""
    again: tuple[str, Any] | None = None
    known_by: tuple[str, ...] = ()
    rejected: tuple[Rejected, ...] = ()


def _say_nothing(_message: str) -> None:
    """Nobody listens."""


@dataclass(frozen=True)
class InputContext:
    """Where an input port is being read.

    Attributes:
        product_id: The product.
        product_root: Its folder.
        port_name: The input port.
        run_id: The run, or ``watch``.
        settings: Of the platform.
        contract: Of the input port, if it has one.
        state: What :class:`Written` said of the last version, where what is read goes on from there; ``None`` where
            everything is to be read.
        columns: Those of the last version.
        say: Tells whoever watches the run how far it has come.
    """

    product_id: str
    product_root: Path
    port_name: str
    run_id: str
    settings: Settings
    contract: Contract | None = None
    state: Mapping[str, Any] | None = None
    columns: tuple[Column, ...] = ()
    say: Callable[[str], None] = _say_nothing

    @property
    def what(self) -> str:
        """The port, for messages."""
        return f"{self.product_id}/input/{self.port_name}"


class InputPort(ABC, Generic[ConfigT]):
    """A kind of input port.

    A kind either *lands* data (:meth:`write` puts what is there now into one Parquet file, which is audited
    and committed like any dataset) or reads it *in place* (:meth:`pin` names files that are already good to
    read). ``lands`` decides, and may depend on the configuration.
    """

    kind: ClassVar[str]
    summary: ClassVar[str]
    extra: ClassVar[str | None] = None
    Config: ClassVar[type[KindConfig]]

    def check(self, config: ConfigT, product_root: Path) -> Iterable[Fault]:
        """Faults that can be known without reading any data. Default: none."""
        return ()

    def upstream(self, config: ConfigT) -> UpstreamPort | None:
        """The output port of another product that this input reads, if it reads one."""
        return None

    def location(self, config: ConfigT) -> str:
        """Where the data comes from, for people; never holds a secret."""
        return self.kind

    def badges(self, config: ConfigT) -> frozenset[str]:
        """Technologies to show as badges in the Dagster UI; at most two."""
        return frozenset({self.kind.lower()})

    def lands(self, config: ConfigT, *, audited: bool) -> bool:
        """Whether data is copied into the product's store before it is read.

        Args:
            config: The port's configuration.
            audited: Whether the port carries a contract that must hold before anybody reads.
        """
        return True

    def landing(self, config: ConfigT) -> Landing:
        """How what is read becomes the next version. Default: it is the whole version."""
        return Landing()

    def identity(self, config: ConfigT) -> str:
        """What decides which rows are read. When it changes, an incremental input starts from the beginning.

        Default: all of the configuration; a kind leaves out what only says how rows are fetched (a timeout).
        """
        return config.model_dump_json()

    def names_partition(self, config: ConfigT) -> bool:
        """Whether the configuration itself says which partition is read: ``orders/{partition}.csv``."""
        return False

    def of_partition(self, config: ConfigT, key: str, begin: datetime) -> ConfigT:
        """The configuration that reads one partition, where :meth:`names_partition`.

        Args:
            config: The port's configuration.
            key: Of the partition: ``2013-05``.
            begin: Its start, on the clocks of the product's partitions, without zone.
        """
        raise NotImplementedError(f"input port kind {self.kind} does not read by partition")

    @abstractmethod
    def fingerprint(self, config: ConfigT, context: InputContext) -> str:
        """A short text that changes whenever there is something new to read. Must be cheap.

        Raises:
            InputError: there is nothing to read, with the place looked at.
        """

    def available_since(self, config: ConfigT, context: InputContext, shown: str | None) -> datetime | None:
        """When something newer than the fingerprint ``shown`` became available, where the kind can tell.

        ``None`` where nothing newer is there, or where it cannot be told.
        """
        return None

    def write(
        self, config: ConfigT, context: InputContext, connection: duckdb.DuckDBPyConnection, destination: Path
    ) -> Written | None:
        """Write what is there now, or what is new since ``context.state``, into one Parquet file at ``destination``.

        Returns:
            What is to be known of it when the next rows are read; ``None`` for a kind that always reads everything.

        Raises:
            InputError: the source is missing or malformed; names place and, where known, line and value.
        """
        raise NotImplementedError(f"input port kind {self.kind} reads in place")

    def pin(self, config: ConfigT, context: InputContext) -> Pinned:
        """Name the files of the version that is there now, for kinds that read in place.

        Raises:
            InputError: there is no version to read.
        """
        raise NotImplementedError(f"input port kind {self.kind} lands its data")


@dataclass(frozen=True)
class Example:
    """A line that a consumer can copy."""

    language: str
    text: str


@dataclass(frozen=True)
class Relationship:
    """Rows of one dataset name rows of another, as a contract says.

    Attributes:
        dataset: Whose rows refer.
        columns: Its columns that do.
        target: The dataset that is referred to; may be the same.
        target_columns: The columns there that have the same values.
        to_one: Whether the target's columns identify a row of it.
        from_one: Whether no two rows of ``dataset`` have the same values.
    """

    dataset: str
    columns: tuple[str, ...]
    target: str
    target_columns: tuple[str, ...]
    to_one: bool
    from_one: bool


@dataclass(frozen=True)
class OutputContext:
    """The port that is being projected or described, and the version that it is to show.

    ``key`` names the columns that identify a row. ``is_current`` is false for the ports of an older major version
    that stays live beside the product's own. ``relationships`` are those between all datasets of the port's major
    version; ``deprecation`` says until when that version is kept up, and is empty while it is not deprecated.
    """

    product_id: str
    product_root: Path
    major: int
    port_name: str
    dataset: str
    contract: Contract
    description: str
    settings: Settings
    key: tuple[str, ...] = ()
    is_current: bool = True
    relationships: tuple[Relationship, ...] = ()
    deprecation: str = ""
    guarded: GuardedDataset | None = None


@dataclass(frozen=True)
class Projected:
    """What a projection produced: the address that consumers use, and facts worth showing.

    ``differs`` says in one line each where the place of the port cannot be, or was found not to be, as the descriptor
    says.
    """

    address: str
    metadata: Mapping[str, Any] = field(default_factory=dict)
    differs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Delivery:
    """How far a port that hands out what it has to tell, instead of being asked, has come.

    Attributes:
        target: Where to, without any secret: ``kafka:shop.people.v1``.
        version: The last version that was handed out whole; ``None`` before the first.
        wanted: The version that the port shows.
        sent: Events that were sent now.
        fault: Why there is less than there should be; empty where nothing is wrong.
        since: Since when it is behind, UTC, ISO 8601; empty where it is not.
    """

    target: str
    version: int | None
    wanted: int | None
    sent: int = 0
    fault: str = ""
    since: str = ""

    @property
    def is_behind(self) -> bool:
        """Whether consumers have not been told of the version on show."""
        return self.wanted is not None and self.version != self.wanted

    def __str__(self) -> str:
        has = "nothing yet" if self.version is None else f"version {self.version}"
        if not self.is_behind:
            return f"{self.target} has {has}"
        reason = f": {self.fault}" if self.fault else ""
        since = f" since {self.since[:16].replace('T', ' ')} UTC" if self.since else ""
        return f"{self.target} has {has}, version {self.wanted} is due{since}{reason}"


@dataclass(frozen=True)
class OutputCapabilities:
    """What a kind of output port can and cannot do; asked for instead of comparing names.

    Attributes:
        hands_out_files: Consumers read the files themselves, so masks and row filters cannot be applied.
        served: Needs ``dp serve`` to answer.
        probed: :meth:`OutputPort.probe` tells whether consumers can open it.
    """

    hands_out_files: bool = False
    served: bool = False
    probed: bool = False


@dataclass(frozen=True)
class Missing:
    """What must be installed before a configuration can work."""

    what: str
    extra: str

    def __str__(self) -> str:
        return f"{self.what} needs the extra {self.extra}: pip install 'dp_dagster[{self.extra}]'"


class OutputPort(ABC, Generic[ConfigT]):
    """A kind of output port: projects the newest committed version of a dataset to its consumers."""

    kind: ClassVar[str]
    summary: ClassVar[str]
    extra: ClassVar[str | None] = None
    Config: ClassVar[type[KindConfig]]
    capabilities: ClassVar[OutputCapabilities] = OutputCapabilities()

    def capabilities_of(self, config: ConfigT) -> OutputCapabilities:
        """What a port with this configuration can do, where that differs from the kind's."""
        return self.capabilities

    def check(self, config: ConfigT, product_root: Path) -> Iterable[Fault]:
        """Faults that can be known without projecting. Default: none."""
        return ()

    def check_dataset(self, config: ConfigT, contract: Contract, key: tuple[str, ...]) -> Iterable[Fault]:
        """What of the dataset the kind cannot show, or not with this configuration. Default: nothing.

        Args:
            config: The port's configuration.
            contract: The dataset's.
            key: The columns that tell its rows apart; may be empty.
        """
        return ()

    def badges(self, config: ConfigT) -> frozenset[str]:
        """Technologies to show as badges in the Dagster UI; at most two."""
        return frozenset({self.kind.lower()})

    def missing(self, config: ConfigT) -> Missing | None:
        """What this configuration needs that is not there; ``None`` when it can work."""
        return None

    def copies(self, config: ConfigT) -> Fault | None:
        """Why the port cannot show a copy in which values are masked or rows left out; ``None`` where it can.

        Asked of kinds that hand out files: :meth:`project` is then given a snapshot whose files are the copy's.
        """
        return None

    @abstractmethod
    def address(self, config: ConfigT, context: OutputContext) -> str:
        """Where consumers find the port."""

    def access(self, config: ConfigT, context: OutputContext) -> str:
        """How a consumer gets access, in a sentence or two of Markdown."""
        return "No sign-in: whoever may read the storage may read this port."

    @abstractmethod
    def examples(self, config: ConfigT, context: OutputContext) -> tuple[Example, ...]:
        """Lines to copy that read the port, the shortest first."""

    def pushes(self, config: ConfigT) -> bool:
        """Whether the port hands out what it has to tell, so that whoever reads it there is asked nothing.

        Such a port must say whom its readers are taken for (``readers``).
        """
        return False

    def deliver(
        self, config: ConfigT, context: OutputContext, readers: DatasetView, version: int
    ) -> Delivery:
        """Hand out what is new, up to a version that the port shows. Called only where it :meth:`pushes`.

        Called after the manifest was written, so nothing is told that could still be taken back. What it cannot do now
        it says in the answer, and goes on with it when it is called again.

        Args:
            config: The port's configuration.
            context: The port.
            readers: What its readers may see.
            version: The version on show.
        """
        raise NotImplementedError(f"output port kind {self.kind} hands out nothing")

    def delivery(self, config: ConfigT, context: OutputContext, version: int | None) -> Delivery:
        """How far :meth:`deliver` has come, without handing out anything. Called only where it :meth:`pushes`."""
        raise NotImplementedError(f"output port kind {self.kind} hands out nothing")

    def probe(self, config: ConfigT, context: OutputContext) -> None:
        """Open the port as a consumer does, and read next to nothing. Called only where ``probed`` is declared.

        Raises:
            StoreError: a consumer would have met an error; says which.
        """
        raise NotImplementedError(f"output port kind {self.kind} is not probed")

    @abstractmethod
    def project(
        self, config: ConfigT, context: OutputContext, snapshot: Snapshot, manifest: Manifest
    ) -> Projected:
        """Make ``snapshot`` what consumers of the port see, atomically.

        Called under the product's lock; ``manifest`` is the manifest as it will be afterwards (this port
        included), and is written when this method has returned. Doing it twice is harmless.
        """
