"""What Grafana gets has the fields that its dashboard kind and its provisioning pages document, and no others.

What it does not know it passes over in silence; and Grafana itself cannot be had where these tests run.
"""

from __future__ import annotations

import json
from typing import Any

import yaml

from tests.deploy.compose import TOP

GRAFANA = TOP / "deploy/grafana"
#: A dictionary: these fields; a list: any number of such; a set: one of these; `...`: whatever.
SOURCE = {"type": {"prometheus"}, "uid": str}
TARGET = {
    "refId": str, "datasource": SOURCE, "expr": str, "legendFormat": str, "instant": bool, "range": bool,
    "format": {"time_series", "table", "heatmap"}, "interval": str,
}  # fmt: skip
FIELD = {
    "unit": {"short", "s", "ops", "reqps", "bytes", "percentunit"}, "min": int, "max": int, "decimals": int,
    "thresholds": {"mode": {"absolute", "percentage"}, "steps": [{"color": str, "value": ...}]},
    "mappings": [{"type": {"value"}, "options": ...}],
    "custom": {
        "fillOpacity": int, "lineWidth": int, "drawStyle": {"line", "bars", "points"},
        "showPoints": {"auto", "never", "always"}, "stacking": {"mode": {"none", "normal", "percent"}, "group": str},
    },
}  # fmt: skip
CALCULATIONS = {"lastNotNull", "last", "max", "min", "mean", "sum"}
OPTIONS = {
    "stat": {
        "reduceOptions": {"calcs": [CALCULATIONS], "fields": str, "values": bool},
        "colorMode": {"value", "background", "none"}, "graphMode": {"none", "area"},
        "textMode": {"auto", "value", "value_and_name", "name", "none"},
    },
    "timeseries": {
        "legend": {
            "displayMode": {"list", "table", "hidden"}, "placement": {"bottom", "right"}, "calcs": [CALCULATIONS],
        },
        "tooltip": {"mode": {"single", "multi", "none"}, "sort": {"none", "asc", "desc"}},
    },
}  # fmt: skip
PANEL = {
    "id": int, "type": set(OPTIONS), "title": str, "description": str, "datasource": SOURCE, "targets": [TARGET],
    "gridPos": {"h": int, "w": int, "x": int, "y": int}, "fieldConfig": {"defaults": FIELD, "overrides": [...]},
    "options": ...,
}  # fmt: skip
VARIABLE = {
    "name": str, "type": {"query"}, "label": str, "datasource": SOURCE, "query": {"query": str, "refId": str},
    "definition": str, "refresh": {0, 1, 2}, "includeAll": bool, "allValue": str, "multi": bool, "sort": int,
    "current": {"text": str, "value": str},
}  # fmt: skip
DASHBOARD = {
    "uid": str, "title": str, "description": str, "tags": [str], "timezone": str, "editable": bool,
    "graphTooltip": {0, 1, 2}, "refresh": str, "schemaVersion": int, "version": int, "time": {"from": str, "to": str},
    "annotations": {"list": [...]}, "links": [...], "templating": {"list": [VARIABLE]}, "panels": [PANEL],
}  # fmt: skip
PROVIDERS = {
    "apiVersion": {1},
    "providers": [{"name": str, "type": {"file"}, "allowUiUpdates": bool, "options": {"path": str}}],
}
SOURCES = {
    "apiVersion": {1},
    "datasources": [
        {
            "name": str, "uid": str, "type": {"prometheus"}, "access": {"proxy"}, "url": str, "isDefault": bool,
            "jsonData": {"timeInterval": str, "httpMethod": {"POST", "GET"}},
        }
    ],
}  # fmt: skip


def faults(found: Any, shape: Any, where: str = "") -> list[str]:
    """What is not as the shape says."""
    if shape is ...:
        return []
    if isinstance(shape, type):
        return [] if type(found) is shape else [f"{where}: {found!r} is no {shape.__name__}"]
    if isinstance(shape, set):
        return [] if found in shape else [f"{where}: {found!r} is none of {shape}"]
    if isinstance(shape, list):
        return [fault for n, one in enumerate(found) for fault in faults(one, shape[0], f"{where}[{n}]")]
    unknown = [f"{where}: no field {name}" for name in found if name not in shape]
    return unknown + [
        fault for name in shape.keys() & found.keys() for fault in faults(found[name], shape[name], f"{where}.{name}")
    ]


def test_the_provisioned_files_say_what_grafana_knows():
    assert faults(yaml.safe_load((GRAFANA / "provisioning/datasources/prometheus.yml").read_text()), SOURCES) == []
    assert faults(yaml.safe_load((GRAFANA / "provisioning/dashboards/tasks.yml").read_text()), PROVIDERS) == []


def test_the_dashboard_has_the_fields_of_its_kind():
    dashboard = json.loads((GRAFANA / "dashboards/taskdaemon.json").read_text())
    assert faults(dashboard, DASHBOARD) == []
    assert 8 <= len(dashboard["uid"]) <= 40
    for panel in dashboard["panels"]:
        assert faults(panel["options"], OPTIONS[panel["type"]], panel["title"]) == []
        steps = panel["fieldConfig"]["defaults"].get("thresholds", {"steps": [{"value": None}]})["steps"]
        # Sorted, and the first one reaches down without end.
        assert steps[0]["value"] is None and [step["value"] for step in steps[1:]] == sorted(
            step["value"] for step in steps[1:]
        )
