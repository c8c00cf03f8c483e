"""What our handlers run: it answers with the task's own number and the moment at which it had the line.

Like the others' tasks it does as little as one can: system calls instead of text streams, which cost 9 us a task.
"""

from __future__ import annotations

SOURCE = """
import json, os, time
decode, read, write, now = json.JSONDecoder().decode, os.read, os.write, time.monotonic
line = b''
while data := read(0, 65536):
    line += data
    if line.endswith(b'\\n'):
        number = decode(line.decode())["task_data"]["n"]
        write(1, b'{"status":"success","result":[%d,%.6f]}\\n' % (number, now()))
        line = b''
"""
COMMAND = ("python3", "-S", "-E", "-c", SOURCE)
NAME = "stamp"
