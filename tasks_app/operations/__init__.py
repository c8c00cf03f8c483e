"""Operations: acts on all tasks that match a filter. They are started here, and nodes work them off in batches.

An operation's filter is frozen at its start: no task that comes later matches. Its tasks are walked by their ids. The
moves of a batch, its counts and the id up to which the operation has come are one transaction, guarded on the
operation's row.
"""

from tasks_app.operations.abort import abort
from tasks_app.operations.plan import Plan, PlanRefused
from tasks_app.operations.preview import Preview, preview
from tasks_app.operations.start import start
from tasks_app.operations.work import release, work, work_until_over

__all__ = ["Plan", "PlanRefused", "Preview", "abort", "preview", "release", "start", "work", "work_until_over"]
