"""Grants joined with the contracts that they speak of; what nobody could see or enforce is refused here."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from dp_dagster.access.authentication.config import is_safe_url
from dp_dagster.access.masks import carried
from dp_dagster.access.policy import AccessPolicy, DatasetGrant, GuardedDataset, Who
from dp_dagster.access.view import Identity
from dp_dagster.descriptor.problems import suggestion
from dp_dagster.ports.served import ServedConfig
from dp_dagster.predicates.model import EVERYTHING
from dp_dagster.predicates.text import BadFilterError, parse_filter

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from dp_dagster.access.view import DatasetView
    from dp_dagster.contracts.model import Column
    from dp_dagster.descriptor import model as declared
    from dp_dagster.descriptor.access import Grant
    from dp_dagster.descriptor.access import Who as DeclaredWho
    from dp_dagster.descriptor.loading import Draft
    from dp_dagster.descriptor.paths import Keys
    from dp_dagster.predicates.model import Predicate
    from dp_dagster.resolve.model import ResolvedDataset, ResolvedOutput
    from dp_dagster.settings import MaskMethod, Settings

_DEFAULT_METHOD: MaskMethod = "redact"
_OTHERS = "default"


def policy_of(draft: Draft, datasets: Sequence[ResolvedDataset], settings: Settings) -> AccessPolicy:
    """The product's grants, for each dataset; notes what is wrong with them."""
    _check_classifications(draft, datasets)
    found: dict[str, list[DatasetGrant]] = {dataset.label: [] for dataset in datasets}
    for number, grant in draft.grants.items():
        keys: Keys = ("access", number)
        for dataset in _datasets_of(draft, grant, keys, datasets):
            made = _GrantReader(draft, grant, keys, dataset, settings).read()
            if made is not None:
                found[dataset.label].append(made)
    return AccessPolicy(
        {
            dataset.label: GuardedDataset(
                dataset.label,
                {column.name: column.type for column in dataset.contract.columns},
                tuple(found[dataset.label]),
            )
            for dataset in datasets
        }
    )


def check_served(
    draft: Draft, outputs: Iterable[ResolvedOutput], policy: AccessPolicy, settings: Settings
) -> None:
    """Note served ports that can ask nobody, and those that nobody may ask."""
    for number, port in _active(draft, outputs):
        if not isinstance(port.config, ServedConfig) or port.dataset is None or not port.is_current:
            continue
        keys: Keys = ("output_ports", number)
        auth = port.config.auth
        if auth.type == "OAuth2":
            for name, said in (("issuer", auth.issuer), ("audience", auth.audience)):
                platform = getattr(settings, f"oauth2_{name}")
                if said is None and platform is None:
                    draft.add(
                        (*keys, "auth"),
                        f"names no {name}, and neither do the platform's settings",
                        f"add `{name}: …` here, or set oauth2_{name}",
                    )
                elif said is None and name == "issuer" and not is_safe_url(platform):
                    draft.add(
                        (*keys, "auth"),
                        "the platform's oauth2_issuer is no address that can be trusted",
                        "write https://… there; http:// is for loopback",
                    )
        grants = policy.datasets[port.dataset.label].grants
        if not grants and not _has_faulty_grants(draft):
            draft.add(
                keys,
                f"nobody may see anything of {port.dataset.name}: no grant gives it",
                "add one under access, such as `- {role: analyst}` or `- {anyone: true}`",
            )
        elif auth.type == "none" and grants and not any(grant.who.anyone for grant in grants):
            draft.add(
                (*keys, "auth"),
                f"asks nobody who they are, and no grant gives {port.dataset.name} to anyone",
                "ask with api_key or OAuth2, or grant it to `anyone: true`",
            )


def with_views(draft: Draft, outputs: Sequence[ResolvedOutput], policy: AccessPolicy) -> list[ResolvedOutput]:
    """The ports that hand out files, each with what its readers may see; notes where nobody decided that.

    A product that has neither grants nor served ports leaves access to the permissions of the storage, as before.
    """
    active = {id(port): number for number, port in _active(draft, outputs)}
    decides = "access" in draft.document.data or any(
        isinstance(port.config, ServedConfig) for port in outputs if id(port) in active
    )
    found = []
    for port in outputs:
        number = active.get(id(port))
        if number is None or port.port is None or port.dataset is None:
            found.append(port)
            continue
        keys: Keys = ("output_ports", number)
        readers = port.declaration.readers
        if port.port.pushes(port.config):
            found.append(_pushing(draft, keys, port, policy))
        elif not port.port.capabilities_of(port.config).hands_out_files:
            if readers is not None and port.is_current:
                draft.add(
                    (*keys, "readers"),
                    f"is for ports that hand out files; {port.port.kind} ports ask who reads them",
                    "remove it: access decides",
                )
            found.append(port)
        elif readers is not None:
            found.append(_with_view(draft, keys, port, readers, policy))
        else:
            guarded = policy.datasets[port.dataset.label].is_guarded or bool(port.dataset.contract.classified)
            if decides and guarded and port.is_current and not _has_faulty_grants(draft):
                draft.add(
                    keys,
                    f"hands out the files of {port.dataset.name}, which not everybody may see whole",
                    "say whom its readers are taken for, `readers: {role: analyst}`: they get what access gives "
                    "these, in a copy; or remove the port",
                )
            found.append(port)
    return found


def _pushing(draft: Draft, keys: Keys, port: ResolvedOutput, policy: AccessPolicy) -> ResolvedOutput:
    """A port that hands out what it has to tell: whoever reads it there is asked nothing, so it must be said here."""
    readers = port.declaration.readers
    if readers is None:
        draft.add(
            keys,
            "sends what it has to tell to where nobody is asked who they are",
            "say whom its readers are taken for, `readers: {role: analyst}`: they get what access gives these",
        )
        return port
    view = _view_of(draft, keys, port, readers, policy)
    return port if view is None else replace(port, readers=view)


def _view_of(
    draft: Draft, keys: Keys, port: ResolvedOutput, readers: DeclaredWho, policy: AccessPolicy
) -> DatasetView | None:
    """What the readers of a port see; notes where that is nothing, or where nobody can be all of them."""
    assert port.dataset is not None
    for name in ("subject", "client"):
        if len(getattr(readers, name)) > 1:
            draft.add((*keys, "readers", name), "names several, and nobody is two", "name one, or a role")
            return None
    view = policy.view(port.dataset.label, identity_of(readers))
    if view is None:
        if not _has_faulty_grants(draft):
            draft.add(
                (*keys, "readers"),
                f"no grant gives them anything of {port.dataset.label}",
                "add one under access, or name others",
            )
        return None
    return view


def identity_of(readers: DeclaredWho) -> Identity:
    """Whom the readers of a port are taken for."""
    return Identity(
        readers.subject[0] if readers.subject else "storage",
        readers.client[0] if readers.client else None,
        frozenset(readers.role),
        frozenset(readers.scope),
        method="storage" if readers.subject else "none",
    )


def _with_view(
    draft: Draft, keys: Keys, port: ResolvedOutput, readers: DeclaredWho, policy: AccessPolicy
) -> ResolvedOutput:
    assert port.port is not None and port.dataset is not None  # noqa: PT018 - the caller saw to it
    view = _view_of(draft, keys, port, readers, policy)
    if view is None:
        return port
    if view.is_whole and set(view.columns) == {column.name for column in port.dataset.contract.columns}:
        return port
    fault = port.port.copies(port.config)
    if fault is not None:
        draft.add((*keys, fault.field) if fault.field else keys, fault.message, fault.fix)
    return replace(port, view=view)


@dataclass
class _GrantReader:
    """One grant on one dataset."""

    draft: Draft
    grant: Grant
    keys: Keys
    dataset: ResolvedDataset
    settings: Settings

    def read(self) -> DatasetGrant | None:
        """The grant; ``None`` with what is wrong noted."""
        before = len(self.draft.problems)
        known = {column.name: column for column in self.dataset.contract.columns}
        for field, names in (
            ("columns", self.grant.columns),
            ("unmask", self.grant.unmask),
            ("masks", tuple(self.grant.masks)),
        ):
            for place, name in enumerate(names):
                if name not in known:
                    self._add(
                        field,
                        name if field == "masks" else place,
                        f"{name} is no column of {self.dataset.label}",
                        suggestion(name, known),
                    )
        rows = self._rows()
        if len(self.draft.problems) > before:
            return None
        given = self.grant.columns or tuple(known)
        columns = {name: self._shown(known[name]) for name in known if name in given}
        self._check(known, given, columns)
        if len(self.draft.problems) > before:
            return None
        return DatasetGrant(_who(self.grant), columns, rows)

    def _shown(self, column: Column) -> MaskMethod | None:
        said = self.grant.masks.get(column.name)
        if said is not None:
            return said
        if column.classification is None or column.name in self.grant.unmask:
            return None
        return carried(
            default_method(column.classification, self.dataset.declaration, self.settings), column.type
        )

    def _check(
        self, known: Mapping[str, Column], given: Sequence[str], columns: Mapping[str, MaskMethod | None]
    ) -> None:
        for name, method in self.grant.masks.items():
            kind = known[name].type
            if carried(method, kind) != method:
                self._add("masks", name, f"{method} is for texts, and {name} has type {kind}", "write null")
            if name in self.grant.unmask:
                self._add("masks", name, f"{name} stands in unmask, too", "take it out of one of them")
            if name not in given:
                self._add(
                    "masks", name, f"{name} is not among the columns", "add it there, or remove it here"
                )
        for place, name in enumerate(self.grant.unmask):
            if known[name].classification is None:
                fix = f"it is seen in clear; remove it, or classify it in {self.dataset.contract.source}"
                self._add("unmask", place, f"{name} is not classified", fix)
            elif name not in given:
                self._add(
                    "unmask", place, f"{name} is not among the columns", "add it there, or remove it here"
                )
        for name in self.dataset.key:
            why = f"{name} is a key of {self.dataset.label}, by which rows are found and paged"
            if name not in columns:
                self._add("columns", None, f"leaves {name} out: {why}", f"add {name}")
            elif name in self.grant.masks:
                self._add(
                    "masks", name, f"a key is not masked: {why}", "remove it, or give the dataset another key"
                )
            elif columns[name] is not None:
                self.draft.add(
                    self.keys,
                    f"{why}, and it is classified as {known[name].classification}",
                    f"add `unmask: {name}`, or give the dataset another key",
                )

    def _rows(self) -> Predicate:
        if self.grant.rows is None:
            return EVERYTHING
        try:
            return parse_filter(self.grant.rows, self.dataset.contract.columns)
        except BadFilterError as error:
            self.draft.add((*self.keys, "rows"), f"{self.dataset.label}: {error}", error.fix)
            return EVERYTHING

    def _add(self, field: str, place: str | int | None, message: str, fix: str) -> None:
        keys: Keys = (*self.keys, field) if place is None else (*self.keys, field, place)
        self.draft.add(keys, message, fix)


def default_method(classification: str, dataset: declared.Dataset, settings: Settings) -> MaskMethod:
    """How a column of that classification is masked where no grant says otherwise."""
    for masks in (dataset.masks, settings.masks):
        for name in (classification, _OTHERS):
            if name in masks:
                return masks[name]
    return _DEFAULT_METHOD


def _datasets_of(
    draft: Draft, grant: Grant, keys: Keys, datasets: Sequence[ResolvedDataset]
) -> list[ResolvedDataset]:
    if not grant.datasets:
        return list(datasets)
    found: dict[str, ResolvedDataset] = {}
    for place, name in enumerate(grant.datasets):
        meant = [one for one in datasets if name in {one.name, f"{one.name}@{one.major}"}]
        if not meant and name.partition("@")[0] not in draft.names("datasets"):
            draft.add(
                (*keys, "datasets", place),
                f"{name} is no dataset of the product",
                suggestion(name, draft.names("datasets")),
            )
        elif not meant and "@" in name:
            majors = [f"{one.name}@{one.major}" for one in datasets if one.name == name.partition("@")[0]]
            if majors:  # else the dataset is at fault itself, and that is told
                draft.add(
                    (*keys, "datasets", place),
                    f"{name} is no version that is live",
                    f"choices: {', '.join(majors)}",
                )
        found |= {one.label: one for one in meant}
    return list(found.values())


def _check_classifications(draft: Draft, datasets: Sequence[ResolvedDataset]) -> None:
    for number, part in draft.datasets.items():
        versions = [one for one in datasets if one.name == part.name]
        known = {column.classification for one in versions for column in one.contract.columns}
        for name in part.masks if versions else ():
            if name != _OTHERS and name not in known:
                draft.add(
                    ("datasets", number, "masks", name),
                    f"no column of {part.name} is classified as {name}",
                    suggestion(name, [*(one for one in known if one), _OTHERS]),
                )


def _who(grant: DeclaredWho) -> Who:
    return Who(
        grant.anyone,
        frozenset(grant.subject),
        frozenset(grant.client),
        frozenset(grant.role),
        frozenset(grant.scope),
    )


def _has_faulty_grants(draft: Draft) -> bool:
    """Whether a grant is at fault already, so that what follows from its absence need not be told."""
    return any(problem.field.startswith("access") for problem in draft.problems)


def _active(draft: Draft, outputs: Iterable[ResolvedOutput]) -> list[tuple[int, ResolvedOutput]]:
    numbers = {id(part): number for number, part in draft.outputs.items()}
    return [(numbers[id(port.declaration)], port) for port in outputs if port.state == "active"]
