"""GRAPHQL output port: rows and the rows behind them, as many as are asked for, in one request."""

from dp_dagster.ports.outputs.graphql.port import GraphqlConfig, GraphqlLimits, GraphqlOutput

__all__ = ["GraphqlConfig", "GraphqlLimits", "GraphqlOutput"]
