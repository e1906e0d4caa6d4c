"""The gate: a contract that breaks its consumers is not published under the same major version.

What was promised is the contract that the newest published version was proven against. Comparing costs two small
documents, so the gate stands in ``dp validate``, when a code location loads, and again where it counts: before a
dataset is published.
"""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING

from dp_dagster.contracts.evolution import compare, relied_upon
from dp_dagster.errors import AuthorError
from dp_dagster.storage.contracts import kept_contract
from dp_dagster.storage.manifest import Registration, consumers, read_manifest

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from dp_dagster.contracts.evolution import Change, Comparison
    from dp_dagster.contracts.model import Contract
    from dp_dagster.resolve import ResolvedDataset, ResolvedProduct


@dataclass(frozen=True)
class Evolution:
    """How a dataset's contract differs from what was published.

    Attributes:
        product: Id of the product.
        dataset: Name of the dataset.
        major: Major version that both are published under.
        published: The contract that consumers rely on.
        comparison: All changes.
        consumers: Who reads the dataset, as registered.
    """

    product: str
    dataset: str
    major: int
    published: Contract
    comparison: Comparison
    consumers: tuple[Registration, ...]

    def broken_consumers(self) -> tuple[Registration, ...]:
        """Registered consumers whose declared use a breaking change touches."""
        broken = {id(one) for change in self.comparison.breaking for one in self.broken_by(change)}
        return tuple(consumer for consumer in self.consumers if id(consumer) in broken)

    def broken_by(self, change: Change) -> tuple[Registration, ...]:
        """Registered consumers whose declared use, columns and rules, a breaking change touches."""
        if change.consumers != "breaking":
            return ()
        kinds = [column.type for column in self.published.columns if (column.name,) == change.columns]
        return tuple(
            consumer
            for consumer in self.consumers
            # Who declares no columns relies on all of them, and who declares no rules on all of these.
            if (not consumer.columns or not change.columns or set(consumer.columns) & set(change.columns))
            and (consumer.rules is None or relied_upon(change, consumer.rules, kinds[0] if kinds else None))
        )

    def whom(self, change: Change) -> str:
        """Whom a breaking change breaks, in words."""
        broken = self.broken_by(change)
        if broken:
            return f"breaks {', '.join(f'{one.consumer} (input {one.input})' for one in broken)}"
        return "breaks nobody's declared use" if self.consumers else "nobody is registered"


def published_contract(product: ResolvedProduct, dataset: ResolvedDataset) -> Contract | None:
    """The contract under which the dataset's ports show what they show; ``None`` before the first publication."""
    manifest = read_manifest(product.settings.storage, product.id)
    if manifest is None:
        return None
    entries = manifest.ports.get(f"v{dataset.major}", {}).values()
    newest = max(
        (entry for entry in entries if entry.dataset == dataset.name and entry.contract_hash),
        key=lambda entry: entry.version,
        default=None,
    )
    if newest is None:
        return None
    return kept_contract(product.settings.storage, product.id, newest.contract_hash)


def evolution_of(product: ResolvedProduct, dataset: ResolvedDataset) -> Evolution | None:
    """How a dataset's contract differs from what was published; ``None`` where nothing was, or nothing changed."""
    published = published_contract(product, dataset)
    if published is None or published.hash == dataset.contract.hash:
        # What the descriptor says of consumers is judged all the same.
        list(_from_outside(product, dataset, _ports(product, dataset), dataset.contract))
        return None
    return compared(product, dataset, published)


def compared(product: ResolvedProduct, dataset: ResolvedDataset, before: Contract) -> Evolution:
    """How a dataset's contract differs from another one, and who is registered for it.

    Raises:
        AuthorError: a consumer that the descriptor names relies on a rule that neither contract has.
    """
    return Evolution(
        product.id,
        dataset.label,
        dataset.major,
        before,
        compare(before, dataset.contract),
        _registered(product, dataset, before),
    )


def _registered(
    product: ResolvedProduct, dataset: ResolvedDataset, before: Contract
) -> tuple[Registration, ...]:
    ports = _ports(product, dataset)
    by_themselves = [
        one
        for one in consumers(product.settings.storage, product.id)
        if one.major == dataset.major and one.port in ports
    ]
    return (*by_themselves, *_from_outside(product, dataset, ports, before))


def _ports(product: ResolvedProduct, dataset: ResolvedDataset) -> set[str]:
    return {
        port.name
        for port in product.ports
        if port.dataset is not None and port.dataset.label == dataset.label
    }


def _from_outside(
    product: ResolvedProduct, dataset: ResolvedDataset, ports: Collection[str], before: Contract
) -> Iterator[Registration]:
    """Consumers that the descriptor names, since they cannot register by themselves."""
    known = {rule.id: rule for contract in (dataset.contract, before) for rule in contract.rules}
    for number, declared in enumerate(product.descriptor.consumers):
        major = product.major if declared.major is None else declared.major
        if major != dataset.major or declared.port not in ports:
            continue
        if unknown := [name for name in declared.rules or () if name not in known]:
            near = get_close_matches(unknown[0], known, 1)
            meant = f"did you mean {near[0]}?" if near else f"its rules: {', '.join(sorted(known))}"
            raise AuthorError(
                f"{product.id}: consumers[{number}].rules: {unknown[0]} is no rule of dataset {dataset.label}; {meant}"
            )
        yield Registration(
            consumer=declared.name,
            input="outside",
            port=declared.port,
            major=major,
            registered_at="",
            columns=declared.columns,
            rules=None if declared.rules is None else tuple(known[name] for name in declared.rules),
        )


def refuse_breaking(
    product: ResolvedProduct, datasets: Iterable[ResolvedDataset], acknowledged: Sequence[str] = ()
) -> tuple[Evolution, ...]:
    """Refuse contracts that break what was published under the same major version.

    Args:
        product: The product.
        datasets: The datasets to look at.
        acknowledged: Consumers that agreed. When every registered consumer that would break has, the change may
            pass; without any registered consumer there is nobody to agree, and it may not.

    Returns:
        What breaks consumers that agreed to it.

    Raises:
        AuthorError: names each change and the consumers that it would break.
    """
    found = [evolution_of(product, dataset) for dataset in datasets]
    breaking = [one for one in found if one is not None and one.comparison.breaking]
    refused = [_sentence(one) for one in breaking if not agreed_to(one, acknowledged)]
    if refused:
        raise AuthorError("\n".join(refused))
    return tuple(breaking)


def agreed_to(evolution: Evolution, acknowledged: Sequence[str]) -> bool:
    """Whether every registered consumer that would break is among those that agreed; nobody is not enough."""
    broken = {consumer.consumer for consumer in evolution.broken_consumers()}
    return bool(broken) and broken <= set(acknowledged)


def _sentence(evolution: Evolution) -> str:
    name = f"{evolution.product}.{evolution.dataset}"
    lines = [
        f"{name}: its contract breaks what was published, and the major version is still {evolution.major}:",
        *(
            f"  {change}: {change.reason} ({evolution.whom(change)})"
            for change in evolution.comparison.breaking
        ),
    ]
    broken = evolution.broken_consumers()
    if broken:
        agree = " ".join(f"--acknowledge {one}" for one in sorted({one.consumer for one in broken}))
        fix = f"raise version to {evolution.major + 1}.0.0, or, when they agree: dp run {evolution.product} {agree}"
    else:
        lines.append(f"  {_nobody(evolution)}")
        fix = f"raise version to {evolution.major + 1}.0.0"
    lines.append(f"  {fix}")
    return "\n".join(lines)


def _nobody(evolution: Evolution) -> str:
    if not evolution.consumers:
        return "no consumer is registered, but others may read the port"
    return "no registered consumer relies on what changes, but others may read the port"


def describe_change(change: Change, evolution: Evolution) -> dict[str, object]:
    """A change as plain data; ``breaks`` names the consumers whose declared use it touches."""
    return {
        "kind": change.kind,
        "columns": list(change.columns),
        "detail": change.detail,
        "consumers": change.consumers,
        "producers": change.producers,
        "reason": change.reason,
        "breaks": [
            {"consumer": one.consumer, "input": one.input, "port": one.port}
            for one in evolution.broken_by(change)
        ],
    }
