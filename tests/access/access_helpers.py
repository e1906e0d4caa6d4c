"""A product with grants, in a folder that is the working directory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import pytest

from dp_dagster.errors import DescriptorError
from dp_dagster.ports.served import ServedConfig, ServedPort
from dp_dagster.registry import Registry
from dp_dagster.resolve import ResolvedProduct, resolve

if TYPE_CHECKING:
    from pathlib import Path

    from dp_dagster.settings import Settings

CONTRACT = '''\
import pandera.polars as pa


class People(pa.DataFrameModel):
    """People."""

    id: int = pa.Field(unique=True)
    name: str = pa.Field(metadata={"classification": "pii"})
    salary: int = pa.Field(metadata={"classification": "restricted"})
    region: str


class Logins(pa.DataFrameModel):
    """Logins by address."""

    email: str = pa.Field(unique=True, metadata={"classification": "pii"})
    count: int
'''

HEAD = """\
product_id: people
version: 2.0.0
input_ports: [{name: raw, type: FILES, path: raw.csv}]
datasets:
  - {name: people, from: raw, contract: "contracts/people.py:People"}
"""
WITH_LOGINS = HEAD + '  - {name: logins, from: raw, contract: "contracts/people.py:Logins"}\n'


class AskedPort(ServedPort[ServedConfig]):
    """A served port that is only ever resolved."""

    kind = "ASKED"
    summary = "answers nothing"
    Config: ClassVar = ServedConfig

    def address(self, config, context):  # noqa: ARG002
        return "http://127.0.0.1/asked"

    def examples(self, config, context):  # noqa: ARG002
        return ()

    def project(self, config, context, snapshot, manifest):
        raise NotImplementedError

    def path(self, config, context):  # noqa: ARG002
        return "/asked"

    def application(self, config, context, host):
        raise NotImplementedError


@dataclass
class People:
    """The product's folder."""

    root: Path
    settings: Settings

    def resolve(self, text: str, **settings: object) -> ResolvedProduct:
        path = self.root / "product.yaml"
        path.write_text(text)
        installed = Registry.load()
        registry = Registry.of(
            {
                "input_ports": [installed.find("input_ports", "FILES").implementation],
                "output_ports": [
                    AskedPort,
                    *(installed.find("output_ports", kind).implementation for kind in ("SQL", "FILES")),
                ],
                "transforms": [],
            }
        )
        return resolve(path, self.settings.model_copy(update=settings), registry)

    def problems(self, text: str, **settings: object) -> list[str]:
        with pytest.raises(DescriptorError) as caught:
            self.resolve(text, **settings)
        return [str(problem).removeprefix("product.yaml:") for problem in caught.value.problems]
