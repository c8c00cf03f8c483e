"""A handler: echoes a task's data; of the type `talk` it writes 30 lines within three seconds, and answers a number."""

import json
import sys
import time

for line in sys.stdin:
    request = json.loads(line)
    result = request["task_data"]
    if request["task_type"] == "talk":
        for number in range(30):
            print("line", number, file=sys.stderr, flush=True)
            time.sleep(0.1)
        result = {"big": 2**53 + 1}
    reply = {"task_id": request["task_id"], "status": "success", "result": result}
    print(json.dumps(reply), flush=True)
