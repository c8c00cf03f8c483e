"""Answers with the task's token, and `gap` milliseconds later again, unless it is below 0. `named`: both say whose."""

import json
import sys
import time

for line in sys.stdin:
    task = json.loads(line)
    data = task["task_data"]
    whose = {"task_id": task["task_id"]} if data["named"] else {}
    text = json.dumps({"status": "success", "result": data["token"]} | whose)
    print(text, flush=True)
    if data["gap"] >= 0:
        if data["gap"]:
            time.sleep(data["gap"] / 1000)
        print(text, flush=True)
