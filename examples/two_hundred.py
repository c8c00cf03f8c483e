"""Posts 200 tasks, shows the progress, collects all results: python two_hundred.py http://localhost:8080 NAME-OF-RUN"""

import sys

from taskdaemon_client import Client

url, name = sys.argv[1:]
with Client(url) as client:
    tasks = ({"type": "prime", "data": {"limit": 1000 + n}} for n in range(200))
    queued = client.submit_many(tasks, idempotency_key=name)
    results = {task.id: task.result for task in client.as_completed(queued, progress=True)}
for each in queued:
    print(results[each.id])
