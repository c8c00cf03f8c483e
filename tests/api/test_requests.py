"""Wrong or unusual addresses, methods, headers and parameters: JSON, and the right status."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from django.test import Client

from tasks_app.queue.submission import NewTask
from tasks_app.queue.submit import submit_many

pytestmark = [pytest.mark.database, pytest.mark.django_db]

UNKNOWN_ID = "0193a5b0-1c2d-7e3f-8a4b-5c6d7e8f9a0b"


def error(answer: Any, status: int) -> str:
    assert answer.status_code == status, answer.content
    assert answer.headers["Content-Type"] == "application/json"
    return str(answer.json()["error"])


@pytest.mark.parametrize(
    "path",
    [
        "/nowhere",
        "/queue/x",
        "/api",
        "/api/",
        "/api/tasks/a/b",
        "/queue%0A",
        "/queue%00",
        "/%ff",
        "/static/nowhere.js",
        "/static/%00",
        "/openapi",
        "/.env",
        "/api/tasks//cancel",
        "/api/tasks//redrive",
    ],
)
def test_an_unknown_address_is_404_in_json(api: Client, path: str) -> None:
    error(api.get(path, headers={"accept": "text/html"}), 404)


@pytest.mark.parametrize(
    "name",
    [
        UNKNOWN_ID,
        UNKNOWN_ID.upper(),
        "x",
        "0",
        "a" * 5000,
        "%00",
        "%ff",
        "%2e%2e",
        UNKNOWN_ID.replace("-", ""),
        "{" + UNKNOWN_ID + "}",
        "0_" * 18,
        "\u0661" * 36,
        "0193a5b0-1c2d-7e3f-8a4b-5c6d7e8f9a0b%0A",
        "'; DROP TABLE taskdaemon_task; --",
    ],
    ids=lambda name: name[:20],
)
@pytest.mark.parametrize("method", ["get", "delete", "cancel", "redrive"])
def test_an_id_that_names_no_task_is_404(api: Client, name: str, method: str) -> None:
    address = f"/api/tasks/{name}"
    verb = method in ("cancel", "redrive")
    answer = api.post(f"{address}/{method}") if verb else getattr(api, method)(address)
    said = error(answer, 404)
    assert said.startswith("Task not found")
    if method == "get":
        assert answer.json() == {"error": "Task not found"}


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/queue", "POST, OPTIONS"),
        ("/queue/batch", "POST, OPTIONS"),
        ("/api/tasks", "GET, HEAD, OPTIONS"),
        (f"/api/tasks/{UNKNOWN_ID}", "GET, DELETE, HEAD, OPTIONS"),
        (f"/api/tasks/{UNKNOWN_ID}/cancel", "POST, OPTIONS"),
        (f"/api/tasks/{UNKNOWN_ID}/redrive", "POST, OPTIONS"),
        ("/api/handlers", "GET, HEAD, OPTIONS"),
        ("/api/handlers/echo", "GET, HEAD, OPTIONS"),
        ("/health", "GET, HEAD, OPTIONS"),
        ("/health/live", "GET, HEAD, OPTIONS"),
        ("/health/ready", "GET, HEAD, OPTIONS"),
        ("/metrics", "GET, HEAD, OPTIONS"),
        ("/api/metrics", "GET, HEAD, OPTIONS"),
        ("/openapi.json", "GET, HEAD, OPTIONS"),
        ("/docs", "GET, HEAD, OPTIONS"),
        ("/redoc", "GET, HEAD, OPTIONS"),
        ("/", "GET, HEAD, OPTIONS"),
    ],
)
def test_a_wrong_method_is_405_and_allow_says_which_are_right(api: Client, path: str, allowed: str) -> None:
    for slash in ("", "/"):
        for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "TRACE", "CONNECT", "FROB"} - set(allowed.split(", ")):
            answer = api.generic(method, path + (slash if path != "/" else ""), b"{}")
            assert allowed in error(answer, 405)
            assert answer.headers["Allow"] == allowed
        answer = api.options(path)
        assert (answer.status_code, answer.headers["Allow"], answer.content) == (204, allowed, b"")
        assert "Content-Type" not in answer.headers


def test_a_wrong_method_on_a_static_file_is_405_in_json(api: Client) -> None:
    answer = api.post("/static/drf_spectacular_sidecar/redoc/LICENSE")
    assert error(answer, 405) == "method not allowed"
    assert answer.headers["Allow"] == "GET, HEAD"


def test_both_slash_forms_work_and_none_redirects(api: Client) -> None:
    for slash in ("", "/"):
        posted = api.post(f"/queue{slash}", b'{"type": "echo"}', content_type="application/json")
        address = f"/api/tasks/{posted.json()['task_id']}{slash}"
        assert api.get(address).status_code == 200
        assert api.get(f"/api/tasks{slash}").status_code == 200
        error(api.post(f"{address.rstrip('/')}/redrive{slash}"), 404)
        assert api.post(f"{address.rstrip('/')}/cancel{slash}").status_code == 200
        assert api.delete(address).status_code == 204
        for path in ("/health/live", "/metrics", "/api/metrics", "/openapi.json", "/docs", "/redoc"):
            assert api.get(path + slash).status_code == 200


@pytest.mark.parametrize("path", ["/api/tasks", "/health/live", "/api/metrics", f"/api/tasks/{UNKNOWN_ID}"])
@pytest.mark.parametrize("accept", ["text/html", "application/xml", "image/*;q=0.1", "nonsense", ""])
def test_whatever_is_accepted_the_answer_is_json(api: Client, path: str, accept: str) -> None:
    assert api.get(path, headers={"accept": accept}).headers["Content-Type"] == "application/json"
    assert api.get(f"{path}?format=api", headers={"accept": accept}).headers["Content-Type"] == "application/json"


@pytest.mark.parametrize("path", ["/api/tasks", "/health/live", "/metrics", "/docs", f"/api/tasks/{UNKNOWN_ID}"])
def test_head_is_get_without_a_body(api: Client, path: str) -> None:
    assert api.head(path).status_code == api.get(path).status_code


# ---- lists -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("limit=0", "limit must be an integer from 1 to 1000"),
        ("limit=1001", "limit must be"),
        ("limit=abc", "limit must be"),
        ("limit=000000010" + "9" * 100, "limit must be"),
        ("limit=%d9%a1", "limit must be"),
        ("limit=1&limit=2", "limit is given twice"),
        ("cursor=", "cursor must be the Next-Cursor of the last page"),
        ("cursor=%00", "cursor must be"),
        ("status=foo", "pending, processing, completed, failed"),
        ("status=compleeted", 'did you mean "completed"?'),
        ("status=PENDING", "status must be one of"),
        ("type=%00", "type must be the name of a handler"),
        ("type=%ed%a0%80", "type must be"),
        ("type=" + "a" * 101, "type must be"),
        ("status=failed,", 'status must be one of pending, processing, completed, failed, not ""'),
        ("status=failed,faild", 'not "faild"; did you mean "failed"?'),
        ("status=" + ",".join(["failed"] * 21), "status must have 1 to 4 values, not 21"),
        ("type=echo,%00", "type must be the name of a handler"),
        ("type=" + ",".join(["a"] * 101), "type must have 1 to 100 values, not 101"),
        ("failure_reason=timeot", 'did you mean "timeout"?'),
        ("failure_reason=", "failure_reason must be one of handler_error, retries_exhausted, timeout"),
        ("failure_reason=%00", "failure_reason must be one of"),
        ("priority_min=-1", "priority_min must be an integer from 0 to 100"),
        ("priority_min=%2B5", "priority_min must be"),
        ("priority_max=101", "priority_max must be an integer from 0 to 100"),
        ("priority_max=" + "9" * 400, "priority_max must be"),
        ("created_after=yesterday", "created_after must be a time with an offset such as 2026-01-31T09:00:00Z"),
        ("created_after=2026-01-31T09:00:00+02:00", "write + as %2B"),
        ("created_after=2026-02-30T09:00:00Z", "created_after must be"),
        ("created_after=2026-01-31T09:00:00%2B99:00", "created_after must be"),
        ("created_before=0001-01-01T00:00:00%2B23:00", "created_before must be"),
        ("created_before=9999-12-31T23:59:59-23:00", "created_before must be"),
        ("ids=", "ids must be task ids"),
        (f"ids={UNKNOWN_ID},", "ids must be task ids"),
        ("ids=" + ",".join([UNKNOWN_ID] * 201), "ids must have 1 to 200 values, not 201"),
        ("error=", "error must be a text of 1 to 1,000 characters without a NUL"),
        ("error=" + "a" * 1001, "error must be a text"),
        ("order=oldst", 'order must be one of newest, oldest, not "oldst"; did you mean "oldest"?'),
        ("order=oldest,newest", "order must be one of"),
        ("fields=id,staus", 'did you mean "status"?'),
        ("fields=", "fields must be one of id, task_type, task_data, status"),
        ("fields=position", "fields must be one of"),
        ("lmit=1", 'did you mean "limit"?'),
        ("%00=1", "the parameters are limit, cursor, status, type"),
        ("%ff=%ff", "the parameters are"),
    ],
)
def test_a_wrong_parameter_of_a_list_is_named_with_the_good_values(api: Client, query: str, said: str) -> None:
    assert said in error(api.get(f"/api/tasks?{query}"), 400)


@pytest.mark.parametrize("moment", ["2026-02-30T09:00:00Z", "9999-12-31T23:59:59-23:00", "0001-01-01T00:00:00%2B23:00"])
def test_a_moment_without_a_space_gets_no_advice_on_plus(api: Client, moment: str) -> None:
    assert "%2B" not in error(api.get(f"/api/tasks?created_after={moment}"), 400)


def test_all_faults_of_a_list_are_named_at_once(api: Client) -> None:
    wrong = (
        "limit=0&status=a,b&type=%00&failure_reason=c&priority_min=x&created_after=y&ids=z&error=&order=o&fields=f&g=h"
    )
    answer = api.get(f"/api/tasks?{wrong}")
    error(answer, 400)
    named = [fault["field"] for fault in answer.json()["details"]]
    assert sorted(named) == sorted(
        [
            "limit", "status", "status", "type", "failure_reason", "priority_min", "created_after", "ids", "error",
            "order", "fields", "g",
        ]
    )  # fmt: skip


def test_a_long_list_of_wrong_values_makes_a_short_error(api: Client) -> None:
    answer = api.get("/api/tasks?ids=" + ",".join(f"wrong{n}" for n in range(200)))
    assert error(answer, 400).endswith("and 190 more wrong values of ids")
    assert len(answer.content) < 4_000


@pytest.mark.parametrize(
    "query",
    [
        "created_after=0001-01-01T00:00:00Z", "created_before=9999-12-31T23:59:59Z",
        "created_after=1969-12-31t23:59:59.123456789z", "created_after=2026-01-31T09:00:00%2B02:00",
        "priority_min=0&priority_max=100", "ids=" + ",".join([UNKNOWN_ID] * 200), "error=%25", "type=nowhere",
    ],
)  # fmt: skip
def test_unusual_but_good_parameters_are_taken(api: Client, query: str) -> None:
    submit_many([NewTask("echo")])
    answer = api.get(f"/api/tasks?{query}")
    assert answer.status_code == 200, answer.content
    assert len(answer.json()) == (0 if query.startswith(("ids", "error", "type")) else 1)


def test_only_the_fields_asked_for_are_shown_in_their_usual_order(api: Client) -> None:
    submit_many([NewTask("echo", {"n": 1})])
    (task,) = api.get("/api/tasks?fields=status,task_data,id").json()
    assert list(task.items())[1:] == [("task_data", {"n": 1}), ("status", "pending")]
    assert list(task) == ["id", "task_data", "status"]


def test_a_page_without_data_is_not_cut_for_its_size(api: Client) -> None:
    submit_many([NewTask("echo", {"a": "x" * 900_000})] * 25)
    assert len(api.get("/api/tasks?limit=1000&fields=id,result").json()) == 25


def test_a_cursor_of_another_filter_is_a_place_in_the_same_order(api: Client) -> None:
    ids = [str(each) for each in submit_many([NewTask("echo"), NewTask("prime"), NewTask("echo")])]
    cursor = api.get("/api/tasks?type=prime,echo&limit=2").headers["Next-Cursor"]
    assert cursor == ids[1]
    assert [task["id"] for task in api.get(f"/api/tasks?type=echo&cursor={cursor}").json()] == [ids[0]]
    assert [task["id"] for task in api.get(f"/api/tasks?order=oldest&cursor={cursor}").json()] == [ids[2]]


@pytest.mark.parametrize("cursor", [uuid.UUID(int=0), uuid.UUID(int=(1 << 128) - 1)])
def test_a_cursor_at_either_end_is_the_whole_list_or_nothing(api: Client, cursor: uuid.UUID) -> None:
    submit_many([NewTask("echo")])
    found = [len(api.get(f"/api/tasks?order={order}&cursor={cursor}").json()) for order in ("oldest", "newest")]
    assert found == ([1, 0] if cursor.int == 0 else [0, 1])


# ---- hosts and origins -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "127.0.0.1.nip.io", "", "a b", "[::2]", "x" * 3000]
)
def test_a_host_that_is_not_ours_is_refused(api: Client, host: str) -> None:
    for path in ("/api/tasks", "/health", "/admin/", "/static/x"):
        assert "Host header" in error(api.get(path, headers={"host": host, "accept": "application/json"}), 400)


def test_our_own_hosts_are_good(api: Client) -> None:
    for host in ("localhost", "localhost:8080", "127.0.0.1:1", "[::1]:8080"):
        assert api.get("/api/tasks", headers={"host": host}).status_code == 200


FOREIGN = [
    {"origin": "http://evil.example"},
    {"origin": "null"},
    {"origin": "https://localhost"},
    {"origin": "http://localhost:9999"},
    {"origin": ""},
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},
]


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
def test_a_page_of_another_site_changes_nothing(api: Client, headers: dict[str, str]) -> None:
    (task,) = submit_many([NewTask("echo")])
    error(api.post("/queue", b'{"type": "echo"}', content_type="text/plain", headers=headers), 403)
    error(api.post("/queue/batch", b'{"tasks": [{"type": "echo"}]}', content_type="text/plain", headers=headers), 403)
    error(api.delete(f"/api/tasks/{task}", headers=headers), 403)
    error(api.post(f"/api/tasks/{task}/redrive", headers=headers), 403)
    error(api.post(f"/api/tasks/{task}/cancel", headers=headers), 403)
    error(api.post("/admin/login/", headers={"accept": "application/json", **headers}), 403)
    assert len(api.get("/api/tasks", headers=headers).json()) == 1


def test_our_own_pages_and_no_browser_at_all_may_post(api: Client) -> None:
    for headers in ({}, {"origin": "http://localhost"}, {"sec-fetch-site": "same-origin"}, {"sec-fetch-site": "none"}):
        answer = api.post("/queue", b'{"type": "echo"}', content_type="text/plain", headers=headers)
        assert answer.status_code == 200


def test_the_forms_of_the_admin_still_work(admin_user: Any) -> None:
    browser = Client(enforce_csrf_checks=True, SERVER_NAME="localhost")
    page = browser.get("/admin/login/")
    token = page.context["csrf_token"]
    form = {"username": "admin", "password": "password", "csrfmiddlewaretoken": str(token), "next": "/admin/"}
    answer = browser.post(
        "/admin/login/", form, headers={"origin": "http://localhost", "sec-fetch-site": "same-origin"}
    )
    assert (answer.status_code, answer.headers["Location"]) == (302, "/admin/")
    refused = browser.post("/admin/logout/", {})
    assert (refused.status_code, "The form is too old" in refused.text) == (403, True)
