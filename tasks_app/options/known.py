"""The options of this deployment: the engine's and those of its features."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from django.utils.module_loading import import_string

from tasks_app.feature import registered
from tasks_app.options.engine import ENGINE
from tasks_app.options.option import Option, OptionTable


@cache
def options() -> tuple[Option, ...]:
    """All options: first those of callers, then the others, both in the order of their declarations."""
    every = [*ENGINE, *(option for listed in registered("options") for option in listed)]
    names = [option.name for option in every]
    if twice := {name for name in names if names.count(name) > 1}:
        raise TypeError(f"declared twice: the option {', '.join(sorted(twice))}")
    return tuple(sorted(every, key=lambda option: option.field is None))


@cache
def named() -> Mapping[str, Option]:
    """All options by their names."""
    return {option.name: option for option in options()}


@cache
def given() -> Mapping[str, Option]:
    """The options that callers give, by their names, in the order in which faults name them."""
    return {option.name: option for option in options() if option.field is not None}


@cache
def stored() -> tuple[Option, ...]:
    """The options that have a column of a task's row."""
    return tuple(option for option in options() if option.column)


@cache
def derived() -> tuple[Option, ...]:
    """The options that a task may have without asking for them."""
    return tuple(option for option in options() if option.derive is not None)


@cache
def holding() -> frozenset[str]:
    """The names of the options whose tasks are stored held."""
    return frozenset(option.name for option in options() if option.holds)


@cache
def tables() -> Mapping[str, OptionTable]:
    """The tables of the options that have a table, by the names of the options."""
    return {option.name: import_string(option.table) for option in options() if option.table}


@cache
def in_answers() -> Mapping[str, Option]:
    """The options that a task object shows, by their names."""
    return {option.name: option for option in options() if option.answer is not None}
