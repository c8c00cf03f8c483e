"""urgent, normal, background: three task types with one source; the result names the type.

With `DAEMON_TASK_SELECTION=priority` and `DAEMON_WORKERS=1` they show that a larger priority goes first across types.
"""

from __future__ import annotations

from taskdaemon import Result, Success, Task, run


def handle(task: Task) -> Result:
    return Success({"handled_by": task.task_type, "data": task.task_data})


if __name__ == "__main__":
    run(handle)
