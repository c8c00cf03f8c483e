#!/bin/sh
# hello: the smallest handler in shell. Data: `name`, letters, digits and blanks. Result: `hello`, the same name.
# It takes the name only where it is harmless in JSON, so it need not quote it; with more to read or to say, use jq.

while IFS= read -r task; do
    name=$(printf '%s\n' "$task" | sed -n 's/.*"name": *"\([A-Za-z0-9 ]\{1,100\}\)".*/\1/p')
    if [ -n "$name" ]; then
        printf '{"status":"success","result":{"hello":"%s"}}\n' "$name"
    else
        printf '{"status":"error","error":"data.name must be letters, digits and blanks"}\n'
    fi
done
