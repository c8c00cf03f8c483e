"""echo: replies with the data of the task."""

from __future__ import annotations

from taskdaemon import Result, Success, Task, run


def handle(task: Task) -> Result:
    return Success(task.task_data)


if __name__ == "__main__":
    run(handle)
