"""``dp schema``: the JSON Schema of product.yaml, for editors."""

from __future__ import annotations


def schema() -> None:
    """Print the JSON Schema (2020-12) of product.yaml, with the kinds that are installed here.

    An editor with the YAML language server uses it with a first line
    `# yaml-language-server: $schema=product.schema.json` in product.yaml.
    """
    from dp_dagster.cli.output import print_json
    from dp_dagster.descriptor.json_schema import json_schema
    from dp_dagster.registry import Registry

    print_json(json_schema(Registry.load()))
