"""What must hold between the parts of a descriptor, and the names and datasets that follow from others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dp_dagster.descriptor.names import derived_port_name, id_fault
from dp_dagster.descriptor.problems import suggestion
from dp_dagster.registry import DECLARED

if TYPE_CHECKING:
    from dp_dagster.descriptor.loading import Draft
    from dp_dagster.descriptor.model import OutputPort
    from dp_dagster.descriptor.paths import Keys


def check(draft: Draft) -> None:
    """Note every problem between parts; fill in the ports' datasets and names."""
    for number, port in draft.outputs.items():
        draft.outputs[number] = _completed(draft, number, port)
    _unique(draft, "input_ports", "transforms")
    _unique(draft, "datasets")
    _unique(draft, "output_ports")
    _unique_endpoints(draft)
    _known_ports(draft)


def _known_ports(draft: Draft) -> None:
    """Consumers from outside must read a port that there is."""
    ports = [port.name for port in draft.outputs.values() if port.name]
    for number, consumer in enumerate(draft.head.consumers if draft.head else ()):
        if consumer.port not in ports:
            draft.add(
                ("consumers", number, "port"),
                f"{consumer.port} is no output port of the product",
                suggestion(consumer.port, ports),
            )


def _completed(draft: Draft, number: int, port: OutputPort) -> OutputPort:
    keys: Keys = ("output_ports", number)
    datasets = draft.names("datasets")
    dataset = port.dataset
    if dataset is None and port.type == DECLARED:
        pass  # nothing is behind it yet
    elif dataset is None and len(datasets) == 1:
        dataset = datasets[0]
    elif dataset is None and datasets:
        draft.add(
            (*keys, "dataset"),
            f"is missing: the product has {len(datasets)} datasets",
            f"add one of {', '.join(datasets)}",
        )
    elif dataset is not None and dataset not in datasets:
        draft.add(
            (*keys, "dataset"), f"{dataset} is no dataset of the product", suggestion(dataset, datasets)
        )
    name = port.name
    if name is None:
        name = derived_port_name(port.type, port.endpoint, dataset)
        fault = id_fault(name)
        if fault is not None:
            draft.add(
                (*keys, "name"),
                f"is missing, and {name!r}, taken from the endpoint, cannot stand in",
                "add `name: …`",
            )
    return port.model_copy(update={"name": name, "dataset": dataset})


def _unique(draft: Draft, *parts: str) -> None:
    seen: dict[str, Keys] = {}
    for part in parts:
        items = draft.document.data.get(part)
        for number, item in enumerate(items if isinstance(items, list) else []):
            name = item.get("name") if isinstance(item, dict) else None
            if name is None and part == "output_ports" and number in draft.outputs:
                name = draft.outputs[number].name
            if not isinstance(name, str):
                continue
            keys: Keys = (part, number, "name")
            if name in seen:
                first = draft.document.mark(seen[name]).line
                where = f"{seen[name][0]}[{seen[name][1]}]" + (f" on line {first}" if first else "")
                derived = "" if isinstance(item, dict) and "name" in item else "add `name: …`"
                draft.add(
                    keys, f"{name} is the name of {where} too", derived or "give each a name of its own"
                )
            else:
                seen[name] = keys


def _unique_endpoints(draft: Draft) -> None:
    seen: dict[str, int] = {}
    for number, port in draft.outputs.items():
        if port.endpoint is None:
            continue
        endpoint = port.endpoint.rstrip("/")
        if endpoint in seen:
            draft.add(
                ("output_ports", number, "endpoint"),
                f"is the endpoint of output_ports[{seen[endpoint]}] too",
                "give each port an endpoint of its own",
            )
        else:
            seen[endpoint] = number
