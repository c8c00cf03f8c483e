"""The size of a JSON column's text on PostgreSQL."""

from __future__ import annotations

from django.db.models import F, Func, IntegerField, TextField
from django.db.models.expressions import Combinable
from django.db.models.functions import Cast, Coalesce


def json_bytes(column: str) -> Combinable:
    """See Store."""
    text = Cast(F(column), TextField())
    return Coalesce(Func(text, function="octet_length", output_field=IntegerField()), 0)
