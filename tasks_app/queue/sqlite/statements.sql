-- What the platform sends to SQLite for its queue: each statement as it is sent. Not here are those that Django
-- composes (cancel, delete, rescue, expire, pages of lists). For reading: no program reads this file.
-- Written by: REWRITE=1 pytest tests/queue/store/test_statements.py

-- take_positions (moves.py)
-- Takes positions in the queue.
UPDATE taskdaemon_place SET value = value + ?;

-- last_position (moves.py)
-- Reads the last position that was taken.
SELECT value FROM taskdaemon_place;

-- insert (moves.py)
-- Stores new tasks without options.
INSERT INTO taskdaemon_task (id, task_type, task_data, priority, status, place, attempts, retries, clock, retry_on, created_at, ready_at, task_data_size)
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, 'pending', ?1 + key, 0, 0, '', '', ?2, ?2, value ->> 4
FROM json_each(?3);

-- insert_keys (moves.py)
-- Stores the Idempotency-Keys of requests, but for those that are stored.
INSERT INTO taskdaemon_idempotency_key (owner, key, fingerprint, task_ids, expires_at, meaning)
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5 FROM json_each(?)
WHERE true ON CONFLICT DO NOTHING RETURNING owner, key;

-- insert_rows (moves.py)
-- Stores new tasks with all their options, but for those whose unique key a living task has.
INSERT INTO taskdaemon_task (id, task_type, task_data, priority, status, place, attempts, retries, clock, retry_on, created_at, ready_at, task_data_size,
  due, due_at, expires_at, requested_timeout, requested_max_retries, tags, metadata, unique_key, callback_url, limit_key, followed, schedule, scheduled_for, callback_key)
SELECT value ->> 'id', value ->> 'task_type', value ->> 'task_data', value ->> 'priority', 'pending', value ->> 'place',
  0, 0, value ->> 'clock', '', value ->> 'created_at', value ->> 'created_at', value ->> 'size',
  value ->> 'due', value ->> 'due_at', value ->> 'expires_at', value ->> 'requested_timeout', value ->> 'requested_max_retries', value ->> 'tags', value ->> 'metadata', value ->> 'unique_key', value ->> 'callback_url', value ->> 'limit_key', value ->> 'followed', value ->> 'schedule', value ->> 'scheduled_for', value ->> 'callback_key'
FROM json_each(?) WHERE true ON CONFLICT DO NOTHING;

-- settle_completed (moves.py)
-- Stores the result of a task.
UPDATE taskdaemon_task SET status = 'completed', result = ?3, node = NULL, lease = NULL, due_at = NULL,
  completed_at = ?4, result_size = ?5
WHERE id = ?1 AND status = 'processing' AND attempts = ?2 AND followed IS NOT TRUE;

-- settle (moves.py)
-- Stores that a task failed, or that it is pending again.
UPDATE taskdaemon_task SET status = ?3, result = ?4, failure_reason = ?5, last_error = coalesce(?6, last_error),
  retries = retries + ?7, node = NULL, lease = NULL, due = ?8, due_at = ?9, ready_at = coalesce(?10, ready_at),
  completed_at = ?11, result_size = ?12
WHERE id = ?1 AND status = 'processing' AND attempts = ?2 AND followed IS NOT TRUE;

-- settle_followed (moves.py)
-- Stores how an attempt of a followed task ended.
UPDATE taskdaemon_task SET status = ?3, result = ?4, failure_reason = ?5, last_error = coalesce(?6, last_error),
  retries = retries + ?7, node = NULL, lease = NULL, due = ?8, due_at = ?9, ready_at = coalesce(?10, ready_at),
  completed_at = ?11, result_size = ?12
WHERE id = ?1 AND status = 'processing' AND attempts = ?2;

-- insert_attempts (moves.py)
-- Stores attempts that have ended, up to eight in a statement.
INSERT INTO taskdaemon_attempt (task_id, number, node, container, started_at, ended_at, outcome, error, exit_code, seconds, stdout_tail, stderr_tail, image, oom, wait_seconds, revision) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- alive (moves.py)
-- Says that a node lives.
UPDATE taskdaemon_node SET seen_at = strftime('%Y-%m-%d %H:%M:%f', 'now'), seen = ?1, clock = ?2 WHERE name = ?3;

-- renew (moves.py)
-- Renews the leases of a node's running tasks.
UPDATE taskdaemon_task SET lease = ?1, clock = ?2
WHERE id IN (SELECT value FROM json_each(?4)) AND status || '' = 'processing' AND node = ?3
RETURNING id, attempts;

-- promote (moves.py)
-- Makes a waiting task ready.
UPDATE taskdaemon_task SET due = NULL, due_at = NULL, ready_at = ?, place = coalesce(?, place)
WHERE id = ? AND status = 'pending' AND due IS NOT NULL;

-- redrive (moves.py)
-- Makes a failed task ready.
UPDATE taskdaemon_task SET status = 'pending', retries = 0, failure_reason = NULL, failure_group = NULL, completed_at = NULL, due = NULL, due_at = NULL, expires_at = NULL, place = ?2, ready_at = ?3
WHERE id = ?1 AND status = 'failed';

-- set_priority (moves.py)
-- Gives a pending task another priority.
UPDATE taskdaemon_task SET priority = ?2, place = coalesce(?3, place) WHERE id = ?1 AND status = 'pending';

-- increment (moves.py)
-- Adds to a counter.
UPDATE taskdaemon_counter SET value = value + ? WHERE id = ? AND series = ? AND slot = 0;

-- add_counts (moves.py)
-- Adds to counters of which some may have no row yet.
INSERT INTO taskdaemon_counter (slot, series, value) SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]') FROM json_each(?) WHERE true ON CONFLICT (slot, series) DO UPDATE SET value = taskdaemon_counter.value + excluded.value;

-- row_ids (moves.py)
-- Reads the ids of counters.
SELECT series, id FROM taskdaemon_counter WHERE slot = 0 AND series IN (SELECT value FROM json_each(?));

-- held (moves.py)
-- Reads which of these attempts run on a node.
SELECT value ->> 0, value ->> 1 FROM json_each(?) AS d WHERE EXISTS (
  SELECT 1 FROM taskdaemon_task AS task
  WHERE task.id = d.value ->> 0 AND task.attempts = d.value ->> 1 AND task.node = ?
);

-- add_events (moves.py)
-- Stores the log and the progress of running attempts.
INSERT INTO taskdaemon_live_event (task_id, attempt, sequence, kind, body, container, at)
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value -> 4, value ->> 5, ? FROM json_each(?) AS d
WHERE true ON CONFLICT DO NOTHING;

-- end_events (moves.py)
-- Stores the last live events of attempts.
INSERT INTO taskdaemon_live_event (task_id, attempt, sequence, kind, body, container, at)
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value -> 4, value ->> 5, ? FROM json_each(?) AS d
WHERE NOT EXISTS (SELECT 1 FROM taskdaemon_live_event AS event
  WHERE event.task_id = d.value ->> 0 AND event.attempt = d.value ->> 1 AND event.kind = 'end') ON CONFLICT DO NOTHING;

-- due (fill.py)
-- Reads which keys are due.
SELECT id, task_type, limit_key FROM taskdaemon_fill_due ORDER BY id LIMIT 1000;

-- no_longer_due (fill.py)
-- Removes these rows.
DELETE FROM taskdaemon_fill_due WHERE id <= ?;

-- note (fill.py)
-- Notes that a key is due.
INSERT INTO taskdaemon_fill_due (task_type, limit_key) VALUES (?, ?);

-- used (fill.py)
-- Counts the permits of a key.
SELECT count(*) FROM taskdaemon_permit WHERE task_type = ? AND limit_key = ?;

-- ready (fill.py)
-- Counts the ready tasks of a key that never ran.
SELECT count(*) FROM (
SELECT task.priority, permit.place, permit.task_id, permit.task_type, permit.limit_key
FROM taskdaemon_permit AS permit CROSS JOIN taskdaemon_task AS task ON task.id = permit.task_id
WHERE permit.task_type = ? AND permit.limit_key = ? AND permit.attempt IS NULL
  AND task.status || '' = 'pending' AND task.due IS NULL AND task.attempts = 0
);

-- best_held, fifo (fill.py)
-- Reads the best held tasks of a key.
SELECT priority, place, task_id, task_type, limit_key FROM taskdaemon_held_task
WHERE task_type = ? AND limit_key = ? AND NOT waits ORDER BY place LIMIT ?;

-- best_held, lifo (fill.py)
-- Reads the best held tasks of a key.
SELECT priority, place, task_id, task_type, limit_key FROM taskdaemon_held_task
WHERE task_type = ? AND limit_key = ? AND NOT waits ORDER BY place DESC LIMIT ?;

-- best_held, priority (fill.py)
-- Reads the best held tasks of a key.
SELECT priority, place, task_id, task_type, limit_key FROM taskdaemon_held_task
WHERE task_type = ? AND limit_key = ? AND NOT waits ORDER BY priority DESC, place LIMIT ?;

-- unstarted (fill.py)
-- Reads the ready tasks of a key that never ran.
SELECT task.priority, permit.place, permit.task_id, permit.task_type, permit.limit_key
FROM taskdaemon_permit AS permit CROSS JOIN taskdaemon_task AS task ON task.id = permit.task_id
WHERE permit.task_type = ? AND permit.limit_key = ? AND permit.attempt IS NULL
  AND task.status || '' = 'pending' AND task.due IS NULL AND task.attempts = 0;

-- hold_again (fill.py)
-- Holds such a task again.
UPDATE taskdaemon_task SET due = 9e999, due_at = NULL, clock = ? WHERE id = ? AND status = 'pending';

-- held_again (fill.py)
-- Stores that it is held.
INSERT INTO taskdaemon_held_task (priority, place, task_id, task_type, limit_key, waits) VALUES (?, ?, ?, ?, ?, 0);

-- no_permit (fill.py)
-- Removes its permit.
DELETE FROM taskdaemon_permit WHERE task_id = ? AND attempt IS NULL;

-- let_go (fill.py)
-- Makes a held task ready.
UPDATE taskdaemon_task SET due = NULL, ready_at = ?, place = CASE WHEN attempts = 0 THEN ? ELSE place END
WHERE id = ? AND status = 'pending' AND due = 9e999;

-- no_longer_held (fill.py)
-- Removes the row that says that it is held.
DELETE FROM taskdaemon_held_task WHERE task_id = ?;

-- permit (fill.py)
-- Gives it a permit.
INSERT INTO taskdaemon_permit (place, task_id, task_type, limit_key, since) VALUES (?, ?, ?, ?, ?);

-- best_of_type, fifo (claim.py)
-- Reads the best ready tasks of a type.
SELECT rowid, id, task_type, task_data, attempts + 1, priority, place, retries, ready_at || '',
  requested_timeout, requested_max_retries, followed IS TRUE FROM taskdaemon_task WHERE status = 'pending' AND due IS NULL AND task_type = ? AND (expires_at IS NULL OR NOT (attempts <= coalesce(unbegun_attempts, 0)) OR expires_at > strftime('%Y-%m-%d %H:%M:%f', 'now')) ORDER BY place LIMIT ?;

-- best_of_type, lifo (claim.py)
-- Reads the best ready tasks of a type.
SELECT rowid, id, task_type, task_data, attempts + 1, priority, place, retries, ready_at || '',
  requested_timeout, requested_max_retries, followed IS TRUE FROM taskdaemon_task WHERE status = 'pending' AND due IS NULL AND task_type = ? AND (expires_at IS NULL OR NOT (attempts <= coalesce(unbegun_attempts, 0)) OR expires_at > strftime('%Y-%m-%d %H:%M:%f', 'now')) ORDER BY place DESC LIMIT ?;

-- best_of_type, priority (claim.py)
-- Reads the best ready tasks of a type.
SELECT rowid, id, task_type, task_data, attempts + 1, priority, place, retries, ready_at || '',
  requested_timeout, requested_max_retries, followed IS TRUE FROM taskdaemon_task WHERE status = 'pending' AND due IS NULL AND task_type = ? AND (expires_at IS NULL OR NOT (attempts <= coalesce(unbegun_attempts, 0)) OR expires_at > strftime('%Y-%m-%d %H:%M:%f', 'now')) ORDER BY priority DESC, place LIMIT ?;

-- positions_of_type, fifo (claim.py)
-- Reads only their positions, for a node with a limit over all types.
SELECT id, priority, place FROM taskdaemon_task WHERE status = 'pending' AND due IS NULL AND task_type = ? AND (expires_at IS NULL OR NOT (attempts <= coalesce(unbegun_attempts, 0)) OR expires_at > strftime('%Y-%m-%d %H:%M:%f', 'now')) ORDER BY place LIMIT ?;

-- positions_of_type, lifo (claim.py)
-- Reads only their positions, for a node with a limit over all types.
SELECT id, priority, place FROM taskdaemon_task WHERE status = 'pending' AND due IS NULL AND task_type = ? AND (expires_at IS NULL OR NOT (attempts <= coalesce(unbegun_attempts, 0)) OR expires_at > strftime('%Y-%m-%d %H:%M:%f', 'now')) ORDER BY place DESC LIMIT ?;

-- positions_of_type, priority (claim.py)
-- Reads only their positions, for a node with a limit over all types.
SELECT id, priority, place FROM taskdaemon_task WHERE status = 'pending' AND due IS NULL AND task_type = ? AND (expires_at IS NULL OR NOT (attempts <= coalesce(unbegun_attempts, 0)) OR expires_at > strftime('%Y-%m-%d %H:%M:%f', 'now')) ORDER BY priority DESC, place LIMIT ?;

-- claim (claim.py)
-- Claims such a task for a node.
UPDATE taskdaemon_task SET status = 'processing', attempts = attempts + 1, node = ?, lease = ?, clock = ?,
  started_at = ?, timeout = ?, max_retries = ?, retry_backoff = ?, retry_on = ?
WHERE rowid = ?;

-- ready_types (claim.py)
-- Reads which types have ready tasks.
SELECT w.value FROM json_each(?) AS w
WHERE EXISTS (SELECT 1 FROM taskdaemon_task WHERE status = 'pending' AND due IS NULL AND task_type = w.value);

-- due_work_statement (readings.py)
-- The beat of a node, about once a second: what is due, and what is on hold.
SELECT
  :now AS now,
  (SELECT due FROM taskdaemon_task
    WHERE status = 'pending' AND due IS NOT NULL AND clock = :clock  ORDER BY due LIMIT 1) AS next_due,
  (SELECT json_group_array(node) FROM (SELECT DISTINCT node FROM taskdaemon_task WHERE status = 'processing' AND node <> :node ORDER BY node) AS holder) AS holders,
  EXISTS (SELECT 1 FROM (SELECT 1 FROM taskdaemon_task
    WHERE status = 'pending' AND due IS NOT NULL AND clock < :clock AND due_at <= strftime('%Y-%m-%d %H:%M:%f', 'now') ORDER BY clock LIMIT 1) AS found)
  OR EXISTS (SELECT 1 FROM (SELECT 1 FROM taskdaemon_task
    WHERE status = 'pending' AND due IS NOT NULL AND clock > :clock AND clock < '~' AND due_at <= strftime('%Y-%m-%d %H:%M:%f', 'now') ORDER BY clock LIMIT 1) AS found) AS due_on_old_clock,
  EXISTS (SELECT 1 FROM (SELECT 1 FROM taskdaemon_task
    WHERE status = 'processing' AND (lease < :now OR lease > :now + 1200.0 OR clock <> :clock)
    ORDER BY node LIMIT 1) AS c) AS lost,
  (SELECT expires_at FROM taskdaemon_task
    WHERE status = 'pending' AND expires_at IS NOT NULL AND attempts <= coalesce(unbegun_attempts, 0) 
    ORDER BY expires_at LIMIT 1) <= strftime('%Y-%m-%d %H:%M:%f', 'now') AS expired,
  (SELECT expires_at FROM taskdaemon_idempotency_key ORDER BY expires_at LIMIT 1) <= strftime('%Y-%m-%d %H:%M:%f', 'now') AS old_keys,
  EXISTS (SELECT 1 FROM taskdaemon_node WHERE stopped_at IS NULL AND name <> :node) AS peers,
  EXISTS (SELECT 1 FROM taskdaemon_node WHERE stopped_at < strftime('%Y-%m-%d %H:%M:%f', 'now', '-30 days')) AS old_nodes,
  (SELECT at FROM taskdaemon_live_event WHERE kind = 'end' ORDER BY at LIMIT 1) <= strftime('%Y-%m-%d %H:%M:%f', 'now', '-60 seconds') AS old_live_events,
  CASE WHEN (SELECT next_at FROM taskdaemon_schedule WHERE next_at IS NOT NULL ORDER BY next_at LIMIT 1) <= strftime('%Y-%m-%d %H:%M:%f', 'now') THEN 'ticks ' ELSE '' END
  || CASE WHEN (SELECT next_at FROM taskdaemon_callback WHERE status = 'pending' ORDER BY next_at LIMIT 1) <= strftime('%Y-%m-%d %H:%M:%f', 'now') THEN 'callbacks ' ELSE '' END
  || CASE WHEN EXISTS (SELECT 1 FROM taskdaemon_fill_due) THEN 'keys_due ' ELSE '' END
  || CASE WHEN (SELECT id FROM taskdaemon_operation WHERE state = 'running' ORDER BY id LIMIT 1) IS NOT NULL THEN 'operations ' ELSE '' END
  || CASE WHEN EXISTS (SELECT 1 FROM taskdaemon_ungrouped_failure) THEN 'kept_failures ' ELSE '' END
  || CASE WHEN NOT EXISTS (SELECT 1 FROM taskdaemon_history WHERE minute = CAST(strftime('%s', 'now') AS integer) / 60) THEN 'history ' ELSE '' END
  || CASE WHEN EXISTS (SELECT 1 FROM (SELECT 1 FROM taskdaemon_task
    WHERE callback_url IS NOT NULL AND completed_at IS NOT NULL AND (callback_told IS NULL OR callback_told < completed_at OR callback_told > completed_at)  ORDER BY completed_at LIMIT 1) AS found) THEN 'untold ' ELSE '' END
  || CASE WHEN EXISTS (SELECT 1 FROM (SELECT 1 FROM taskdaemon_task
    WHERE status = 'failed' AND failure_group IS NULL  ORDER BY completed_at LIMIT 1) AS found) THEN 'ungrouped ' ELSE '' END
  || '' AS features,
  CAST(strftime('%s', 'now') AS integer) / 60 AS minute,
  coalesce((SELECT max(id) FROM taskdaemon_reload), 0) AS reload,
  (SELECT json_group_array(handler) FROM taskdaemon_handler_pause WHERE until IS NULL OR until > strftime('%Y-%m-%d %H:%M:%f', 'now')) AS paused,
  EXISTS (SELECT 1 FROM taskdaemon_node WHERE name = :node AND drain_requested_at IS NOT NULL) AS drained,
  (SELECT CAST(drained_types AS text) FROM taskdaemon_node WHERE name = :node) AS drained_types,
  (SELECT json_group_array(json_array(type, places, seconds)) FROM (
SELECT held.handler AS type,
  CASE WHEN held.max_running IS NULL THEN NULL WHEN held.running >= held.max_running THEN 0
    ELSE held.max_running - held.running END AS places,
  CASE WHEN held.interval IS NULL THEN NULL WHEN held.last_start IS NULL OR held.last_start > :now THEN 0
    ELSE held.last_start + held.interval - :now END AS seconds
FROM (
  SELECT handler, max_running, interval, last_start, CASE WHEN max_running IS NOT NULL THEN (
    SELECT count(*) FROM taskdaemon_running_permit AS permit WHERE permit.task_type = taskdaemon_limit.handler
  ) END AS running
  FROM taskdaemon_limit WHERE max_running IS NOT NULL OR interval IS NOT NULL
) AS held
) AS limited) AS limits;

-- on_hold_statement (readings.py)
-- Reads what a node must not start.
SELECT
  (SELECT json_group_array(handler) FROM taskdaemon_handler_pause WHERE until IS NULL OR until > strftime('%Y-%m-%d %H:%M:%f', 'now')) AS paused,
  EXISTS (SELECT 1 FROM taskdaemon_node WHERE name = :node AND drain_requested_at IS NOT NULL) AS drained,
  (SELECT CAST(drained_types AS text) FROM taskdaemon_node WHERE name = :node) AS drained_types,
  (SELECT json_group_array(json_array(type, places, seconds)) FROM (
SELECT held.handler AS type,
  CASE WHEN held.max_running IS NULL THEN NULL WHEN held.running >= held.max_running THEN 0
    ELSE held.max_running - held.running END AS places,
  CASE WHEN held.interval IS NULL THEN NULL WHEN held.last_start IS NULL OR held.last_start > :now THEN 0
    ELSE held.last_start + held.interval - :now END AS seconds
FROM (
  SELECT handler, max_running, interval, last_start, CASE WHEN max_running IS NOT NULL THEN (
    SELECT count(*) FROM taskdaemon_running_permit AS permit WHERE permit.task_type = taskdaemon_limit.handler
  ) END AS running
  FROM taskdaemon_limit WHERE max_running IS NOT NULL OR interval IS NOT NULL
) AS held
) AS limited) AS limits;

-- reading (readings.py)
-- Reads counters and queues, for metrics and the dashboard.
SELECT 'total' AS kind, series AS name, '' AS detail, CAST(sum(value) AS bigint) AS n,
  CAST(NULL AS double precision) AS age
FROM taskdaemon_counter GROUP BY series
UNION ALL
SELECT 'ready', g.task_type, '', g.n, (
  SELECT (julianday('now') - julianday(min(ready_at))) * 86400.0 FROM (
    SELECT ready_at FROM (
      SELECT ready_at FROM taskdaemon_task
      WHERE status = 'pending' AND due IS NULL AND task_type = g.task_type AND attempts = 0 ORDER BY place LIMIT 1
    ) AS new
    UNION ALL
    SELECT ready_at FROM (
      SELECT ready_at FROM taskdaemon_task
      WHERE status = 'pending' AND due IS NULL AND attempts > 0 AND task_type = g.task_type ORDER BY ready_at LIMIT 1
    ) AS again
  ) AS first
) FROM (
  SELECT task_type, count(*) AS n FROM taskdaemon_task WHERE status = 'pending' AND due IS NULL GROUP BY task_type
) AS g
UNION ALL
SELECT CASE WHEN due <= 1e300 THEN 'waiting' ELSE 'held' END, task_type, '', count(*), NULL FROM taskdaemon_task
WHERE status = 'pending' AND due IS NOT NULL GROUP BY 1, task_type
UNION ALL
SELECT 'running', task_type, node, count(*), NULL FROM (SELECT id, task_type, node FROM taskdaemon_task WHERE status = 'processing') AS running GROUP BY task_type, node;

-- runs (readings.py)
-- Reads all running tasks.
SELECT id, task_type, node FROM taskdaemon_task WHERE status = 'processing';

-- statement, fifo (readings.py)
-- Counts the ready tasks that come before a task.
SELECT count(*) FROM (SELECT * FROM (SELECT * FROM (SELECT 1 FROM taskdaemon_task WHERE status = 'pending' AND due IS NULL AND task_type = :type AND (expires_at IS NULL OR NOT (attempts <= coalesce(unbegun_attempts, 0)) OR expires_at > strftime('%Y-%m-%d %H:%M:%f', 'now')) AND place < :position ORDER BY place DESC LIMIT :limit)) LIMIT :limit);

-- statement, lifo (readings.py)
-- Counts the ready tasks that come before a task.
SELECT count(*) FROM (SELECT * FROM (SELECT * FROM (SELECT 1 FROM taskdaemon_task WHERE status = 'pending' AND due IS NULL AND task_type = :type AND (expires_at IS NULL OR NOT (attempts <= coalesce(unbegun_attempts, 0)) OR expires_at > strftime('%Y-%m-%d %H:%M:%f', 'now')) AND place > :position ORDER BY place LIMIT :limit)) LIMIT :limit);

-- statement, priority (readings.py)
-- Counts the ready tasks that come before a task.
SELECT count(*) FROM (SELECT * FROM (SELECT * FROM (SELECT 1 FROM taskdaemon_task WHERE status = 'pending' AND due IS NULL AND task_type = :type AND (expires_at IS NULL OR NOT (attempts <= coalesce(unbegun_attempts, 0)) OR expires_at > strftime('%Y-%m-%d %H:%M:%f', 'now')) AND priority = :priority AND place < :position ORDER BY place DESC LIMIT :limit) UNION ALL SELECT * FROM (SELECT 1 FROM taskdaemon_task WHERE status = 'pending' AND due IS NULL AND task_type = :type AND (expires_at IS NULL OR NOT (attempts <= coalesce(unbegun_attempts, 0)) OR expires_at > strftime('%Y-%m-%d %H:%M:%f', 'now')) AND priority > :priority ORDER BY priority, place DESC LIMIT :limit)) LIMIT :limit);

-- read_versions (readings.py)
-- Reads a text for each task that changes with it, for requests that wait for a change.
SELECT value, (
  SELECT status || ' ' || attempts || ' ' || coalesce(CAST(completed_at AS text), '') || ' ' || coalesce((
    SELECT max(sequence) FROM taskdaemon_live_event AS event
    WHERE event.task_id = task.id AND event.attempt = task.attempts), 0)
  FROM taskdaemon_task AS task WHERE task.id = watched.value
) FROM json_each(?) AS watched;

-- read_final_or_gone (readings.py)
-- Reads which tasks have ended, for requests that wait for an end.
SELECT value FROM json_each(?) AS watched WHERE coalesce(
  (SELECT status IN ('completed', 'failed') FROM taskdaemon_task AS task WHERE task.id = watched.value), 1
);

-- read_data (readings.py)
-- Reads the data of a task, which may be large.
SELECT task_data FROM taskdaemon_task WHERE id = ?;

-- update_node (session.py)
-- Writes a node's state.
UPDATE taskdaemon_node SET pools = ?1, draining = ?2, problems = ?3, stopped_at = NULL,
  seen_at = strftime('%Y-%m-%d %H:%M:%f', 'now'), seen = ?5, clock = ?6
WHERE name = ?4 RETURNING 1;
