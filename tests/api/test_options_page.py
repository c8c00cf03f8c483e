"""docs/api.md: the table of options is their declarations'."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tasks_app.options.known import given

PAGE = Path(__file__).resolve().parents[2] / "docs" / "api.md"
MARK = "<!-- From the declarations of options: REWRITE=1 pytest tests/api/test_options_page.py -->\n"


def table() -> str:
    """A row for each option."""
    fields = {name: option.reads().schema for name, option in given().items()}
    rows = [f"| `{name}` | {valid(schema)} | {schema['description']} |" for name, schema in fields.items()]
    return "\n".join(["| field | | |", "|---|---|---|", *rows]) + "\n"


def valid(schema: Mapping[str, Any]) -> str:
    """What a schema lets a value be."""
    most, kind = schema.get("maximum"), schema["type"]
    if kind in ("number", "integer"):
        above = "exclusiveMinimum" in schema
        least = f"more than {schema['exclusiveMinimum']}" if above else f"at least {schema['minimum']}"
        return f"{kind}, {least}" + ("" if most is None else f" and at most {most:,}")
    if kind == "array":
        return f"array of up to {schema['maxItems']} strings"
    if kind == "object":
        return "JSON object"
    if schema.get("format") == "date-time":
        return "time with an offset"
    longest = f" of up to {schema['maxLength']:,} characters" if "maxLength" in schema else ""
    return f"{'URL' if schema.get('format') == 'uri' else 'string'}{longest}"


def test_the_table_of_options_is_their_declarations() -> None:
    before, _, rest = PAGE.read_text().partition(MARK)
    written, _, after = rest.partition("\n\n")
    if os.environ.get("REWRITE"):
        PAGE.write_text(before + MARK + table() + "\n" + after)
    assert written + "\n" == table() or os.environ.get("REWRITE")
