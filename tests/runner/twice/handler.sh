# The same as handler.py, for any POSIX shell whose `sleep` takes a fraction of a second.
while IFS= read -r line; do
    id=${line#*'"task_id":"'} id=${id%%'"'*}
    token=${line#*'"token":"'} token=${token%%'"'*}
    gap=${line#*'"gap":'} gap=${gap%%,*}
    whose=
    case $line in *'"named":true'*) whose=",\"task_id\":\"$id\"" ;; esac
    echo "{\"status\":\"success\",\"result\":\"$token\"$whose}"
    case $gap in
    -*) continue ;;
    0) ;;
    *) sleep "$(printf '0.%03d' "$gap")" ;;
    esac
    echo "{\"status\":\"success\",\"result\":\"$token\"$whose}"
done
