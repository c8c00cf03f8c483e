import traceback

from taskdaemon import Error, Result, Success, Task, run


def handle(task: Task) -> Result:
    name = task.task_data.get("name")
    if not isinstance(name, str):
        return Error("data.name must be a string")  # retryable=True: it may work later
    return Success({"hello": name})


def reply(task: Task) -> Result:
    try:
        return handle(task)
    except Exception as error:
        traceback.print_exc()  # to the attempt's log
        return Error(repr(error))  # to the task's last_error


if __name__ == "__main__":
    run(reply)
