#!/bin/sh
# hello: the smallest handler in shell. Data: `name`, letters, digits and blanks. Result: `hello`, the same name.
# It accepts only names that need no quoting in JSON; for more, use jq.
# Each reply names its task, so that it cannot be taken for another task's.

while IFS= read -r task; do
    id=$(printf '%s\n' "$task" | sed -n 's/.*"task_id": *"\([0-9a-f-]\{36\}\)".*/\1/p')
    name=$(printf '%s\n' "$task" | sed -n 's/.*"name": *"\([A-Za-z0-9 ]\{1,100\}\)".*/\1/p')
    if [ -n "$name" ]; then
        printf '{"status":"success","task_id":"%s","result":{"hello":"%s"}}\n' "$id" "$name"
    else
        printf '{"status":"error","task_id":"%s","error":"data.name must be letters, digits and blanks"}\n' "$id"
    fi
done
