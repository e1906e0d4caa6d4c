"""One product: its descriptor's parts joined with kinds, contracts and each other."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from dp_dagster.descriptor.loading import inline_draft, read_draft
from dp_dagster.descriptor.names import id_fault
from dp_dagster.descriptor.objectives import Freshness
from dp_dagster.descriptor.problems import suggestion
from dp_dagster.registry import Registry
from dp_dagster.resolve.access import check_served, policy_of, with_views
from dp_dagster.resolve.alerting import resolve_alerts
from dp_dagster.resolve.columns import key_of, known_columns
from dp_dagster.resolve.kinds import Configured, ask, configure, note_faults
from dp_dagster.resolve.lines import States
from dp_dagster.resolve.model import (
    ResolvedDataset,
    ResolvedInput,
    ResolvedOutput,
    ResolvedProduct,
    ResolvedTransform,
)
from dp_dagster.resolve.order import ordered
from dp_dagster.resolve.partitions import check_datasets, partitioned_relations, refuse_dbt, with_partitions
from dp_dagster.resolve.references import refuse_references, with_references
from dp_dagster.resolve.versions import older_datasets, older_ports, with_promises

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from dp_dagster.contracts.model import Contract
    from dp_dagster.descriptor.loading import Draft
    from dp_dagster.descriptor.model import DatasetVersion, InputPort, OutputPort, Transform
    from dp_dagster.descriptor.paths import Keys
    from dp_dagster.resolve.model import LineState
    from dp_dagster.settings import Settings

_NO_INFRASTRUCTURE = "infrastructure is not planned or applied yet"
_NO_DATASET = "declared only: the product has no datasets"


def resolve(path: Path, settings: Settings, registry: Registry | None = None) -> ResolvedProduct:
    """Resolve the product in a folder (or of a descriptor's file).

    Args:
        path: The folder, or the descriptor.
        settings: Of the platform.
        registry: The kinds that there are; by default those of the installed packages.

    Raises:
        DescriptorError: with every problem found.
    """
    return _Resolver(read_draft(path), settings, registry or Registry.load()).resolved()


def resolve_inline(
    data: Mapping[str, Any], root: Path, settings: Settings, *, label: str, registry: Registry | None = None
) -> ResolvedProduct:
    """Resolve a descriptor that stands in another document.

    Args:
        data: Its values.
        root: The product's folder.
        settings: Of the platform.
        label: Name of the document around it, for messages.
        registry: The kinds that there are; by default those of the installed packages.

    Raises:
        DescriptorError: with every problem found.
    """
    return _Resolver(inline_draft(data, root, label), settings, registry or Registry.load()).resolved()


class _Resolver:
    def __init__(self, draft: Draft, settings: Settings, registry: Registry) -> None:
        self.draft = draft
        self.settings = settings
        self.registry = registry
        self.states = States()
        self.not_installed: dict[str, str] = {}
        """Inputs and transforms that nothing may read, and why."""

    def resolved(self) -> ResolvedProduct:
        """Go through the parts, each after what it needs.

        Raises:
            DescriptorError: with every problem found.
        """
        self._documents()
        inputs = self._inputs()
        transforms = self._transforms([one.name for one in inputs])
        relations = {one.name for one in inputs} | {name for one in transforms for name in one.provides}
        datasets = self._datasets(relations)
        outputs = self._outputs({dataset.name: dataset for dataset in datasets})
        older = older_datasets(self.draft, relations, self._older)
        outputs += older_ports(outputs, older)
        datasets += older
        partitioned = partitioned_relations(inputs, transforms, datasets)
        knowable = not self._has_faulty("transforms") and not self._has_faulty("input_ports")
        check_datasets(self.draft, datasets, partitioned, knowable=knowable)
        refuse_dbt(self.draft, transforms, partitioned)
        self._mark_product_sla(outputs)
        access = policy_of(self.draft, datasets, self.settings)
        check_served(self.draft, outputs, access, self.settings)
        outputs = with_views(self.draft, outputs, access)
        self._mark_product(active=bool(inputs) or any(port.state == "active" for port in outputs))
        alerts = resolve_alerts(self.draft, self.settings, self.states)
        loaded = self.draft.finish()
        return ResolvedProduct(
            descriptor=loaded.descriptor,
            root=self.draft.root,
            path=self.draft.path,
            settings=self.settings,
            inputs=tuple(inputs),
            transforms=tuple(transforms),
            datasets=tuple(datasets),
            ports=tuple(outputs),
            lines=self.states.lines(loaded.document),
            access=access,
            alerts=alerts,
            partitioned=partitioned,
        )

    def _documents(self) -> None:
        from dp_dagster.folder import missing_file

        kept = self.draft.head.documents if self.draft.head else None
        if kept is None:
            return
        named: list[tuple[Keys, str]] = [(("documents", "odps"), kept.odps)] if kept.odps else []
        named += [(("documents", "odcs", number), file) for number, file in enumerate(kept.odcs)]
        for keys, file in named:
            for fault in missing_file("", file, self.draft.root):
                self.draft.add(keys, fault.message, fault.fix)

    # -- inputs -----------------------------------------------------------------------------------------

    def _inputs(self) -> list[ResolvedInput]:
        found = []
        for number, part in self.draft.inputs.items():
            keys: Keys = ("input_ports", number)
            configured = configure(self.draft, self.registry, keys, part)
            contract = self._contract(part.contract, keys) if part.contract else None
            if configured is None:
                continue
            if configured.plugin is None:
                self._mark_not_installed(keys, part, configured)
                continue
            plugin, config = configured.plugin, configured.config
            note_faults(self.draft, keys, partial(plugin.check, config, self.draft.root))
            if part.quarantine is not None and contract is None:
                self.draft.add(
                    (*keys, "quarantine"),
                    "is for rows that break a contract, and there is none",
                    "add contract",
                )
            elif part.quarantine is not None and not plugin.lands(config, audited=True):
                self.draft.add(
                    (*keys, "quarantine"), f"{plugin.kind} is read where it lies, all or nothing", "remove it"
                )
            refresh = part.refresh_rate or (self.draft.head.refresh_rate if self.draft.head else None)
            found.append(ResolvedInput(part.name, plugin, config, contract, part, refresh))
        refuse_references(self.draft, found)
        return with_partitions(self.draft, found)

    # -- transforms -------------------------------------------------------------------------------------

    def _transforms(self, inputs: list[str]) -> list[ResolvedTransform]:
        from dp_dagster.transforms.base import TransformPlace

        sound: list[tuple[Keys, Transform, Configured, TransformPlace, tuple[str, ...]]] = []
        for number, part in self.draft.transforms.items():
            keys: Keys = ("transforms", number)
            configured = configure(self.draft, self.registry, keys, part)
            if configured is None:
                continue
            if configured.plugin is None:
                self._mark_not_installed(keys, part, configured)
                continue
            place = TransformPlace(part.name, self.draft.product_id, self.draft.root, self.settings)
            plugin, config = configured.plugin, configured.config
            if note_faults(self.draft, keys, partial(plugin.check, config, place)):
                provides = ask(self.draft, keys, partial(_distinct, plugin.provides, config, place), ())
                sound.append((keys, part, configured, place, provides))
        self._unique_relations(inputs, sound)
        # Names of faulty parts count as known: their own fault is told already.
        declared = {*inputs, *self.draft.names("input_ports")}
        known = declared | {*self.draft.names("transforms")} | {name for one in sound for name in one[4]}
        resolved: dict[str, ResolvedTransform] = {}
        for keys, part, configured, place, provides in sound:
            plugin, config = configured.plugin, configured.config
            # dbt finds the order of its models by itself; from outside it reads input ports alone.
            readable = frozenset(declared if plugin.runs_in == "dbt" else known)
            needs = ask(
                self.draft,
                keys,
                partial(_distinct, plugin.depends_on, config, place, readable),
            )
            if needs is None:
                continue
            if plugin.runs_in == "dbt" and any(need in self.not_installed for need in needs):
                needs = tuple(need for need in needs if need not in self.not_installed)
            self._refuse_not_installed(keys, needs)
            resolved[part.name] = ResolvedTransform(part.name, plugin, config, needs, part, provides)
        return self._in_order(resolved)

    def _unique_relations(self, inputs: list[str], sound: list[Any]) -> None:
        owners: dict[str, str] = {name: f"input port {name}" for name in inputs}
        for keys, part, _, _, provides in sound:
            for relation in provides:
                if relation != part.name:
                    fault = id_fault(relation)
                    if fault is not None:
                        self.draft.add(keys, f"makes {relation!r}, which {fault[0]}", fault[1])
                if relation in owners and (relation != part.name or "input port" not in owners[relation]):
                    self.draft.add(
                        keys, f"makes {relation}, as {owners[relation]} does", "give each a name of its own"
                    )
                owners.setdefault(relation, f"transform {part.name}")

    def _in_order(self, resolved: dict[str, ResolvedTransform]) -> list[ResolvedTransform]:
        owner = {relation: one.name for one in resolved.values() for relation in one.provides}
        needs = {
            one.name: [owner[need] for need in one.depends_on if need in owner] for one in resolved.values()
        }
        order, circles = ordered(needs)
        for circle in circles:
            number = next(n for n, part in self.draft.transforms.items() if part.name == circle[0])
            self.draft.add(
                ("transforms", number),
                f"needs itself: {' -> '.join(circle)}",
                "take one of them out of the circle",
            )
        return [resolved[name] for name in order]

    # -- datasets ---------------------------------------------------------------------------------------

    def _datasets(self, relations: set[str]) -> list[ResolvedDataset]:
        found = []
        # A faulty transform may make relations that nobody can know yet.
        knowable = not self._has_faulty("transforms")
        faulty_inputs = {*self.draft.names("input_ports")} - relations
        for number, part in self.draft.datasets.items():
            keys: Keys = ("datasets", number)
            if part.source in self.not_installed:
                self._refuse_not_installed((*keys, "from"), (part.source,))
            elif part.source not in relations and knowable and part.source not in faulty_inputs:
                self.draft.add(
                    (*keys, "from"),
                    f"{part.source} is no transform and no input port of the product",
                    suggestion(part.source, relations),
                )
            contract = self._contract(part.contract, keys)
            if contract is None:
                continue
            key = key_of(self.draft, part, keys, contract)
            known_columns(self.draft, part.sort_by, (*keys, "sort_by"), contract)
            share = part.quarantine.max_invalid if part.quarantine else None
            found.append(
                ResolvedDataset(
                    part.name,
                    part.source,
                    contract,
                    key,
                    part.sort_by,
                    share,
                    part,
                    major=self._major,
                    deprecated=part.deprecated,
                    partitioned_by=part.partitioned_by,
                )
            )
        return with_references(self.draft, found)

    @property
    def _major(self) -> int:
        return self.draft.head.major if self.draft.head else 0

    def _older(self, part: DatasetVersion, keys: Keys) -> tuple[Contract, tuple[str, ...]] | None:
        """Contract and key of an older version."""
        contract = self._contract(part.contract, keys)
        if contract is None:
            return None
        known_columns(self.draft, part.sort_by, (*keys, "sort_by"), contract)
        return contract, key_of(self.draft, part, keys, contract)

    def _has_faulty(self, part: str) -> bool:
        return any(problem.field.startswith(f"{part}[") for problem in self.draft.problems)

    def _contract(self, reference: str, keys: Keys) -> Contract | None:
        from dp_dagster.contracts.load import load_contract
        from dp_dagster.folder import missing_file

        root = self.draft.root
        file = reference.partition(":")[0]
        if not note_faults(self.draft, keys, lambda: missing_file("contract", file, root)):
            return None
        contract: Contract | None = ask(
            self.draft,
            (*keys, "contract"),
            lambda: load_contract(
                reference,
                product_root=root,
                cache_directory=self.settings.contract_cache,
                module_prefix=self.draft.head.product_id if self.draft.head else "product",
            ),
        )
        return contract

    # -- outputs ----------------------------------------------------------------------------------------

    def _outputs(self, datasets: dict[str, ResolvedDataset]) -> list[ResolvedOutput]:
        found = []
        head = self.draft.head
        for number, part in self.draft.outputs.items():
            keys: Keys = ("output_ports", number)
            configured = configure(self.draft, self.registry, keys, part, further={"endpoint": part.endpoint})
            if configured is None:
                continue
            state, reason = self._output_state(keys, part, configured)
            if state == "not installed" or configured.plugin is None:
                self._mark_not_installed(keys, part, configured, reason)
            elif state != "active":
                self.states.mark(keys, state, reason)
            if part.refresh_rate is not None and state != "active":
                self.states.mark(
                    (*keys, "refresh_rate"), "not evaluated", f"nothing is published here: {reason}"
                )
            dataset = datasets.get(part.dataset or "")
            if configured.plugin is not None and dataset is not None:
                fits = configured.plugin.check_dataset
                note_faults(self.draft, keys, partial(fits, configured.config, dataset.contract, dataset.key))
            refresh = part.refresh_rate or (head.refresh_rate if head else None)
            port = ResolvedOutput(
                name=part.name or "",
                port=configured.plugin,
                config=configured.config,
                dataset=dataset,
                refresh=refresh if state == "active" else None,
                sla={**((head.sla if head else None) or {}), **(part.sla or {})},
                declaration=part,
                state=state,
                reason=reason,
                major=self._major,
            )
            found.append(with_promises(port))
            self._mark_sla(keys, part, found[-1])
        return found

    def _mark_sla(self, keys: Keys, part: OutputPort, port: ResolvedOutput) -> None:
        """What of a port's own ``sla`` cannot be measured; a column that there is not is the author's fault."""
        reasons = {
            one.name: (one, port.promises.unmeasured[one.id])
            for one in port.objectives
            if one.origin == "sla" and one.id in port.promises.unmeasured
        }
        for name in part.sla or ():
            if name not in reasons:
                continue
            objective, reason = reasons[name]
            place: Keys = (*keys, "sla", name) if self._is_mapping((*keys, "sla")) else (*keys, "sla")
            if port.state == "active" and isinstance(objective, Freshness) and objective.column is not None:
                self.draft.add((*place, "column"), reason, "name a timestamp or date column of the dataset")
            self.states.mark(place, "not evaluated", reason)

    def _mark_product_sla(self, ports: list[ResolvedOutput]) -> None:
        """Of the product's default objectives, those that no port measures."""
        head = self.draft.head
        for name in (head.sla if head else None) or ():
            place: Keys = ("sla", name) if self._is_mapping(("sla",)) else ("sla",)
            found = [
                port.promises.unmeasured.get(one.id, "")
                for port in ports
                for one in port.objectives
                if one.name == name and one.origin == "sla" and name not in (port.declaration.sla or {})
            ]
            if not found:
                self.states.mark(place, "not evaluated", "no output port takes it over")
            elif all(found):
                self.states.mark(place, "not evaluated", found[0])

    def _is_mapping(self, keys: Keys) -> bool:
        """Whether a value is written in its long form, with keys of its own."""
        value: Any = self.draft.document.data
        for key in keys:
            value = value[key]
        return isinstance(value, Mapping)

    def _output_state(self, keys: Keys, part: OutputPort, configured: Configured) -> tuple[LineState, str]:
        plugin, config = configured.plugin, configured.config
        if plugin is None:
            return _state_without(configured), configured.kind.reason
        note_faults(self.draft, keys, lambda: plugin.check(config, self.draft.root))
        missing = ask(self.draft, keys, lambda: plugin.missing(config))
        if missing is not None:
            return "not installed", str(missing)
        return ("active", "") if part.dataset else ("not evaluated", _NO_DATASET)

    # -- states -----------------------------------------------------------------------------------------

    def _mark_not_installed(
        self,
        keys: Keys,
        part: InputPort | OutputPort | Transform,
        configured: Configured,
        reason: str | None = None,
    ) -> None:
        reason = reason or configured.kind.reason
        self.states.mark(keys, _state_without(configured), reason)
        if "auth" in part.options:
            self.states.mark(
                (*keys, "auth"), "not evaluated", "nothing is served until the kind is installed"
            )
        if keys[0] != "output_ports":
            self.not_installed[part.name or ""] = f"kind {configured.kind.name} {reason}"

    def _refuse_not_installed(self, keys: Keys, needs: tuple[str, ...]) -> None:
        for need in needs:
            if need in self.not_installed:
                self.draft.add(keys, f"reads {need}, which is not installed", self.not_installed[need])

    def _mark_product(self, *, active: bool) -> None:
        self.states.mark(("infrastructure",), "not evaluated", _NO_INFRASTRUCTURE)
        if not active:
            self.states.mark(("refresh_rate",), "not evaluated", "no port of the product is active")


def _state_without(configured: Configured) -> LineState:
    """The state of a part that has no kind to work with."""
    return "not evaluated" if configured.kind.state == "declared only" else "not installed"


def _distinct(question: Callable[..., Iterable[str]], *arguments: Any) -> tuple[str, ...]:
    return tuple(dict.fromkeys(question(*arguments)))
