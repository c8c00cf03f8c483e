"""A handler that writes its task's `text` to both of its streams and replies with it.

`do`: fail (default), or result: a result of `size` letters that begins with the text.
It imports nothing outside of the standard library.
"""

import json
import sys

for line in sys.stdin:
    data = json.loads(line)["task_data"]
    text = data["text"]
    print(text, file=sys.stderr, flush=True)
    print(text, flush=True)
    if data.get("do", "fail") == "fail":
        reply = {"status": "error", "error": text, "retryable": False}
    else:
        reply = {"status": "success", "result": (text + "x" * data["size"])[: data["size"]]}
    sys.stdout.write(json.dumps(reply) + "\n")
    sys.stdout.flush()
