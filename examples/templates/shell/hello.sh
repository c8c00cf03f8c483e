while IFS= read -r task; do
    id=$(printf '%s\n' "$task" | sed -n 's/^{"task_id": *"\([0-9a-f-]*\)".*/\1/p')
    name=$(printf '%s\n' "$task" | sed -n 's/.*"name": *"\([A-Za-z0-9 ]*\)".*/\1/p')
    echo "greeting '$name'" >&2  # to the attempt's log
    if [ -n "$name" ]; then
        printf '{"status":"success","task_id":"%s","result":{"hello":"%s"}}\n' "$id" "$name"
    else
        printf '{"status":"error","task_id":"%s","error":"data.name must be letters, digits and blanks"}\n' "$id"
    fi
done
