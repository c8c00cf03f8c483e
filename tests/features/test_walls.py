"""The engine names no feature: its texts and templates; and what commands of features import.

import-linter sees all other imports. A feature's commands are in a folder without `__init__.py`, which it passes over.
"""

from __future__ import annotations

import ast
import re
from importlib import import_module
from itertools import chain
from pathlib import Path

import pytest
from django.apps import apps
from django.conf import settings
from django.contrib import admin

from tasks_app.feature import registered

ROOT = Path(__file__).parents[2]
#: Not the migrations, which have the tables of all.
ENGINE = [
    file
    for file in chain(ROOT.glob("tasks_app/**/*"), ROOT.glob("taskdaemon_site/**/*"))
    if file.suffix in {".py", ".html"} and not {"features", "migrations"} & {*file.relative_to(ROOT).parts}
]
#: What finds the features' tables, and the list of the features that are installed.
ALLOWED = re.compile(r'iter_modules\(.*"tasks_app\.features\."|^    "tasks_app\.features\.\w+\.\w+",$', re.M)


@pytest.fixture(scope="module")
def name_of_a_feature() -> re.Pattern[str]:
    """A dotted path into one, `get_model` of its table, the name of an address of its call or page."""
    import_module(settings.ROOT_URLCONF)  # which finds the admin's pages
    models = [model.__name__ for model in apps.get_models() if is_features(model)]
    listed = [str(model._meta.model_name) for model, page in admin.site._registry.items() if is_features(type(page))]
    addresses = [str(address.name) for address in chain(*registered("calls"), *registered("pages"))]
    assert "Operation" in models and "operation" in listed and "activity" in addresses
    names = (
        r"\btasks_app\.features\b|\bfeatures\.\w",
        rf"""get_model\([^)]*({"|".join(models)})\b""",
        rf"tasks_app_({'|'.join(listed)})_",
        rf"""(\burl |\breverse\()["'](admin:)?({"|".join(addresses)})["']""",
    )
    return re.compile("|".join(names))


def test_functions_import_nothing_but_in_two_modules() -> None:
    found = {
        str(file.relative_to(ROOT))
        for file in ROOT.glob("tasks_app/**/*.py")
        for function in ast.walk(ast.parse(file.read_text()))
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    assert found == {"tasks_app/apps.py", "tasks_app/broker/notification.py"}


def is_features(kind: type) -> bool:
    return kind.__module__.startswith("tasks_app.features.")


def test_no_module_and_no_template_of_the_engine_names_a_feature(name_of_a_feature: re.Pattern[str]) -> None:
    names = {}
    for file in ENGINE:
        text = ALLOWED.sub("", file.read_text())
        if found := sorted({match[0] for match in name_of_a_feature.finditer(text)}):
            names[str(file.relative_to(ROOT))] = found
    assert len(ENGINE) > 200 and names == {}


def imports(source: str) -> set[str]:
    """The modules that a source imports, and each name that it takes from one, with its module."""
    names = set[str]()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {one.name for one in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {str(node.module), *(f"{node.module}.{one.name}" for one in node.names)}
    return names


def is_below(name: str, *modules: str) -> bool:
    return any(name == module or name.startswith(f"{module}.") for module in modules)


def test_commands_of_a_feature_import_the_engine_and_their_own_feature_and_nothing_imports_them() -> None:
    files = [file for file in ROOT.glob("tasks_app/features/*/**/*.py") if "management" in file.parts]
    faults = [
        (str(file.relative_to(ROOT)), name)
        for file in files
        for name in imports(file.read_text())
        if is_below(name, "taskdaemon_site", "docker", "celery", "kombu")
        or (is_below(name, "tasks_app.features") and not is_below(name, f"tasks_app.features.{file.parents[2].name}"))
    ]
    of_commands = [
        (str(file.relative_to(ROOT)), name)
        for file in ROOT.glob("tasks_app/**/*.py")
        for name in imports(file.read_text())
        if re.match(r"tasks_app\.features\.\w+\.management", name)
    ]
    assert len(files) > 5 and faults == [] and of_commands == []
