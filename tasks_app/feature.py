"""What a feature may add to the engine. The engine asks `features()`, and imports none of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from django.apps import AppConfig, apps
from django.utils.module_loading import import_string

if TYPE_CHECKING:  # Django imports this module before models can be imported
    from django.urls import URLPattern

    from tasks_app.queue.node_models import HandlerPause


class Feature(AppConfig):
    """A folder of `tasks_app/features/`; its line in INSTALLED_APPS adds it to a deployment.

    Django itself finds its commands, its admin pages (`admin.py`), templates and static files. Its models say
    `app_label = "tasks_app"`: their migrations are those of the engine. Everything else is an attribute of this class.
    Attributes are dotted paths, so that a process imports only what it uses.
    """

    #: A list of URL patterns: the addresses of its calls. Only a web server imports it. `API_ORDER` in the settings
    #: says where they stand in the API's document.
    addresses: str = ""
    #: A function that gets a handler's name and its pause, None if it has none, and returns an ActLink: what who may
    #: act on tasks can do to the handler. The dashboard and the handler's page show it.
    handler_act: str = ""


class ActLink(NamedTuple):
    """A link to the page of an act."""

    address: str
    text: str


def features() -> list[Feature]:
    """Those of this deployment, in the order of INSTALLED_APPS."""
    return [one for one in apps.get_app_configs() if isinstance(one, Feature)]


def addresses() -> list[URLPattern]:
    """The addresses of all features' calls."""
    return [pattern for one in features() if one.addresses for pattern in import_string(one.addresses)]


def handler_acts(handler: str, pause: HandlerPause | None) -> list[ActLink]:
    """What the features offer to do to a handler."""
    return [import_string(one.handler_act)(handler, pause) for one in features() if one.handler_act]
