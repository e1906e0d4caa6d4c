"""Serve fakesnow on loopback: ``server.py PORT``. Runs in fakesnow's own environment, not in the project's.

fakesnow 0.12 answers as clients of Snowflake up to version 4 want it. What those from version 5 on want else is added
here: in a login's answer a master token, the times that tokens are good for and a session's id; in timestamps that
are null no null inside of a value that is not there; of a stage, its region.
"""

from __future__ import annotations

import json
import sys

import fakesnow.info_schema
import fakesnow.server
import pyarrow as pa
import pyarrow.compute as pc
import uvicorn
from starlette.responses import Response


class CompleteLogins:
    """Adds to the answer of a login what fakesnow leaves out."""

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http" or not scope["path"].endswith("/login-request"):
            await self.app(scope, receive, send)
            return
        status, body = 200, b""

        async def keep(message):
            nonlocal status, body
            if message["type"] == "http.response.start":
                status = message["status"]
            else:
                body += message.get("body", b"")

        await self.app(scope, receive, keep)
        answer = json.loads(body)
        data = answer["data"]
        answer["data"] = {
            "masterToken": data["token"],
            "validityInSeconds": 3600,
            "masterValidityInSeconds": 14400,
            "sessionId": len(fakesnow.server.sessions),
        } | data
        made = Response(json.dumps(answer), status_code=status, media_type="application/json")
        await made(scope, receive, send)


_to_sf = fakesnow.server.to_sf


def to_sf_with_null_timestamps(table, rowtype):
    """As fakesnow's function, but a null timestamp is a null struct of numbers, not a struct of nulls."""
    table = _to_sf(table, rowtype)
    for number, field in enumerate(table.schema):
        if pa.types.is_struct(field.type) and field.type.get_field_index("epoch") >= 0:
            column = table.column(number).combine_chunks()
            column = column.chunk(0) if isinstance(column, pa.ChunkedArray) else column
            parts = [column.field(index) for index in range(field.type.num_fields)]
            made = pa.StructArray.from_arrays(
                [part.fill_null(0) for part in parts], fields=list(field.type), mask=pc.is_null(parts[0])
            )
            table = table.set_column(number, field, made)
    return table


fakesnow.server.to_sf = to_sf_with_null_timestamps


_gcs_stage_info = fakesnow.server.gcs_stage_info


def complete_stage_info(request, expression, data):
    """As fakesnow's function, with the region; and files are overwritten, as its own upload does."""
    data["overwrite"] = True
    return {"region": ""} | _gcs_stage_info(request, expression, data)


fakesnow.server.gcs_stage_info = complete_stage_info


_insert_table_comment_sql = fakesnow.info_schema.insert_table_comment_sql


def insert_table_comment_sql(catalog, schema, table, comment):
    """As fakesnow's function, for comments with a quote in them, too."""
    return _insert_table_comment_sql(catalog, schema, table, str(comment).replace("'", "''"))


fakesnow.info_schema.insert_table_comment_sql = insert_table_comment_sql


if __name__ == "__main__":
    uvicorn.run(
        CompleteLogins(fakesnow.server.app), host="127.0.0.1", port=int(sys.argv[1]), log_level="warning"
    )
