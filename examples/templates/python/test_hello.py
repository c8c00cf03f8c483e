from taskdaemon import Error, Success, Task

from hello import handle


def task(data: dict) -> Task:
    return Task(task_id="1", task_type="hello", task_data=data, attempt=1)


def test_it_greets() -> None:
    assert handle(task({"name": "Ada"})) == Success({"hello": "Ada"})


def test_a_task_without_a_name_fails() -> None:
    assert handle(task({})) == Error("data.name must be a string", retryable=False)
