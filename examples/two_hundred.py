"""Posts 200 tasks, shows the progress, collects all results: python two_hundred.py http://localhost:8080 NAME-OF-RUN"""

import contextlib
import sys

import httpx

api, ids, results = httpx.Client(base_url=sys.argv[1], timeout=90), list[str](), list[object]()
while len(results) < 200:
    with contextlib.suppress(httpx.TransportError):  # the connection was lost: the same call again
        while len(ids) < 200:
            task = {"type": "prime", "data": {"limit": 1000 + len(ids)}}
            queued = api.post("/queue", json=task, headers={"Idempotency-Key": f"{sys.argv[2]}-{len(ids)}"})
            ids.append(queued.raise_for_status().json()["task_id"])
        ended = api.get(f"/api/tasks/{ids[len(results)]}?wait=60").raise_for_status().json()
        results += [ended["result"]] * (ended["completed_at"] is not None)
        print(f"{len(results)} of {len(ids)}:", ended["result"])
