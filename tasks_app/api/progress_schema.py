"""The progress of a running attempt in the OpenAPI document."""

from __future__ import annotations

from rest_framework import serializers


class ProgressObject(serializers.Serializer):
    """How far a running attempt is, as its handler last said."""

    progress = serializers.FloatField(min_value=0, max_value=1)
    done = serializers.FloatField(required=False, min_value=0)
    total = serializers.FloatField(required=False, min_value=0)
    message = serializers.CharField(required=False)
