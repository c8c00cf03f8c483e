"""What a feature may add to the engine. The engine asks `registered(...)`, and imports no feature."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from functools import cache
from types import MappingProxyType
from typing import Any, NamedTuple
from uuid import UUID

from django.apps import AppConfig, apps
from django.utils.module_loading import import_string

from tasks_app.handlers import handlers_toml


class Feature(AppConfig):
    """A folder of `tasks_app/features/`; its line in INSTALLED_APPS adds it to a deployment.

    Django itself finds its commands, its admin pages (`admin.py`), templates and static files. Its models say
    `app_label = "tasks_app"`: their migrations are those of the engine. Everything else is an attribute of this class.
    Attributes are dotted paths, so that a process imports only what it uses; blank: nothing is registered.
    """

    #: A list of URL patterns: its calls. Only a web server imports it. `API_ORDER` in the settings may say where they
    #: stand in the API's document; a call that it does not name comes last.
    calls: str = ""
    #: A list of URL patterns: its pages below /admin/. They come before those of Django's admin.
    pages: str = ""
    #: A list of `admin.navigation.Section`: its links in the bar of the admin.
    sections: str = ""
    #: A function that gets the names of the handlers on a page of the admin, and returns for each, by name, the link to
    #: what who may act on tasks can do to it. Called once a page.
    handler_links: str = ""
    #: A function that gets the request and the names of handlers whose tasks fail, and returns for each, by name, links
    #: to pages about what failed, which the user may see. Called once a page.
    failure_links: str = ""
    #: A function that gets the number of a failure group (`Task.failure_group`), and returns a link with its words to
    #: its page; None if there is none. They are an error: its caller has checked that the user may see errors.
    group_links: str = ""
    #: What it shows on the engine's pages of the admin: {place: function}. A function gets the request and what the
    #: place is about, checks what the user may see, and returns HTML, blank for nothing: text that is not marked as
    #: safe is escaped. What it raises fails the page. The places:
    #:   dashboard.problems, .failing, .running, .numbers, .failures, .end   the dashboard, about None
    #:   handler.end                                             a handler's page, about its name
    #:   node.buttons                                            a node's page, about the `Node`
    #:   task.head, .buttons, .live, .why, .failure, .facts      a task's page, about the `Task`
    #:   tasks.end                                               below the list of tasks, about Django's `ChangeList`
    panels: str = ""
    #: A list of `BulkAct`: what operations can do beside the engine's own acts.
    bulk_acts: str = ""
    #: A list of `admin.task_list.TaskAction`: what the list of tasks offers to do to the tasks that are selected, or to
    #: all that match, and pages about tasks that failed alike to these. Asked for with each page of the list.
    task_actions: str = ""
    #: A list of classes of `admin.task_list.TaskListFilter`: filters of the list of tasks beside the engine's.
    task_filters: str = ""
    #: A function that gets the ids of tasks that are held or ready and returns, by the id of each that it holds back, a
    #: list of `Hold` (`tasks_app/queue/held.py`). It may query.
    holds: str = ""
    #: A function that gets what the audit log calls a row of the admin (`AuditEntry.target`), and returns the address
    #: of the page with the acts on it. One feature at most.
    acts_page: str = ""
    #: Its options of tasks: a tuple of `Option` (`tasks_app/options/option.py`), `OPTIONS` in the `options.py` of its
    #: folder, which imports no model. A column that an option adds to the table of tasks belongs to the folder.
    options: str = ""
    #: A `Follower` (`tasks_app/queue/followed.py`): told of each end, retry, release, redrive and promotion of a task
    #: that `follow` has marked, on any thread, in the transaction of the move.
    follower: str = ""
    #: A `Leaves` (in the same file): what is done before ended tasks are redriven, deleted or pruned, on any thread, in
    #: the transaction of the move.
    leaves: str = ""
    #: A function or class that gets a node's name and returns a `SideJob` (`tasks_app/node/threads.py`): what each
    #: node does at the end of each beat, about once a second. No task waits for it.
    side_jobs: str = ""
    #: {name: condition}: what the beat of a node asks the database for its side jobs and threads, in the beat's one
    #: statement. `DueWork.features` has the names of those that are true. A condition is an SQL expression of all
    #: databases that reads one row along an index, with `{wall}` for the time of day and `{minute}` for the present
    #: minute since 1970. A name is one word, which no other feature uses.
    due_work: Mapping[str, str] = MappingProxyType({})
    #: {name: condition}: ended tasks for which its side jobs look. The beat asks whether there is such a task, and
    #: `DueWork.features` has the name if there is. A condition is the SQL of a partial index on `completed_at`, spelled
    #: as there. A scan may start at `Store.first_times().ended(name)`. A name is as above.
    ended_tasks: Mapping[str, str] = MappingProxyType({})
    #: An SQL query of all databases for its limits of types, read together with what is on hold. A row has `type`,
    #: `places` (how many more of its tasks may run, over all nodes; null: any number) and `seconds` (how long none of
    #: its tasks may start, not above 0 if one may, and the next one later; null: any number may at once). `{now}` are
    #: seconds on the clock of leases, `{wall}` is the time of day. A node claims no more tasks than there are places,
    #: to save claims that would find nothing; a `gate` sees to it that no more start.
    start_limits: str = ""
    #: A `Gate` (`tasks_app/queue/gates.py`): asked within each claim of types that have such a limit, how many of their
    #: tasks may start.
    gate: str = ""
    #: A `Quota` (`tasks_app/api/admission.py`): asked before the tasks of a request are stored, for types that it
    #: limits.
    quota: str = ""
    #: A function or class that gets a node's name and returns a `NodeThread` (in the same file), which the node runs.
    node_threads: str = ""
    #: A function or class that gets the name of a web process and returns a function: what each web process does about
    #: once a second, on the thread that writes its row and its counts. The function raises nothing, and no call to the
    #: database takes long: `OutageGuard` sees to both.
    web_jobs: str = ""
    #: {table: dotted path}: the tables of handlers.toml that it reads, each by a function (`ReadTable` in
    #: `tasks_app/handlers/handlers_toml.py`). `conf.handlers().tables` has what it returns.
    tables: Mapping[str, str] = MappingProxyType({})
    #: Its keys of a handler in handlers.toml: a mapping of `FurtherKey` (`tasks_app/handlers/keys.py`) by their names.
    #: `Handler.further` has the values of those that a handler has. No container depends on them.
    handler_keys: str = ""
    #: `f(serves_requests)`: called once when a process starts: a node (false) or a web server (true). It may start
    #: threads, which end with the process: daemons. What it raises ends the process.
    process_starts: str = ""
    #: A function that returns what an operator should know of, in sentences, for /health, the dashboard, and an alert
    #: with the feature's name. Called with each reading of the system, at most ten times a second in a process; it may
    #: query, and raises DatabaseError.
    problems: str = ""
    #: A function that reads what `families` tells of its tables, called as `problems` is. `SystemReading.read` has what
    #: it returns, by the feature's label.
    reads: str = ""
    #: A function that gets a `SystemReading` and yields families of /metrics. It queries nothing.
    families: str = ""
    #: A function `(before, most)` that removes the oldest of the rows that tell of acts before a moment, at most so
    #: many, in a transaction of its own, and returns how many. They are kept as long as lines of the audit log
    #: (DAEMON_RETENTION_AUDIT): a thread of a node calls it until it returns 0. It may raise DatabaseError.
    forgets: str = ""
    #: A function `(status, types, without, before, most)` that removes the oldest of the rows that tell of tasks which
    #: ended with a status before a moment, as `forgets` does: of these types (None: of all), but not of `without`. They
    #: are kept as long as such tasks.
    forgets_ended: str = ""
    #: A `Sender` (`tasks_app/web/rsgi.py`), a class: a web server makes one of it, with a function that the sender
    #: calls, on any thread, for each request once it is answered. It gets the requests whose views return a response of
    #: exactly the type `response` of the class. What lasts long needs a place, which the view reserves (`Deferred` in
    #: `tasks_app/api/waiting.py`) and the sender gives back.
    streams: str = ""

    def __init_subclass__(cls, **options: Any) -> None:
        """Refuse an attribute that the engine does not ask for: a misspelt one would register nothing."""
        super().__init_subclass__(**options)
        known = vars(Feature).keys() | vars(AppConfig).keys() | {"name", "label", "path"}
        if unknown := sorted(name for name in vars(cls) if not name.startswith("_") and name not in known):
            raise TypeError(f"{cls.__module__}.{cls.__name__}: Feature has no attribute {', '.join(unknown)}")

    def ready(self) -> None:
        """Say which tables and keys of handlers.toml there are: the file is read once all features are loaded."""
        handlers_toml.further_tables = {**(handlers_toml.further_tables or {}), **self.tables}
        keys = (self.handler_keys,) if self.handler_keys else ()
        handlers_toml.further_keys = (*(handlers_toml.further_keys or ()), *keys)


class BulkAct(NamedTuple):
    """What is done to each task that matches the filter of an operation.

    `verb`: at most 10 characters. `called`: what sentences call it. `fits`: the statuses of the tasks that it is done
    to. `done`: what a task is then said to be. `act`: gets the ids of some tasks, which the caller's write transaction
    has locked, and returns those to which it was done; the others are skipped for the reason `skipped`. `address`,
    `name`, `text`: of the call that starts the operation. `selected`: what the admin's list of tasks calls it.
    """

    verb: str
    called: str
    fits: frozenset[str]
    done: str
    act: Callable[[Sequence[UUID]], Set[UUID]]
    skipped: str
    address: str
    name: str
    text: str
    selected: str


class Link(NamedTuple):
    """A link to a page."""

    address: str
    text: str


def features() -> list[Feature]:
    """Those of this deployment, in the order of INSTALLED_APPS."""
    return [app for app in apps.get_app_configs() if isinstance(app, Feature)]


@cache
def ended_tasks() -> Mapping[str, str]:
    """All of `Feature.ended_tasks`."""
    return {name: condition for feature in features() for name, condition in feature.ended_tasks.items()}


@cache
def registered(attribute: str) -> tuple[Any, ...]:
    """What the features of this deployment have registered as `attribute`, imported once."""
    return tuple(import_string(path) for feature in features() if (path := getattr(feature, attribute)))


def tell(attribute: str, *arguments: Any) -> None:
    """Call what the features of this deployment have registered as `attribute`, one after the other."""
    for function in registered(attribute):
        function(*arguments)
