"""The schema as a page for people: one file, no script, nothing from a foreign host."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from graphql import GraphQLObjectType

if TYPE_CHECKING:
    from dp_dagster.ports.base import OutputContext
    from dp_dagster.ports.outputs.graphql.model import PortSchema

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
_STYLE = """
:root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif }
body { max-width: 62rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; vertical-align: top; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid #8884 }
pre { overflow-x: auto; padding: 1rem; background: #8881; border-radius: .4rem }
.warning { padding: .5rem 1rem; border-left: 4px solid #b4541a; background: #8881 }
code, pre { font-family: ui-monospace, monospace; font-size: .9em }
"""


def schema_page(schema: PortSchema, context: OutputContext, path: str) -> tuple[str, str]:
    """The page, and the content security policy that it goes out with.

    Args:
        schema: As the reader's view sees it.
        context: Of the port.
        path: Where the port is mounted.
    """
    title = f"{context.product_id}.{context.port_name}{'' if context.is_current else f', v{context.major}'}"
    parts = [f"<h1>{escape(title)}</h1>"]
    if context.deprecation:
        said = f"{context.deprecation[:1].upper()}{context.deprecation[1:]}."
        parts.append(f"<p class=warning>{escape(said)}</p>")
    if context.description.strip():
        parts.append(f"<p>{escape(context.description.strip())}</p>")
    parts.append(
        f"<p>Send queries to <code>{escape(path)}</code> by POST, as <code>application/json</code>. The schema is at "
        f'<a href="{escape(path)}/schema.graphql"><code>{escape(path)}/schema.graphql</code></a>.</p>'
    )
    parts.append(f"<pre><code>{escape(example_query(schema))}</code></pre>")
    for name in schema.rows:
        kind = schema.graphql.type_map[name]
        if not isinstance(kind, GraphQLObjectType):
            raise TypeError(name)
        rows = "".join(
            f"<tr><td><code>{escape(field)}</code></td><td><code>{escape(str(one.type))}</code></td>"
            f"<td>{escape(one.description or '')}</td></tr>"
            for field, one in kind.fields.items()
        )
        parts.append(
            f"<h2>{escape(name)}</h2><table><tr><th>field</th><th>type</th><th>meaning</th></tr>{rows}</table>"
        )
    parts.append(f"<h2>Schema</h2><pre><code>{escape(schema.text)}</code></pre>")
    head = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head>'
    )
    return f"{head}<body>{''.join(parts)}</body></html>", _POLICY


def example_query(schema: PortSchema, columns: int = 3) -> str:
    """A query that works: some columns of the first rows."""
    fields = list(schema.rows[schema.own].columns)[:columns]
    return f"{{ {schema.many}(first: 3) {{ nodes {{ {' '.join(fields) or '__typename'} }} }} }}"
