"""What features register."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.utils.module_loading import import_string

from tasks_app.feature import Feature, features, registered

#: Those that are dotted paths: the limits of types are a query.
ATTRIBUTES = [
    name
    for name, value in vars(Feature).items()
    if not name.startswith("_") and isinstance(value, str) and name != "start_limits"
]


@pytest.mark.parametrize("feature", features(), ids=lambda feature: feature.name.rpartition(".")[2])
def test_whatever_it_registers_exists(feature: Feature) -> None:
    for path in [*(getattr(feature, attribute) for attribute in ATTRIBUTES), *feature.tables.values()]:
        if path:
            import_string(path)


def test_a_misspelt_attribute_is_refused() -> None:
    with pytest.raises(TypeError, match="Feature has no attribute handler_lnks"):
        type("Misspelt", (Feature,), {"name": "x", "handler_lnks": "y"})


def test_each_place_of_a_panel_is_on_a_page_and_used() -> None:
    pages = (Path(__file__).parents[2] / "tasks_app" / "templates").rglob("*.html")
    on_pages = {place for page in pages for place in re.findall(r'{% panels "([^"]+)"', page.read_text())}
    assert {place for panels in registered("panels") for place in panels} == on_pages
