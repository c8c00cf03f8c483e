-- What the platform sends to PostgreSQL for its queue: each statement as it is sent. Not here are those that Django
-- composes (cancel, delete, rescue, expire, pages of lists). For reading: no program reads this file.
-- Written by: REWRITE=1 pytest tests/queue/store/test_statements.py

-- insert (moves.py)
-- Stores new tasks without options, and counts them.
WITH new AS (
  SELECT id, task_type, task_data, priority, size, ordinal, clock_timestamp() AS moment
  FROM ROWS FROM (json_to_recordset($1::json) AS (id uuid, type text, data jsonb, priority int, size int))
    WITH ORDINALITY AS n(id, task_type, task_data, priority, size, ordinal)
  ORDER BY ordinal
), counted AS (
  INSERT INTO taskdaemon_counter_delta (counts) VALUES ($2)
)
INSERT INTO taskdaemon_task (id, task_type, task_data, priority, status, place, attempts, retries, clock, retry_on, created_at, ready_at, task_data_size)
SELECT id, task_type, task_data, priority, 'pending', nextval('taskdaemon_place'), 0, 0, '', '',
  moment, moment, size FROM new;

-- insert_keyed (moves.py)
-- Stores requests with an Idempotency-Key and their tasks, but for keys that are stored.
WITH won AS (
  INSERT INTO taskdaemon_idempotency_key (owner, key, fingerprint, task_ids, expires_at, meaning)
  SELECT owner, key, fingerprint, task_ids, expires_at, meaning
  FROM ROWS FROM (json_to_recordset($1::json) AS (
      owner bigint, key text, fingerprint text, task_ids jsonb, expires_at timestamptz, meaning text
    )) WITH ORDINALITY AS k(owner, key, fingerprint, task_ids, expires_at, meaning, ordinal)
  ORDER BY ordinal
  ON CONFLICT DO NOTHING RETURNING owner, key
), new AS MATERIALIZED (
  SELECT id, task_type, task_data, priority, size, ordinal, clock_timestamp() AS moment
  FROM ROWS FROM (json_to_recordset($2::json) AS (
      id uuid, type text, data jsonb, priority int, size int, owner bigint, key text
    )) WITH ORDINALITY AS n(id, task_type, task_data, priority, size, owner, key, ordinal)
  JOIN won USING (owner, key)
  ORDER BY ordinal
), counted AS (
  INSERT INTO taskdaemon_counter_delta (counts)
  SELECT json_object_agg('received|' || task_type, count)::text
  FROM (SELECT task_type, count(*) AS count FROM new GROUP BY task_type) AS types HAVING count(*) > 0
), stored AS (
  INSERT INTO taskdaemon_task (id, task_type, task_data, priority, status, place, attempts, retries, clock, retry_on, created_at, ready_at, task_data_size)
  SELECT id, task_type, task_data, priority, 'pending', nextval('taskdaemon_place'), 0, 0, '', '',
    moment, moment, size FROM new
)
SELECT owner, key FROM won;

-- insert_rows (moves.py)
-- Stores new tasks with all their options, but for those whose unique key a living task has.
INSERT INTO taskdaemon_task (id, task_type, task_data, priority, status, place, attempts, retries, clock, retry_on, created_at, ready_at, task_data_size,
  due, due_at, expires_at, requested_timeout, requested_max_retries, tags, metadata, unique_key, callback_url,
  limit_key, followed, schedule, scheduled_for, callback_key)
SELECT id, task_type, task_data, priority, 'pending', place, 0, 0, clock, '', created_at, created_at, size,
  due, due_at, expires_at, requested_timeout, requested_max_retries, tags, metadata, unique_key, callback_url,
  limit_key, followed, schedule, scheduled_for, callback_key
FROM ROWS FROM (json_to_recordset($1::json) AS (
  id uuid, task_type text, task_data jsonb, priority int, place bigint, created_at timestamptz, clock text, size int,
  due float8, due_at timestamptz, expires_at timestamptz, requested_timeout float8, requested_max_retries int, tags
  jsonb, metadata jsonb, unique_key text, callback_url text, limit_key text, followed boolean, schedule text,
  scheduled_for timestamptz, callback_key bigint
)) WITH ORDINALITY AS n(
  id, task_type, task_data, priority, place, created_at, clock, size, due, due_at, expires_at, requested_timeout,
  requested_max_retries, tags, metadata, unique_key, callback_url, limit_key, followed, schedule, scheduled_for,
  callback_key, ordinal)
ORDER BY ordinal
ON CONFLICT DO NOTHING;

-- lock (moves.py)
-- Says that this transaction will write tasks, before it takes positions.
LOCK TABLE taskdaemon_task IN ROW EXCLUSIVE MODE;

-- next_positions (moves.py)
-- Takes positions in the queue.
SELECT nextval('taskdaemon_place') FROM generate_series(1, %s);

-- settle_all (moves.py)
-- Stores how attempts ended, with their tasks and counters; fails if one does not match.
WITH d AS (
  SELECT d.*, clock_timestamp() AS moment FROM (SELECT * FROM (SELECT * FROM json_to_recordset($1::json) AS listed(id uuid, number int, status text, result text, error text, reason text, pause float8, spent int, outcome text, container text, image text, exit_code int, oom bool, wait float8, seconds float8, out text, err text, size int, revision text) LIMIT $4::int) AS tenth LIMIT $4::int) AS d
), kept AS (
  UPDATE taskdaemon_task AS t SET status = d.status, result = d.result::jsonb, result_size = d.size,
    failure_reason = d.reason, last_error = coalesce(d.error, t.last_error), retries = t.retries + d.spent,
    node = NULL, lease = NULL,
    due = CASE WHEN d.pause > 0 THEN extract(epoch from d.moment)::float8 + d.pause END,
    due_at = CASE WHEN d.pause > 0 THEN d.moment + d.pause * interval '1 second' END,
    ready_at = CASE WHEN d.status = 'pending' AND d.pause = 0 THEN d.moment ELSE t.ready_at END,
    completed_at = CASE WHEN d.status <> 'pending' THEN d.moment END
  FROM d WHERE t.id = d.id AND coalesce(t.status) = 'processing' AND t.attempts = d.number
    AND t.followed IS NOT TRUE
  RETURNING d.*, t.started_at
), tried AS (
  INSERT INTO taskdaemon_attempt (task_id, number, node, container, image, started_at, ended_at, outcome, error,
    exit_code, oom, wait_seconds, seconds, stdout_tail, stderr_tail, revision)
  SELECT id, number, $2, container, image, started_at, moment, outcome, coalesce(error, ''),
    exit_code, oom, wait, seconds, out, err, revision FROM kept
), counted AS (
  INSERT INTO taskdaemon_counter_delta (counts) SELECT $3 WHERE (SELECT count(*) FROM kept) = $4::int
)
SELECT id::text, number, 1 / ((SELECT count(*) FROM kept) = $4::int)::int FROM kept;

-- settle_any (moves.py)
-- The same for those attempts that match their tasks, after SETTLE_ALL has failed.
WITH d AS (
  SELECT d.*, clock_timestamp() AS moment FROM (SELECT * FROM (SELECT * FROM json_to_recordset($1::json) AS listed(id uuid, number int, status text, result text, error text, reason text, pause float8, spent int, outcome text, container text, image text, exit_code int, oom bool, wait float8, seconds float8, out text, err text, size int, revision text) LIMIT $4::int) AS tenth LIMIT $4::int) AS d
), kept AS (
  UPDATE taskdaemon_task AS t SET status = d.status, result = d.result::jsonb, result_size = d.size,
    failure_reason = d.reason, last_error = coalesce(d.error, t.last_error), retries = t.retries + d.spent,
    node = NULL, lease = NULL,
    due = CASE WHEN d.pause > 0 THEN extract(epoch from d.moment)::float8 + d.pause END,
    due_at = CASE WHEN d.pause > 0 THEN d.moment + d.pause * interval '1 second' END,
    ready_at = CASE WHEN d.status = 'pending' AND d.pause = 0 THEN d.moment ELSE t.ready_at END,
    completed_at = CASE WHEN d.status <> 'pending' THEN d.moment END
  FROM d WHERE t.id = d.id AND coalesce(t.status) = 'processing' AND t.attempts = d.number
    AND t.followed IS NOT TRUE
  RETURNING d.*, t.started_at
), tried AS (
  INSERT INTO taskdaemon_attempt (task_id, number, node, container, image, started_at, ended_at, outcome, error,
    exit_code, oom, wait_seconds, seconds, stdout_tail, stderr_tail, revision)
  SELECT id, number, $2, container, image, started_at, moment, outcome, coalesce(error, ''),
    exit_code, oom, wait, seconds, out, err, revision FROM kept
), counted AS (
  INSERT INTO taskdaemon_counter_delta (counts) SELECT $3 WHERE (SELECT count(*) FROM kept) = $4::int
)
SELECT id::text, number, 1 FROM kept;

-- settle_followed (moves.py)
-- The same for followed tasks, in the transaction in which their followers are told.
WITH d AS (
  SELECT d.*, clock_timestamp() AS moment FROM (SELECT * FROM (SELECT * FROM json_to_recordset($1::json) AS listed(id uuid, number int, status text, result text, error text, reason text, pause float8, spent int, outcome text, container text, image text, exit_code int, oom bool, wait float8, seconds float8, out text, err text, size int, revision text) LIMIT $4::int) AS tenth LIMIT $4::int) AS d
), kept AS (
  UPDATE taskdaemon_task AS t SET status = d.status, result = d.result::jsonb, result_size = d.size,
    failure_reason = d.reason, last_error = coalesce(d.error, t.last_error), retries = t.retries + d.spent,
    node = NULL, lease = NULL,
    due = CASE WHEN d.pause > 0 THEN extract(epoch from d.moment)::float8 + d.pause END,
    due_at = CASE WHEN d.pause > 0 THEN d.moment + d.pause * interval '1 second' END,
    ready_at = CASE WHEN d.status = 'pending' AND d.pause = 0 THEN d.moment ELSE t.ready_at END,
    completed_at = CASE WHEN d.status <> 'pending' THEN d.moment END
  FROM d WHERE t.id = d.id AND coalesce(t.status) = 'processing' AND t.attempts = d.number
  RETURNING d.*, t.started_at
), tried AS (
  INSERT INTO taskdaemon_attempt (task_id, number, node, container, image, started_at, ended_at, outcome, error,
    exit_code, oom, wait_seconds, seconds, stdout_tail, stderr_tail, revision)
  SELECT id, number, $2, container, image, started_at, moment, outcome, coalesce(error, ''),
    exit_code, oom, wait, seconds, out, err, revision FROM kept
), counted AS (
  INSERT INTO taskdaemon_counter_delta (counts) SELECT $3 WHERE (SELECT count(*) FROM kept) = $4::int
)
SELECT id::text, number, 1 FROM kept;

-- renew (moves.py)
-- Renews the leases of a node's running tasks, and says that the node lives.
WITH alive AS (
  UPDATE taskdaemon_node SET seen_at = clock_timestamp(), seen = extract(epoch from clock_timestamp())::float8, clock = 'server'
  WHERE name = (SELECT name FROM taskdaemon_node WHERE name = $2::text FOR NO KEY UPDATE SKIP LOCKED)
), kept AS (
  SELECT listed.id, listed.lease FROM (SELECT * FROM (SELECT * FROM json_to_recordset($1::json) AS listed(id uuid, lease float8) LIMIT json_array_length($1::json)) AS tenth LIMIT json_array_length($1::json)) AS listed
  CROSS JOIN LATERAL (
    SELECT FROM taskdaemon_task AS task WHERE task.id = listed.id AND task.node = $2::text
    FOR NO KEY UPDATE SKIP LOCKED
  ) AS running
)
UPDATE taskdaemon_task AS task SET lease = extract(epoch from clock_timestamp())::float8 + kept.lease, clock = 'server'
FROM kept WHERE task.id = kept.id
RETURNING task.id::text, task.attempts;

-- promoter (moves.py)
-- Asks whether this is the only process that makes waiting tasks ready.
SELECT pg_try_advisory_xact_lock(7468, 3);

-- promote (moves.py)
-- Makes waiting tasks ready.
UPDATE taskdaemon_task AS task
SET due = NULL, due_at = NULL, ready_at = clock_timestamp(), place = coalesce(ready.place, task.place)
FROM (SELECT * FROM (SELECT * FROM json_to_recordset($1::json) AS listed(id uuid, place bigint) LIMIT json_array_length($1::json)) AS tenth LIMIT json_array_length($1::json)) AS ready
WHERE task.id = ready.id AND coalesce(task.status) = 'pending' AND coalesce(task.due) IS NOT NULL;

-- redrive (moves.py)
-- Makes failed tasks ready.
UPDATE taskdaemon_task AS task
SET status = 'pending', retries = 0, failure_reason = NULL, failure_group = NULL, completed_at = NULL, due = NULL, due_at = NULL, expires_at = NULL, place = again.place, ready_at = clock_timestamp()
FROM (SELECT * FROM (SELECT * FROM json_to_recordset($1::json) AS listed(id uuid, place bigint) LIMIT json_array_length($1::json)) AS tenth LIMIT json_array_length($1::json)) AS again
WHERE task.id = again.id AND coalesce(task.status) = 'failed'
RETURNING task.id;

-- set_priority (moves.py)
-- Gives pending tasks another priority.
UPDATE taskdaemon_task AS task
SET priority = $2::int, place = coalesce(changed.place, task.place)
FROM (SELECT * FROM (SELECT * FROM json_to_recordset($1::json) AS listed(id uuid, place bigint) LIMIT json_array_length($1::json)) AS tenth LIMIT json_array_length($1::json)) AS changed
WHERE task.id = changed.id AND coalesce(task.status) = 'pending'
RETURNING task.id;

-- add_events (moves.py)
-- Stores the log and the progress of running attempts.
WITH held AS (
  SELECT d.id, d.attempt FROM json_to_recordset($1::json) AS d(id uuid, attempt int)
  CROSS JOIN LATERAL (
    SELECT FROM taskdaemon_task AS task
    WHERE task.id = d.id AND task.attempts = d.attempt AND task.node = $3::text
    FOR KEY SHARE SKIP LOCKED
  ) AS running
), added AS (
  INSERT INTO taskdaemon_live_event (task_id, attempt, sequence, kind, body, container, at)
  SELECT d.task, d.attempt, d.sequence, d.kind, d.body, d.container, clock_timestamp()
  FROM json_to_recordset($2::json) AS
    d(task uuid, attempt int, sequence int, kind text, body jsonb, container text)
  WHERE (d.task, d.attempt) IN (SELECT id, attempt FROM held)
  ORDER BY 1, 2, 3 ON CONFLICT DO NOTHING
)
SELECT id::text, attempt FROM held;

-- end_events (moves.py)
-- Stores the last live events of attempts.
INSERT INTO taskdaemon_live_event (task_id, attempt, sequence, kind, body, container, at)
SELECT d.task, d.attempt, d.sequence, d.kind, d.body, d.container, clock_timestamp()
FROM json_to_recordset($1::json) AS
  d(task uuid, attempt int, sequence int, kind text, body jsonb, container text)
WHERE NOT EXISTS (SELECT FROM taskdaemon_live_event AS event
    WHERE event.task_id = d.task AND event.attempt = d.attempt AND event.kind = 'end')
ORDER BY 1, 2, 3 ON CONFLICT DO NOTHING;

-- alone (fill.py)
-- Waits until no other session fills.
SELECT pg_advisory_xact_lock(7468, 4), set_config('idle_in_transaction_session_timeout', '5000', true);

-- due (fill.py)
-- Reads which keys are due.
SELECT coalesce(json_agg(due.id)::text, '[]'), coalesce(json_agg(DISTINCT due.task_type)::text, '[]')
FROM (SELECT id, task_type FROM taskdaemon_fill_due ORDER BY id LIMIT 1000) AS due;

-- take_back_statement, fifo (fill.py)
-- Holds ready tasks that never ran again, if better ones of their keys are held.
WITH key AS MATERIALIZED (
  SELECT due.task_type, due.limit_key, counted.permits > limited.permits OR counted.ready > limited.ready AS too_many
  FROM (SELECT DISTINCT task_type, limit_key FROM taskdaemon_fill_due WHERE id = ANY($2::bigint[])) AS due
  JOIN json_to_recordset($1::json) AS limited(type text, permits int, ready int) ON limited.type = due.task_type
  CROSS JOIN LATERAL (SELECT 
  CASE WHEN limited.permits IS NOT NULL THEN (
    SELECT count(*) FROM taskdaemon_permit AS permit
    WHERE permit.task_type = due.task_type AND permit.limit_key = due.limit_key
  ) END AS permits,
  CASE WHEN limited.ready IS NOT NULL THEN (
    SELECT count(*) FROM taskdaemon_permit AS permit CROSS JOIN LATERAL (
      SELECT FROM taskdaemon_task AS task
      WHERE task.id = permit.task_id AND coalesce(task.status) = 'pending' AND task.due IS NULL AND task.attempts = 0
    ) AS task
    WHERE permit.task_type = due.task_type AND permit.limit_key = due.limit_key AND permit.attempt IS NULL
  ) END AS ready
) AS counted
), unstarted AS MATERIALIZED (
  SELECT permit.id, permit.task_id, permit.task_type, permit.limit_key, permit.place, task.priority
  FROM key
  LEFT JOIN LATERAL (
    SELECT held.priority, held.place FROM taskdaemon_held_task AS held
    WHERE held.task_type = key.task_type AND held.limit_key = key.limit_key AND NOT held.waits
    ORDER BY place LIMIT 1
  ) AS best ON true
  CROSS JOIN LATERAL (
    SELECT * FROM taskdaemon_permit AS permit
    WHERE permit.task_type = key.task_type AND permit.limit_key = key.limit_key AND permit.attempt IS NULL
  ) AS permit
  CROSS JOIN LATERAL (
    SELECT priority FROM taskdaemon_task AS task
    WHERE task.id = permit.task_id AND coalesce(task.status) = 'pending' AND task.due IS NULL AND task.attempts = 0
      AND (key.too_many OR best.place < permit.place)
    FOR NO KEY UPDATE SKIP LOCKED
  ) AS task
  LIMIT 1000
), no_permit AS (
  DELETE FROM taskdaemon_permit WHERE id = ANY(ARRAY(SELECT id FROM unstarted))
), held AS (
  INSERT INTO taskdaemon_held_task (task_id, task_type, limit_key, priority, place, waits)
  SELECT task_id, task_type, limit_key, priority, place, false FROM unstarted
), due AS (
  INSERT INTO taskdaemon_fill_due (task_type, limit_key)
  SELECT DISTINCT task_type, limit_key FROM unstarted WHERE (SELECT count(*) FROM unstarted) >= 1000
)
UPDATE taskdaemon_task AS task SET due = 'infinity', due_at = NULL, clock = 'server'
FROM unstarted WHERE task.id = unstarted.task_id;

-- take_back_statement, lifo (fill.py)
-- Holds ready tasks that never ran again, if better ones of their keys are held.
WITH key AS MATERIALIZED (
  SELECT due.task_type, due.limit_key, counted.permits > limited.permits OR counted.ready > limited.ready AS too_many
  FROM (SELECT DISTINCT task_type, limit_key FROM taskdaemon_fill_due WHERE id = ANY($2::bigint[])) AS due
  JOIN json_to_recordset($1::json) AS limited(type text, permits int, ready int) ON limited.type = due.task_type
  CROSS JOIN LATERAL (SELECT 
  CASE WHEN limited.permits IS NOT NULL THEN (
    SELECT count(*) FROM taskdaemon_permit AS permit
    WHERE permit.task_type = due.task_type AND permit.limit_key = due.limit_key
  ) END AS permits,
  CASE WHEN limited.ready IS NOT NULL THEN (
    SELECT count(*) FROM taskdaemon_permit AS permit CROSS JOIN LATERAL (
      SELECT FROM taskdaemon_task AS task
      WHERE task.id = permit.task_id AND coalesce(task.status) = 'pending' AND task.due IS NULL AND task.attempts = 0
    ) AS task
    WHERE permit.task_type = due.task_type AND permit.limit_key = due.limit_key AND permit.attempt IS NULL
  ) END AS ready
) AS counted
), unstarted AS MATERIALIZED (
  SELECT permit.id, permit.task_id, permit.task_type, permit.limit_key, permit.place, task.priority
  FROM key
  LEFT JOIN LATERAL (
    SELECT held.priority, held.place FROM taskdaemon_held_task AS held
    WHERE held.task_type = key.task_type AND held.limit_key = key.limit_key AND NOT held.waits
    ORDER BY place DESC LIMIT 1
  ) AS best ON true
  CROSS JOIN LATERAL (
    SELECT * FROM taskdaemon_permit AS permit
    WHERE permit.task_type = key.task_type AND permit.limit_key = key.limit_key AND permit.attempt IS NULL
  ) AS permit
  CROSS JOIN LATERAL (
    SELECT priority FROM taskdaemon_task AS task
    WHERE task.id = permit.task_id AND coalesce(task.status) = 'pending' AND task.due IS NULL AND task.attempts = 0
      AND (key.too_many OR best.place IS NOT NULL)
    FOR NO KEY UPDATE SKIP LOCKED
  ) AS task
  LIMIT 1000
), no_permit AS (
  DELETE FROM taskdaemon_permit WHERE id = ANY(ARRAY(SELECT id FROM unstarted))
), held AS (
  INSERT INTO taskdaemon_held_task (task_id, task_type, limit_key, priority, place, waits)
  SELECT task_id, task_type, limit_key, priority, place, false FROM unstarted
), due AS (
  INSERT INTO taskdaemon_fill_due (task_type, limit_key)
  SELECT DISTINCT task_type, limit_key FROM unstarted WHERE (SELECT count(*) FROM unstarted) >= 1000
)
UPDATE taskdaemon_task AS task SET due = 'infinity', due_at = NULL, clock = 'server'
FROM unstarted WHERE task.id = unstarted.task_id;

-- take_back_statement, priority (fill.py)
-- Holds ready tasks that never ran again, if better ones of their keys are held.
WITH key AS MATERIALIZED (
  SELECT due.task_type, due.limit_key, counted.permits > limited.permits OR counted.ready > limited.ready AS too_many
  FROM (SELECT DISTINCT task_type, limit_key FROM taskdaemon_fill_due WHERE id = ANY($2::bigint[])) AS due
  JOIN json_to_recordset($1::json) AS limited(type text, permits int, ready int) ON limited.type = due.task_type
  CROSS JOIN LATERAL (SELECT 
  CASE WHEN limited.permits IS NOT NULL THEN (
    SELECT count(*) FROM taskdaemon_permit AS permit
    WHERE permit.task_type = due.task_type AND permit.limit_key = due.limit_key
  ) END AS permits,
  CASE WHEN limited.ready IS NOT NULL THEN (
    SELECT count(*) FROM taskdaemon_permit AS permit CROSS JOIN LATERAL (
      SELECT FROM taskdaemon_task AS task
      WHERE task.id = permit.task_id AND coalesce(task.status) = 'pending' AND task.due IS NULL AND task.attempts = 0
    ) AS task
    WHERE permit.task_type = due.task_type AND permit.limit_key = due.limit_key AND permit.attempt IS NULL
  ) END AS ready
) AS counted
), unstarted AS MATERIALIZED (
  SELECT permit.id, permit.task_id, permit.task_type, permit.limit_key, permit.place, task.priority
  FROM key
  LEFT JOIN LATERAL (
    SELECT held.priority, held.place FROM taskdaemon_held_task AS held
    WHERE held.task_type = key.task_type AND held.limit_key = key.limit_key AND NOT held.waits
    ORDER BY priority DESC, place LIMIT 1
  ) AS best ON true
  CROSS JOIN LATERAL (
    SELECT * FROM taskdaemon_permit AS permit
    WHERE permit.task_type = key.task_type AND permit.limit_key = key.limit_key AND permit.attempt IS NULL
  ) AS permit
  CROSS JOIN LATERAL (
    SELECT priority FROM taskdaemon_task AS task
    WHERE task.id = permit.task_id AND coalesce(task.status) = 'pending' AND task.due IS NULL AND task.attempts = 0
      AND (key.too_many OR (best.priority > task.priority OR best.priority = task.priority AND best.place < permit.place))
    FOR NO KEY UPDATE SKIP LOCKED
  ) AS task
  LIMIT 1000
), no_permit AS (
  DELETE FROM taskdaemon_permit WHERE id = ANY(ARRAY(SELECT id FROM unstarted))
), held AS (
  INSERT INTO taskdaemon_held_task (task_id, task_type, limit_key, priority, place, waits)
  SELECT task_id, task_type, limit_key, priority, place, false FROM unstarted
), due AS (
  INSERT INTO taskdaemon_fill_due (task_type, limit_key)
  SELECT DISTINCT task_type, limit_key FROM unstarted WHERE (SELECT count(*) FROM unstarted) >= 1000
)
UPDATE taskdaemon_task AS task SET due = 'infinity', due_at = NULL, clock = 'server'
FROM unstarted WHERE task.id = unstarted.task_id;

-- fill_statement, fifo (fill.py)
-- Makes the best held tasks of keys that are due ready, as far as their limits allow.
WITH due AS MATERIALIZED (
  SELECT DISTINCT task_type, limit_key FROM taskdaemon_fill_due WHERE id = ANY($2::bigint[])
), room AS MATERIALIZED (
  SELECT due.task_type, due.limit_key,
    least(limited.permits - counted.permits, limited.ready - counted.ready, 1000000000) AS tasks
  FROM due LEFT JOIN json_to_recordset($1::json) AS limited(type text, permits int, ready int) ON limited.type = due.task_type
  CROSS JOIN LATERAL (SELECT 
  CASE WHEN limited.permits IS NOT NULL THEN (
    SELECT count(*) FROM taskdaemon_permit AS permit
    WHERE permit.task_type = due.task_type AND permit.limit_key = due.limit_key
  ) END AS permits,
  CASE WHEN limited.ready IS NOT NULL THEN (
    SELECT count(*) FROM taskdaemon_permit AS permit CROSS JOIN LATERAL (
      SELECT FROM taskdaemon_task AS task
      WHERE task.id = permit.task_id AND coalesce(task.status) = 'pending' AND task.due IS NULL AND task.attempts = 0
    ) AS task
    WHERE permit.task_type = due.task_type AND permit.limit_key = due.limit_key AND permit.attempt IS NULL
  ) END AS ready
) AS counted
), best AS MATERIALIZED (
  SELECT held.*, row_number() OVER (ORDER BY place) AS ordinal
  FROM room CROSS JOIN LATERAL (
    SELECT task_id, task_type, limit_key, priority, place FROM taskdaemon_held_task AS held
    WHERE held.task_type = room.task_type AND held.limit_key = room.limit_key AND NOT held.waits
    ORDER BY place LIMIT greatest(least(room.tasks, 1000 + 1), 0)
  ) AS held
  ORDER BY ordinal LIMIT 1000 + 1
), locked AS MATERIALIZED (
  SELECT best.*, task.attempts FROM best CROSS JOIN LATERAL (
    SELECT attempts FROM taskdaemon_task AS task
    WHERE task.id = best.task_id AND coalesce(task.status) = 'pending' AND coalesce(task.due) = 'infinity'
    FOR NO KEY UPDATE SKIP LOCKED
  ) AS task
  ORDER BY ordinal LIMIT 1000
), no_longer_due AS (
  DELETE FROM taskdaemon_fill_due WHERE id = ANY($2::bigint[])
), still_due AS (
  INSERT INTO taskdaemon_fill_due (task_type, limit_key)
  SELECT DISTINCT task_type, limit_key FROM best WHERE task_id NOT IN (SELECT task_id FROM locked)
  UNION SELECT task_type, limit_key FROM room WHERE tasks > 0 AND (SELECT count(*) FROM best) > 1000
), no_longer_held AS (
  DELETE FROM taskdaemon_held_task WHERE task_id = ANY(ARRAY(SELECT task_id FROM locked))
), permitted AS (
  INSERT INTO taskdaemon_permit (task_id, task_type, limit_key, place, since)
  SELECT task_id, task_type, limit_key, place, clock_timestamp() FROM locked
), ready AS (
  UPDATE taskdaemon_task AS task
  SET due = NULL, ready_at = clock_timestamp(), place = coalesce(placed.place, task.place)
  FROM (
    SELECT task_id, CASE WHEN attempts = 0 THEN nextval('taskdaemon_place') END AS place
    FROM (SELECT task_id, attempts FROM locked ORDER BY ordinal) AS locked
  ) AS placed
  WHERE task.id = placed.task_id
  RETURNING task.task_type, task.priority
)
SELECT coalesce(json_agg(json_build_array(task_type, priority))::text, '[]') FROM ready;

-- fill_statement, lifo (fill.py)
-- Makes the best held tasks of keys that are due ready, as far as their limits allow.
WITH due AS MATERIALIZED (
  SELECT DISTINCT task_type, limit_key FROM taskdaemon_fill_due WHERE id = ANY($2::bigint[])
), room AS MATERIALIZED (
  SELECT due.task_type, due.limit_key,
    least(limited.permits - counted.permits, limited.ready - counted.ready, 1000000000) AS tasks
  FROM due LEFT JOIN json_to_recordset($1::json) AS limited(type text, permits int, ready int) ON limited.type = due.task_type
  CROSS JOIN LATERAL (SELECT 
  CASE WHEN limited.permits IS NOT NULL THEN (
    SELECT count(*) FROM taskdaemon_permit AS permit
    WHERE permit.task_type = due.task_type AND permit.limit_key = due.limit_key
  ) END AS permits,
  CASE WHEN limited.ready IS NOT NULL THEN (
    SELECT count(*) FROM taskdaemon_permit AS permit CROSS JOIN LATERAL (
      SELECT FROM taskdaemon_task AS task
      WHERE task.id = permit.task_id AND coalesce(task.status) = 'pending' AND task.due IS NULL AND task.attempts = 0
    ) AS task
    WHERE permit.task_type = due.task_type AND permit.limit_key = due.limit_key AND permit.attempt IS NULL
  ) END AS ready
) AS counted
), best AS MATERIALIZED (
  SELECT held.*, row_number() OVER (ORDER BY place DESC) AS ordinal
  FROM room CROSS JOIN LATERAL (
    SELECT task_id, task_type, limit_key, priority, place FROM taskdaemon_held_task AS held
    WHERE held.task_type = room.task_type AND held.limit_key = room.limit_key AND NOT held.waits
    ORDER BY place DESC LIMIT greatest(least(room.tasks, 1000 + 1), 0)
  ) AS held
  ORDER BY ordinal LIMIT 1000 + 1
), locked AS MATERIALIZED (
  SELECT best.*, task.attempts FROM best CROSS JOIN LATERAL (
    SELECT attempts FROM taskdaemon_task AS task
    WHERE task.id = best.task_id AND coalesce(task.status) = 'pending' AND coalesce(task.due) = 'infinity'
    FOR NO KEY UPDATE SKIP LOCKED
  ) AS task
  ORDER BY ordinal LIMIT 1000
), no_longer_due AS (
  DELETE FROM taskdaemon_fill_due WHERE id = ANY($2::bigint[])
), still_due AS (
  INSERT INTO taskdaemon_fill_due (task_type, limit_key)
  SELECT DISTINCT task_type, limit_key FROM best WHERE task_id NOT IN (SELECT task_id FROM locked)
  UNION SELECT task_type, limit_key FROM room WHERE tasks > 0 AND (SELECT count(*) FROM best) > 1000
), no_longer_held AS (
  DELETE FROM taskdaemon_held_task WHERE task_id = ANY(ARRAY(SELECT task_id FROM locked))
), permitted AS (
  INSERT INTO taskdaemon_permit (task_id, task_type, limit_key, place, since)
  SELECT task_id, task_type, limit_key, place, clock_timestamp() FROM locked
), ready AS (
  UPDATE taskdaemon_task AS task
  SET due = NULL, ready_at = clock_timestamp(), place = coalesce(placed.place, task.place)
  FROM (
    SELECT task_id, CASE WHEN attempts = 0 THEN nextval('taskdaemon_place') END AS place
    FROM (SELECT task_id, attempts FROM locked ORDER BY ordinal DESC) AS locked
  ) AS placed
  WHERE task.id = placed.task_id
  RETURNING task.task_type, task.priority
)
SELECT coalesce(json_agg(json_build_array(task_type, priority))::text, '[]') FROM ready;

-- fill_statement, priority (fill.py)
-- Makes the best held tasks of keys that are due ready, as far as their limits allow.
WITH due AS MATERIALIZED (
  SELECT DISTINCT task_type, limit_key FROM taskdaemon_fill_due WHERE id = ANY($2::bigint[])
), room AS MATERIALIZED (
  SELECT due.task_type, due.limit_key,
    least(limited.permits - counted.permits, limited.ready - counted.ready, 1000000000) AS tasks
  FROM due LEFT JOIN json_to_recordset($1::json) AS limited(type text, permits int, ready int) ON limited.type = due.task_type
  CROSS JOIN LATERAL (SELECT 
  CASE WHEN limited.permits IS NOT NULL THEN (
    SELECT count(*) FROM taskdaemon_permit AS permit
    WHERE permit.task_type = due.task_type AND permit.limit_key = due.limit_key
  ) END AS permits,
  CASE WHEN limited.ready IS NOT NULL THEN (
    SELECT count(*) FROM taskdaemon_permit AS permit CROSS JOIN LATERAL (
      SELECT FROM taskdaemon_task AS task
      WHERE task.id = permit.task_id AND coalesce(task.status) = 'pending' AND task.due IS NULL AND task.attempts = 0
    ) AS task
    WHERE permit.task_type = due.task_type AND permit.limit_key = due.limit_key AND permit.attempt IS NULL
  ) END AS ready
) AS counted
), best AS MATERIALIZED (
  SELECT held.*, row_number() OVER (ORDER BY priority DESC, place) AS ordinal
  FROM room CROSS JOIN LATERAL (
    SELECT task_id, task_type, limit_key, priority, place FROM taskdaemon_held_task AS held
    WHERE held.task_type = room.task_type AND held.limit_key = room.limit_key AND NOT held.waits
    ORDER BY priority DESC, place LIMIT greatest(least(room.tasks, 1000 + 1), 0)
  ) AS held
  ORDER BY ordinal LIMIT 1000 + 1
), locked AS MATERIALIZED (
  SELECT best.*, task.attempts FROM best CROSS JOIN LATERAL (
    SELECT attempts FROM taskdaemon_task AS task
    WHERE task.id = best.task_id AND coalesce(task.status) = 'pending' AND coalesce(task.due) = 'infinity'
    FOR NO KEY UPDATE SKIP LOCKED
  ) AS task
  ORDER BY ordinal LIMIT 1000
), no_longer_due AS (
  DELETE FROM taskdaemon_fill_due WHERE id = ANY($2::bigint[])
), still_due AS (
  INSERT INTO taskdaemon_fill_due (task_type, limit_key)
  SELECT DISTINCT task_type, limit_key FROM best WHERE task_id NOT IN (SELECT task_id FROM locked)
  UNION SELECT task_type, limit_key FROM room WHERE tasks > 0 AND (SELECT count(*) FROM best) > 1000
), no_longer_held AS (
  DELETE FROM taskdaemon_held_task WHERE task_id = ANY(ARRAY(SELECT task_id FROM locked))
), permitted AS (
  INSERT INTO taskdaemon_permit (task_id, task_type, limit_key, place, since)
  SELECT task_id, task_type, limit_key, place, clock_timestamp() FROM locked
), ready AS (
  UPDATE taskdaemon_task AS task
  SET due = NULL, ready_at = clock_timestamp(), place = coalesce(placed.place, task.place)
  FROM (
    SELECT task_id, CASE WHEN attempts = 0 THEN nextval('taskdaemon_place') END AS place
    FROM (SELECT task_id, attempts FROM locked ORDER BY ordinal) AS locked
  ) AS placed
  WHERE task.id = placed.task_id
  RETURNING task.task_type, task.priority
)
SELECT coalesce(json_agg(json_build_array(task_type, priority))::text, '[]') FROM ready;

-- claim_one_type, fifo (claim.py)
-- Claims the best ready tasks of a type for a node.
WITH best AS MATERIALIZED (SELECT found.* FROM unnest($10::bigint[], $11::bigint[], $12::bigint[]) AS segment(a, b, c) CROSS JOIN LATERAL (SELECT * FROM (SELECT id, priority, place FROM taskdaemon_task WHERE ((status = 'pending' AND due IS NULL AND attempts > 0) OR attempts < 0) AND task_type = $1 AND ready_at >= CASE WHEN statement_timestamp() < 'epoch'::timestamptz + $9::bigint * interval '1 microsecond' THEN '-infinity'
  ELSE 'epoch'::timestamptz + $9::bigint * interval '1 microsecond' END AND (expires_at IS NULL OR NOT (attempts <= coalesce(unbegun_attempts, 0)) OR expires_at > statement_timestamp()) AND place < segment.a ORDER BY place LIMIT $4::int FOR UPDATE SKIP LOCKED) AS arm0 UNION ALL SELECT * FROM (SELECT id, priority, place FROM taskdaemon_task WHERE status = 'pending' AND due IS NULL AND task_type = $1 AND (expires_at IS NULL OR NOT (attempts <= coalesce(unbegun_attempts, 0)) OR expires_at > statement_timestamp()) AND place >= segment.a ORDER BY place LIMIT $4::int FOR UPDATE SKIP LOCKED) AS arm1) AS found LIMIT $4::int)
UPDATE taskdaemon_task AS task SET status = 'processing', attempts = task.attempts + 1, node = $2, clock = 'server',
  lease = extract(epoch from clock_timestamp())::float8 + $3::float8, started_at = clock_timestamp(), timeout = coalesce(requested_timeout, $5::float8),
  max_retries = coalesce(requested_max_retries, $6::int), retry_backoff = $7::float8, retry_on = $8
WHERE task.id = ANY(ARRAY(SELECT id FROM best))
RETURNING task.id::text, task.task_type,
  CASE WHEN coalesce(task.task_data_size <= $13::int, pg_column_size(task.task_data) <= 2048)
    THEN task.task_data::text END, task.attempts, task.priority, task.place,
  task.retries, (extract(epoch from task.started_at - task.ready_at))::float8, task.timeout, task.max_retries,
  task.followed IS TRUE;

-- claim_one_type, lifo (claim.py)
-- Claims the best ready tasks of a type for a node.
WITH best AS MATERIALIZED (SELECT found.* FROM unnest($10::bigint[], $11::bigint[], $12::bigint[]) AS segment(a, b, c) CROSS JOIN LATERAL (SELECT * FROM (SELECT id, priority, place FROM taskdaemon_task WHERE status = 'pending' AND due IS NULL AND task_type = $1 AND (expires_at IS NULL OR NOT (attempts <= coalesce(unbegun_attempts, 0)) OR expires_at > statement_timestamp()) AND place >= segment.a AND place < segment.b ORDER BY place DESC LIMIT $4::int FOR UPDATE SKIP LOCKED) AS arm0 UNION ALL SELECT * FROM (SELECT id, priority, place FROM taskdaemon_task WHERE ((status = 'pending' AND due IS NULL AND attempts > 0) OR attempts < 0) AND task_type = $1 AND ready_at >= CASE WHEN statement_timestamp() < 'epoch'::timestamptz + $9::bigint * interval '1 microsecond' THEN '-infinity'
  ELSE 'epoch'::timestamptz + $9::bigint * interval '1 microsecond' END AND (expires_at IS NULL OR NOT (attempts <= coalesce(unbegun_attempts, 0)) OR expires_at > statement_timestamp()) AND place < segment.a AND place >= segment.c ORDER BY place DESC LIMIT $4::int FOR UPDATE SKIP LOCKED) AS arm1) AS found LIMIT $4::int)
UPDATE taskdaemon_task AS task SET status = 'processing', attempts = task.attempts + 1, node = $2, clock = 'server',
  lease = extract(epoch from clock_timestamp())::float8 + $3::float8, started_at = clock_timestamp(), timeout = coalesce(requested_timeout, $5::float8),
  max_retries = coalesce(requested_max_retries, $6::int), retry_backoff = $7::float8, retry_on = $8
WHERE task.id = ANY(ARRAY(SELECT id FROM best))
RETURNING task.id::text, task.task_type,
  CASE WHEN coalesce(task.task_data_size <= $13::int, pg_column_size(task.task_data) <= 2048)
    THEN task.task_data::text END, task.attempts, task.priority, task.place,
  task.retries, (extract(epoch from task.started_at - task.ready_at))::float8, task.timeout, task.max_retries,
  task.followed IS TRUE;

-- claim_one_type, priority (claim.py)
-- Claims the best ready tasks of a type for a node.
WITH best AS MATERIALIZED (SELECT found.* FROM unnest($10::bigint[], $11::bigint[], $12::bigint[]) AS segment(a, b, c) CROSS JOIN LATERAL (SELECT * FROM (SELECT id, priority, place FROM taskdaemon_task WHERE ((status = 'pending' AND due IS NULL AND attempts > 0) OR attempts < 0) AND task_type = $1 AND ready_at >= CASE WHEN statement_timestamp() < 'epoch'::timestamptz + $9::bigint * interval '1 microsecond' THEN '-infinity'
  ELSE 'epoch'::timestamptz + $9::bigint * interval '1 microsecond' END AND (expires_at IS NULL OR NOT (attempts <= coalesce(unbegun_attempts, 0)) OR expires_at > statement_timestamp()) AND priority = segment.a AND place < segment.b ORDER BY place LIMIT $4::int FOR UPDATE SKIP LOCKED) AS arm0 UNION ALL SELECT * FROM (SELECT id, priority, place FROM taskdaemon_task WHERE ((status = 'pending' AND due IS NULL) OR priority < 0) AND task_type = $1 AND (expires_at IS NULL OR NOT (attempts <= coalesce(unbegun_attempts, 0)) OR expires_at > statement_timestamp()) AND priority = segment.a AND place >= segment.b ORDER BY place LIMIT $4::int FOR UPDATE SKIP LOCKED) AS arm1 UNION ALL SELECT * FROM (SELECT id, priority, place FROM taskdaemon_task WHERE ((status = 'pending' AND due IS NULL) OR priority < 0) AND task_type = $1 AND (expires_at IS NULL OR NOT (attempts <= coalesce(unbegun_attempts, 0)) OR expires_at > statement_timestamp()) AND priority < segment.a AND priority > segment.c ORDER BY priority DESC, place LIMIT $4::int FOR UPDATE SKIP LOCKED) AS arm2) AS found LIMIT $4::int)
UPDATE taskdaemon_task AS task SET status = 'processing', attempts = task.attempts + 1, node = $2, clock = 'server',
  lease = extract(epoch from clock_timestamp())::float8 + $3::float8, started_at = clock_timestamp(), timeout = coalesce(requested_timeout, $5::float8),
  max_retries = coalesce(requested_max_retries, $6::int), retry_backoff = $7::float8, retry_on = $8
WHERE task.id = ANY(ARRAY(SELECT id FROM best))
RETURNING task.id::text, task.task_type,
  CASE WHEN coalesce(task.task_data_size <= $13::int, pg_column_size(task.task_data) <= 2048)
    THEN task.task_data::text END, task.attempts, task.priority, task.place,
  task.retries, (extract(epoch from task.started_at - task.ready_at))::float8, task.timeout, task.max_retries,
  task.followed IS TRUE;

-- claim_by_type, fifo (claim.py)
-- Claims the best ready tasks of each of several types for a node.
WITH want AS (SELECT * FROM json_to_recordset($1::json)
    AS w(type text, count int, timeout float8, max_retries int, retry_backoff float8, retry_on text, since bigint,
      a bigint[], b bigint[], c bigint[])), best AS MATERIALIZED (SELECT b.id FROM want CROSS JOIN LATERAL (SELECT found.* FROM unnest(want.a, want.b, want.c) AS segment(a, b, c) CROSS JOIN LATERAL (SELECT * FROM (SELECT id, priority, place FROM taskdaemon_task WHERE ((status = 'pending' AND due IS NULL AND attempts > 0) OR attempts < 0) AND task_type = want.type AND ready_at >= CASE WHEN statement_timestamp() < 'epoch'::timestamptz + want.since * interval '1 microsecond' THEN '-infinity'
  ELSE 'epoch'::timestamptz + want.since * interval '1 microsecond' END AND (expires_at IS NULL OR NOT (attempts <= coalesce(unbegun_attempts, 0)) OR expires_at > statement_timestamp()) AND place < segment.a ORDER BY place LIMIT want.count FOR UPDATE SKIP LOCKED) AS arm0 UNION ALL SELECT * FROM (SELECT id, priority, place FROM taskdaemon_task WHERE status = 'pending' AND due IS NULL AND task_type = want.type AND (expires_at IS NULL OR NOT (attempts <= coalesce(unbegun_attempts, 0)) OR expires_at > statement_timestamp()) AND place >= segment.a ORDER BY place LIMIT want.count FOR UPDATE SKIP LOCKED) AS arm1) AS found LIMIT want.count) AS b)
UPDATE taskdaemon_task AS task SET status = 'processing', attempts = task.attempts + 1, node = $2, clock = 'server',
  lease = extract(epoch from clock_timestamp())::float8 + $3::float8, started_at = clock_timestamp(), timeout = coalesce(requested_timeout, want.timeout),
  max_retries = coalesce(requested_max_retries, want.max_retries), retry_backoff = want.retry_backoff,
  retry_on = want.retry_on
FROM want WHERE want.type = task.task_type AND task.id = ANY(ARRAY(SELECT id FROM best))
RETURNING task.id::text, task.task_type,
  CASE WHEN coalesce(task.task_data_size <= $4::int, pg_column_size(task.task_data) <= 2048)
    THEN task.task_data::text END, task.attempts, task.priority, task.place,
  task.retries, (extract(epoch from task.started_at - task.ready_at))::float8, task.timeout, task.max_retries,
  task.followed IS TRUE;

-- claim_by_type, lifo (claim.py)
-- Claims the best ready tasks of each of several types for a node.
WITH want AS (SELECT * FROM json_to_recordset($1::json)
    AS w(type text, count int, timeout float8, max_retries int, retry_backoff float8, retry_on text, since bigint,
      a bigint[], b bigint[], c bigint[])), best AS MATERIALIZED (SELECT b.id FROM want CROSS JOIN LATERAL (SELECT found.* FROM unnest(want.a, want.b, want.c) AS segment(a, b, c) CROSS JOIN LATERAL (SELECT * FROM (SELECT id, priority, place FROM taskdaemon_task WHERE status = 'pending' AND due IS NULL AND task_type = want.type AND (expires_at IS NULL OR NOT (attempts <= coalesce(unbegun_attempts, 0)) OR expires_at > statement_timestamp()) AND place >= segment.a AND place < segment.b ORDER BY place DESC LIMIT want.count FOR UPDATE SKIP LOCKED) AS arm0 UNION ALL SELECT * FROM (SELECT id, priority, place FROM taskdaemon_task WHERE ((status = 'pending' AND due IS NULL AND attempts > 0) OR attempts < 0) AND task_type = want.type AND ready_at >= CASE WHEN statement_timestamp() < 'epoch'::timestamptz + want.since * interval '1 microsecond' THEN '-infinity'
  ELSE 'epoch'::timestamptz + want.since * interval '1 microsecond' END AND (expires_at IS NULL OR NOT (attempts <= coalesce(unbegun_attempts, 0)) OR expires_at > statement_timestamp()) AND place < segment.a AND place >= segment.c ORDER BY place DESC LIMIT want.count FOR UPDATE SKIP LOCKED) AS arm1) AS found LIMIT want.count) AS b)
UPDATE taskdaemon_task AS task SET status = 'processing', attempts = task.attempts + 1, node = $2, clock = 'server',
  lease = extract(epoch from clock_timestamp())::float8 + $3::float8, started_at = clock_timestamp(), timeout = coalesce(requested_timeout, want.timeout),
  max_retries = coalesce(requested_max_retries, want.max_retries), retry_backoff = want.retry_backoff,
  retry_on = want.retry_on
FROM want WHERE want.type = task.task_type AND task.id = ANY(ARRAY(SELECT id FROM best))
RETURNING task.id::text, task.task_type,
  CASE WHEN coalesce(task.task_data_size <= $4::int, pg_column_size(task.task_data) <= 2048)
    THEN task.task_data::text END, task.attempts, task.priority, task.place,
  task.retries, (extract(epoch from task.started_at - task.ready_at))::float8, task.timeout, task.max_retries,
  task.followed IS TRUE;

-- claim_by_type, priority (claim.py)
-- Claims the best ready tasks of each of several types for a node.
WITH want AS (SELECT * FROM json_to_recordset($1::json)
    AS w(type text, count int, timeout float8, max_retries int, retry_backoff float8, retry_on text, since bigint,
      a bigint[], b bigint[], c bigint[])), best AS MATERIALIZED (SELECT b.id FROM want CROSS JOIN LATERAL (SELECT found.* FROM unnest(want.a, want.b, want.c) AS segment(a, b, c) CROSS JOIN LATERAL (SELECT * FROM (SELECT id, priority, place FROM taskdaemon_task WHERE ((status = 'pending' AND due IS NULL AND attempts > 0) OR attempts < 0) AND task_type = want.type AND ready_at >= CASE WHEN statement_timestamp() < 'epoch'::timestamptz + want.since * interval '1 microsecond' THEN '-infinity'
  ELSE 'epoch'::timestamptz + want.since * interval '1 microsecond' END AND (expires_at IS NULL OR NOT (attempts <= coalesce(unbegun_attempts, 0)) OR expires_at > statement_timestamp()) AND priority = segment.a AND place < segment.b ORDER BY place LIMIT want.count FOR UPDATE SKIP LOCKED) AS arm0 UNION ALL SELECT * FROM (SELECT id, priority, place FROM taskdaemon_task WHERE ((status = 'pending' AND due IS NULL) OR priority < 0) AND task_type = want.type AND (expires_at IS NULL OR NOT (attempts <= coalesce(unbegun_attempts, 0)) OR expires_at > statement_timestamp()) AND priority = segment.a AND place >= segment.b ORDER BY place LIMIT want.count FOR UPDATE SKIP LOCKED) AS arm1 UNION ALL SELECT * FROM (SELECT id, priority, place FROM taskdaemon_task WHERE ((status = 'pending' AND due IS NULL) OR priority < 0) AND task_type = want.type AND (expires_at IS NULL OR NOT (attempts <= coalesce(unbegun_attempts, 0)) OR expires_at > statement_timestamp()) AND priority < segment.a AND priority > segment.c ORDER BY priority DESC, place LIMIT want.count FOR UPDATE SKIP LOCKED) AS arm2) AS found LIMIT want.count) AS b)
UPDATE taskdaemon_task AS task SET status = 'processing', attempts = task.attempts + 1, node = $2, clock = 'server',
  lease = extract(epoch from clock_timestamp())::float8 + $3::float8, started_at = clock_timestamp(), timeout = coalesce(requested_timeout, want.timeout),
  max_retries = coalesce(requested_max_retries, want.max_retries), retry_backoff = want.retry_backoff,
  retry_on = want.retry_on
FROM want WHERE want.type = task.task_type AND task.id = ANY(ARRAY(SELECT id FROM best))
RETURNING task.id::text, task.task_type,
  CASE WHEN coalesce(task.task_data_size <= $4::int, pg_column_size(task.task_data) <= 2048)
    THEN task.task_data::text END, task.attempts, task.priority, task.place,
  task.retries, (extract(epoch from task.started_at - task.ready_at))::float8, task.timeout, task.max_retries,
  task.followed IS TRUE;

-- best_of_types, fifo (claim.py)
-- Reads the best ready tasks over several types, for a node with a limit over all of them.
SELECT b.id::text FROM (SELECT * FROM json_to_recordset($1::json)
    AS w(type text, count int, timeout float8, max_retries int, retry_backoff float8, retry_on text, since bigint,
      a bigint[], b bigint[], c bigint[])) AS want CROSS JOIN LATERAL (SELECT found.* FROM unnest(want.a, want.b, want.c) AS segment(a, b, c) CROSS JOIN LATERAL (SELECT * FROM (SELECT id, priority, place FROM taskdaemon_task WHERE ((status = 'pending' AND due IS NULL AND attempts > 0) OR attempts < 0) AND task_type = want.type AND ready_at >= CASE WHEN statement_timestamp() < 'epoch'::timestamptz + want.since * interval '1 microsecond' THEN '-infinity'
  ELSE 'epoch'::timestamptz + want.since * interval '1 microsecond' END AND (expires_at IS NULL OR NOT (attempts <= coalesce(unbegun_attempts, 0)) OR expires_at > statement_timestamp()) AND place < segment.a ORDER BY place LIMIT want.count ) AS arm0 UNION ALL SELECT * FROM (SELECT id, priority, place FROM taskdaemon_task WHERE status = 'pending' AND due IS NULL AND task_type = want.type AND (expires_at IS NULL OR NOT (attempts <= coalesce(unbegun_attempts, 0)) OR expires_at > statement_timestamp()) AND place >= segment.a ORDER BY place LIMIT want.count ) AS arm1) AS found LIMIT want.count) AS b ORDER BY place LIMIT $2::int;

-- best_of_types, lifo (claim.py)
-- Reads the best ready tasks over several types, for a node with a limit over all of them.
SELECT b.id::text FROM (SELECT * FROM json_to_recordset($1::json)
    AS w(type text, count int, timeout float8, max_retries int, retry_backoff float8, retry_on text, since bigint,
      a bigint[], b bigint[], c bigint[])) AS want CROSS JOIN LATERAL (SELECT found.* FROM unnest(want.a, want.b, want.c) AS segment(a, b, c) CROSS JOIN LATERAL (SELECT * FROM (SELECT id, priority, place FROM taskdaemon_task WHERE status = 'pending' AND due IS NULL AND task_type = want.type AND (expires_at IS NULL OR NOT (attempts <= coalesce(unbegun_attempts, 0)) OR expires_at > statement_timestamp()) AND place >= segment.a AND place < segment.b ORDER BY place DESC LIMIT want.count ) AS arm0 UNION ALL SELECT * FROM (SELECT id, priority, place FROM taskdaemon_task WHERE ((status = 'pending' AND due IS NULL AND attempts > 0) OR attempts < 0) AND task_type = want.type AND ready_at >= CASE WHEN statement_timestamp() < 'epoch'::timestamptz + want.since * interval '1 microsecond' THEN '-infinity'
  ELSE 'epoch'::timestamptz + want.since * interval '1 microsecond' END AND (expires_at IS NULL OR NOT (attempts <= coalesce(unbegun_attempts, 0)) OR expires_at > statement_timestamp()) AND place < segment.a AND place >= segment.c ORDER BY place DESC LIMIT want.count ) AS arm1) AS found LIMIT want.count) AS b ORDER BY place DESC LIMIT $2::int;

-- best_of_types, priority (claim.py)
-- Reads the best ready tasks over several types, for a node with a limit over all of them.
SELECT b.id::text FROM (SELECT * FROM json_to_recordset($1::json)
    AS w(type text, count int, timeout float8, max_retries int, retry_backoff float8, retry_on text, since bigint,
      a bigint[], b bigint[], c bigint[])) AS want CROSS JOIN LATERAL (SELECT found.* FROM unnest(want.a, want.b, want.c) AS segment(a, b, c) CROSS JOIN LATERAL (SELECT * FROM (SELECT id, priority, place FROM taskdaemon_task WHERE ((status = 'pending' AND due IS NULL AND attempts > 0) OR attempts < 0) AND task_type = want.type AND ready_at >= CASE WHEN statement_timestamp() < 'epoch'::timestamptz + want.since * interval '1 microsecond' THEN '-infinity'
  ELSE 'epoch'::timestamptz + want.since * interval '1 microsecond' END AND (expires_at IS NULL OR NOT (attempts <= coalesce(unbegun_attempts, 0)) OR expires_at > statement_timestamp()) AND priority = segment.a AND place < segment.b ORDER BY place LIMIT want.count ) AS arm0 UNION ALL SELECT * FROM (SELECT id, priority, place FROM taskdaemon_task WHERE ((status = 'pending' AND due IS NULL) OR priority < 0) AND task_type = want.type AND (expires_at IS NULL OR NOT (attempts <= coalesce(unbegun_attempts, 0)) OR expires_at > statement_timestamp()) AND priority = segment.a AND place >= segment.b ORDER BY place LIMIT want.count ) AS arm1 UNION ALL SELECT * FROM (SELECT id, priority, place FROM taskdaemon_task WHERE ((status = 'pending' AND due IS NULL) OR priority < 0) AND task_type = want.type AND (expires_at IS NULL OR NOT (attempts <= coalesce(unbegun_attempts, 0)) OR expires_at > statement_timestamp()) AND priority < segment.a AND priority > segment.c ORDER BY priority DESC, place LIMIT want.count ) AS arm2) AS found LIMIT want.count) AS b ORDER BY priority DESC, place LIMIT $2::int;

-- claim_by_id (claim.py)
-- Claims those tasks that `best_of_types` has read.
WITH want AS (SELECT * FROM json_to_recordset($1::json)
    AS w(type text, count int, timeout float8, max_retries int, retry_backoff float8, retry_on text, since bigint,
      a bigint[], b bigint[], c bigint[])), best AS MATERIALIZED (
SELECT t.id FROM taskdaemon_task AS t
WHERE t.id = ANY($4::uuid[]) AND coalesce(t.status) = 'pending' AND coalesce(t.due) IS NULL AND (expires_at IS NULL OR NOT (attempts <= coalesce(unbegun_attempts, 0)) OR expires_at > statement_timestamp())
ORDER BY t.id FOR UPDATE OF t
)
UPDATE taskdaemon_task AS task SET status = 'processing', attempts = task.attempts + 1, node = $2, clock = 'server',
  lease = extract(epoch from clock_timestamp())::float8 + $3::float8, started_at = clock_timestamp(), timeout = coalesce(requested_timeout, want.timeout),
  max_retries = coalesce(requested_max_retries, want.max_retries), retry_backoff = want.retry_backoff,
  retry_on = want.retry_on
FROM want WHERE want.type = task.task_type AND task.id = ANY(ARRAY(SELECT id FROM best))
RETURNING task.id::text, task.task_type,
  CASE WHEN coalesce(task.task_data_size <= $5::int, pg_column_size(task.task_data) <= 2048)
    THEN task.task_data::text END, task.attempts, task.priority, task.place,
  task.retries, (extract(epoch from task.started_at - task.ready_at))::float8, task.timeout, task.max_retries,
  task.followed IS TRUE;

-- look (marks.py)
-- Finds where ready tasks begin, by type, so that claims need not read dead entries before them.
SELECT coalesce(pg_sequence_last_value('taskdaemon_place'), 0), (extract(epoch from clock_timestamp()) * 1000000)::bigint,
  (
SELECT coalesce(json_agg(DISTINCT CASE WHEN pid IS NULL THEN 'prepared' ELSE virtualtransaction END), '[]')::text
FROM pg_locks
WHERE locktype = 'relation' AND relation = 'taskdaemon_task'::regclass AND mode IN ('RowShareLock', 'RowExclusiveLock')
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
),
  (SELECT coalesce(json_agg(found.place ORDER BY probe.n), '[]')::text
    FROM ROWS FROM (json_to_recordset($1::json) AS (type text, low bigint, high bigint, last boolean, priority int))
      WITH ORDINALITY AS probe(type, low, high, last, priority, n)
    LEFT JOIN LATERAL ((SELECT place FROM taskdaemon_task WHERE status = 'pending' AND due IS NULL AND task_type = probe.type AND NOT probe.last AND probe.priority IS NULL AND place >= probe.low ORDER BY place LIMIT 1) UNION ALL (SELECT place FROM taskdaemon_task WHERE ((status = 'pending' AND due IS NULL) OR priority < 0) AND task_type = probe.type AND priority = probe.priority AND place >= probe.low ORDER BY place LIMIT 1) UNION ALL (SELECT place FROM taskdaemon_task WHERE status = 'pending' AND due IS NULL AND task_type = probe.type AND probe.last AND place >= probe.low AND place < probe.high ORDER BY place DESC LIMIT 1)) AS found ON true),
  (SELECT coalesce(json_agg(json_build_array(asked.type, back.priority, back.place, back.micros)), '[]')::text
    FROM json_to_recordset($2::json) AS asked(type text, since bigint)
    CROSS JOIN LATERAL (SELECT priority, place, (extract(epoch from ready_at) * 1000000)::bigint AS micros FROM taskdaemon_task
      WHERE ((status = 'pending' AND due IS NULL AND attempts > 0) OR attempts < 0) AND task_type = asked.type AND ready_at >= CASE WHEN statement_timestamp() < 'epoch'::timestamptz + asked.since * interval '1 microsecond' THEN '-infinity'
  ELSE 'epoch'::timestamptz + asked.since * interval '1 microsecond' END LIMIT 201) AS back);

-- lowest (marks.py)
-- Finds the lowest positions of tasks that are ready again, if LOOK has found too many of them.
SELECT priority, min(place) FROM taskdaemon_task WHERE ((status = 'pending' AND due IS NULL AND attempts > 0) OR attempts < 0) AND task_type = $1 AND ready_at >= CASE WHEN statement_timestamp() < 'epoch'::timestamptz + $2::bigint * interval '1 microsecond' THEN '-infinity'
  ELSE 'epoch'::timestamptz + $2::bigint * interval '1 microsecond' END
GROUP BY priority;

-- due_work_statement (readings.py)
-- The beat of a node, about once a second: what is due, and what is on hold.
SELECT
  extract(epoch from clock_timestamp())::float8 AS now,
  (SELECT due FROM taskdaemon_task
    WHERE status = 'pending' AND due IS NOT NULL AND clock = 'server' AND due >= $2::float8 ORDER BY due LIMIT 1) AS next_due,
  (SELECT json_agg(node)::text FROM (SELECT DISTINCT node FROM (
  SELECT id, task_type, node, lease, clock FROM (SELECT * FROM taskdaemon_task
    WHERE status = 'processing' AND started_at >= CASE WHEN statement_timestamp() < 'epoch'::timestamptz + $3::bigint * interval '1 microsecond' THEN '-infinity'
  ELSE 'epoch'::timestamptz + $3::bigint * interval '1 microsecond' END ORDER BY started_at) AS began
  UNION ALL SELECT id, task_type, node, lease, clock FROM taskdaemon_task
    WHERE id = ANY(ARRAY(SELECT unnest($4::uuid[]))) AND coalesce(status) = 'processing'
    AND started_at < CASE WHEN statement_timestamp() < 'epoch'::timestamptz + $3::bigint * interval '1 microsecond' THEN '-infinity'
  ELSE 'epoch'::timestamptz + $3::bigint * interval '1 microsecond' END
) AS running WHERE node <> $1::text ORDER BY node) AS holder) AS holders,
  EXISTS (SELECT 1 FROM (SELECT 1 FROM taskdaemon_task
    WHERE status = 'pending' AND due IS NOT NULL AND clock < 'server' AND due_at <= clock_timestamp() ORDER BY clock LIMIT 1) AS found)
  OR EXISTS (SELECT 1 FROM (SELECT 1 FROM taskdaemon_task
    WHERE status = 'pending' AND due IS NOT NULL AND clock > 'server'  AND due_at <= clock_timestamp() ORDER BY clock LIMIT 1) AS found) AS due_on_old_clock,
  EXISTS (SELECT 1 FROM (SELECT 1 FROM (
  SELECT id, task_type, node, lease, clock FROM (SELECT * FROM taskdaemon_task
    WHERE status = 'processing' AND started_at >= CASE WHEN statement_timestamp() < 'epoch'::timestamptz + $3::bigint * interval '1 microsecond' THEN '-infinity'
  ELSE 'epoch'::timestamptz + $3::bigint * interval '1 microsecond' END ORDER BY started_at) AS began
  UNION ALL SELECT id, task_type, node, lease, clock FROM taskdaemon_task
    WHERE id = ANY(ARRAY(SELECT unnest($4::uuid[]))) AND coalesce(status) = 'processing'
    AND started_at < CASE WHEN statement_timestamp() < 'epoch'::timestamptz + $3::bigint * interval '1 microsecond' THEN '-infinity'
  ELSE 'epoch'::timestamptz + $3::bigint * interval '1 microsecond' END
) AS running WHERE (lease < extract(epoch from clock_timestamp())::float8 OR lease > extract(epoch from clock_timestamp())::float8 + 1200.0 OR clock <> 'server') LIMIT 1) AS c) AS lost,
  (SELECT expires_at FROM taskdaemon_task
    WHERE status = 'pending' AND expires_at IS NOT NULL AND attempts <= coalesce(unbegun_attempts, 0) AND expires_at >= CASE WHEN statement_timestamp() < 'epoch'::timestamptz + $5::bigint * interval '1 microsecond' THEN '-infinity'
  ELSE 'epoch'::timestamptz + $5::bigint * interval '1 microsecond' END AND expires_at <= statement_timestamp()
    ORDER BY expires_at LIMIT 1) <= clock_timestamp() AS expired,
  (SELECT expires_at FROM taskdaemon_idempotency_key ORDER BY expires_at LIMIT 1) <= clock_timestamp() AS old_keys,
  EXISTS (SELECT 1 FROM taskdaemon_node WHERE stopped_at IS NULL AND name <> $1::text) AS peers,
  EXISTS (SELECT 1 FROM taskdaemon_node WHERE stopped_at < clock_timestamp() - interval '30 days') AS old_nodes,
  (SELECT at FROM taskdaemon_live_event WHERE kind = 'end' ORDER BY at LIMIT 1) <= clock_timestamp() - interval '60 seconds' AS old_live_events,
  CASE WHEN (SELECT next_at FROM taskdaemon_schedule WHERE next_at IS NOT NULL ORDER BY next_at LIMIT 1) <= clock_timestamp() THEN 'ticks ' ELSE '' END
  || CASE WHEN (SELECT next_at FROM taskdaemon_callback WHERE status = 'pending' ORDER BY next_at LIMIT 1) <= clock_timestamp() THEN 'callbacks ' ELSE '' END
  || CASE WHEN EXISTS (SELECT 1 FROM taskdaemon_fill_due) THEN 'keys_due ' ELSE '' END
  || CASE WHEN (SELECT id FROM taskdaemon_operation WHERE state = 'running' ORDER BY id LIMIT 1) IS NOT NULL THEN 'operations ' ELSE '' END
  || CASE WHEN EXISTS (SELECT 1 FROM taskdaemon_ungrouped_failure) THEN 'kept_failures ' ELSE '' END
  || CASE WHEN NOT EXISTS (SELECT 1 FROM taskdaemon_history WHERE minute = floor(extract(epoch from statement_timestamp()) / 60)::bigint) THEN 'history ' ELSE '' END
  || CASE WHEN EXISTS (SELECT 1 FROM (SELECT 1 FROM taskdaemon_task
    WHERE callback_url IS NOT NULL AND completed_at IS NOT NULL AND (callback_told IS NULL OR callback_told < completed_at OR callback_told > completed_at) AND completed_at >= CASE WHEN statement_timestamp() < 'epoch'::timestamptz + $6::bigint * interval '1 microsecond' THEN '-infinity'
  ELSE 'epoch'::timestamptz + $6::bigint * interval '1 microsecond' END ORDER BY completed_at LIMIT 1) AS found) THEN 'untold ' ELSE '' END
  || CASE WHEN EXISTS (SELECT 1 FROM (SELECT 1 FROM taskdaemon_task
    WHERE status = 'failed' AND failure_group IS NULL AND completed_at >= CASE WHEN statement_timestamp() < 'epoch'::timestamptz + $7::bigint * interval '1 microsecond' THEN '-infinity'
  ELSE 'epoch'::timestamptz + $7::bigint * interval '1 microsecond' END ORDER BY completed_at LIMIT 1) AS found) THEN 'ungrouped ' ELSE '' END
  || '' AS features,
  floor(extract(epoch from statement_timestamp()) / 60)::bigint AS minute,
  coalesce((SELECT max(id) FROM taskdaemon_reload), 0) AS reload,
  (SELECT json_agg(handler)::text FROM taskdaemon_handler_pause WHERE until IS NULL OR until > clock_timestamp()) AS paused,
  EXISTS (SELECT 1 FROM taskdaemon_node WHERE name = $1::text AND drain_requested_at IS NOT NULL) AS drained,
  (SELECT CAST(drained_types AS text) FROM taskdaemon_node WHERE name = $1::text) AS drained_types,
  (SELECT json_agg(json_build_array(type, places, seconds))::text FROM (
SELECT held.handler AS type,
  CASE WHEN held.max_running IS NULL THEN NULL WHEN held.running >= held.max_running THEN 0
    ELSE held.max_running - held.running END AS places,
  CASE WHEN held.interval IS NULL THEN NULL WHEN held.last_start IS NULL OR held.last_start > extract(epoch from clock_timestamp())::float8 THEN 0
    ELSE held.last_start + held.interval - extract(epoch from clock_timestamp())::float8 END AS seconds
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
  (SELECT json_agg(handler)::text FROM taskdaemon_handler_pause WHERE until IS NULL OR until > clock_timestamp()) AS paused,
  EXISTS (SELECT 1 FROM taskdaemon_node WHERE name = $1::text AND drain_requested_at IS NOT NULL) AS drained,
  (SELECT CAST(drained_types AS text) FROM taskdaemon_node WHERE name = $1::text) AS drained_types,
  (SELECT json_agg(json_build_array(type, places, seconds))::text FROM (
SELECT held.handler AS type,
  CASE WHEN held.max_running IS NULL THEN NULL WHEN held.running >= held.max_running THEN 0
    ELSE held.max_running - held.running END AS places,
  CASE WHEN held.interval IS NULL THEN NULL WHEN held.last_start IS NULL OR held.last_start > extract(epoch from clock_timestamp())::float8 THEN 0
    ELSE held.last_start + held.interval - extract(epoch from clock_timestamp())::float8 END AS seconds
FROM (
  SELECT handler, max_running, interval, last_start, CASE WHEN max_running IS NOT NULL THEN (
    SELECT count(*) FROM taskdaemon_running_permit AS permit WHERE permit.task_type = taskdaemon_limit.handler
  ) END AS running
  FROM taskdaemon_limit WHERE max_running IS NOT NULL OR interval IS NOT NULL
) AS held
) AS limited) AS limits;

-- reading_statement, fifo (readings.py)
-- Reads counters and queues, for metrics and the dashboard, from where indexes begin.
WITH parts AS MATERIALIZED (
  SELECT series, CAST(sum(value) AS bigint) AS value FROM (SELECT series, value FROM taskdaemon_counter WHERE series <> 'folded' UNION ALL
  SELECT part.key, part.value::bigint FROM taskdaemon_counter_delta AS delta
  CROSS JOIN LATERAL json_each_text(delta.counts::json) AS part WHERE delta.id >= coalesce((SELECT value FROM taskdaemon_counter
    WHERE slot = 0 AND series = 'folded' AND value <= coalesce(pg_sequence_last_value('taskdaemon_counter_delta_id_seq'), 0) + 1), 0)) AS parts GROUP BY series
), listed AS MATERIALIZED (
  SELECT * FROM json_to_recordset($1::json)
    AS l(type text, since bigint, new bigint, again bigint, a bigint[], b bigint[], c bigint[])
), known AS MATERIALIZED (
  SELECT * FROM listed
  UNION ALL SELECT name, 0, 0, 0, $2::bigint[], $3::bigint[], $4::bigint[]
  FROM (SELECT DISTINCT split_part(series, '|', 2) AS name FROM parts WHERE series LIKE 'received|%') AS received
  WHERE name NOT IN (SELECT type FROM listed)
)
SELECT 'total', series, '', value, CAST(NULL AS float8) FROM parts
UNION ALL SELECT 'ready', type, '', n, (extract(epoch from clock_timestamp() - least(
    (SELECT ready_at FROM taskdaemon_task WHERE status = 'pending' AND due IS NULL AND task_type = known.type AND place >= known.new
      AND attempts = 0 ORDER BY place LIMIT 1),
    (SELECT ready_at FROM taskdaemon_task WHERE ((status = 'pending' AND due IS NULL AND attempts > 0) OR attempts < 0) AND task_type = known.type
      AND ready_at >= CASE WHEN statement_timestamp() < 'epoch'::timestamptz + known.again * interval '1 microsecond' THEN '-infinity'
  ELSE 'epoch'::timestamptz + known.again * interval '1 microsecond' END ORDER BY ready_at LIMIT 1))))::float8 FROM (SELECT *, (SELECT count(*) FROM unnest(known.a, known.b, known.c) AS segment(a, b, c) CROSS JOIN LATERAL (SELECT 1 FROM (SELECT 1 FROM taskdaemon_task WHERE ((status = 'pending' AND due IS NULL AND attempts > 0) OR attempts < 0) AND task_type = known.type AND ready_at >= CASE WHEN statement_timestamp() < 'epoch'::timestamptz + known.since * interval '1 microsecond' THEN '-infinity'
  ELSE 'epoch'::timestamptz + known.since * interval '1 microsecond' END AND place < segment.a ORDER BY place) AS arm0 UNION ALL SELECT 1 FROM (SELECT 1 FROM taskdaemon_task WHERE status = 'pending' AND due IS NULL AND task_type = known.type AND place >= segment.a ORDER BY place) AS arm1) AS found) AS n FROM known) AS known WHERE n > 0
UNION ALL SELECT CASE WHEN due <= 1e300 THEN 'waiting' ELSE 'held' END, task_type, '', count(*), NULL FROM (SELECT task_type, due FROM (SELECT * FROM taskdaemon_task WHERE status = 'pending' AND due IS NOT NULL AND clock = 'server' AND due >= $5::float8 ORDER BY due) AS waits0 UNION ALL SELECT task_type, due FROM (SELECT * FROM taskdaemon_task WHERE status = 'pending' AND due IS NOT NULL AND clock < 'server' ORDER BY clock) AS waits1 UNION ALL SELECT task_type, due FROM (SELECT * FROM taskdaemon_task WHERE status = 'pending' AND due IS NOT NULL AND clock > 'server' ORDER BY clock) AS waits2) AS waiting GROUP BY 1, task_type
UNION ALL SELECT 'running', task_type, node, count(*), NULL FROM (
  SELECT id, task_type, node, lease, clock FROM (SELECT * FROM taskdaemon_task
    WHERE status = 'processing' AND started_at >= CASE WHEN statement_timestamp() < 'epoch'::timestamptz + $6::bigint * interval '1 microsecond' THEN '-infinity'
  ELSE 'epoch'::timestamptz + $6::bigint * interval '1 microsecond' END ORDER BY started_at) AS began
  UNION ALL SELECT id, task_type, node, lease, clock FROM taskdaemon_task
    WHERE id = ANY(ARRAY(SELECT unnest($7::uuid[]))) AND coalesce(status) = 'processing'
    AND started_at < CASE WHEN statement_timestamp() < 'epoch'::timestamptz + $6::bigint * interval '1 microsecond' THEN '-infinity'
  ELSE 'epoch'::timestamptz + $6::bigint * interval '1 microsecond' END
) AS running
GROUP BY task_type, node;

-- reading_statement, lifo (readings.py)
-- Reads counters and queues, for metrics and the dashboard, from where indexes begin.
WITH parts AS MATERIALIZED (
  SELECT series, CAST(sum(value) AS bigint) AS value FROM (SELECT series, value FROM taskdaemon_counter WHERE series <> 'folded' UNION ALL
  SELECT part.key, part.value::bigint FROM taskdaemon_counter_delta AS delta
  CROSS JOIN LATERAL json_each_text(delta.counts::json) AS part WHERE delta.id >= coalesce((SELECT value FROM taskdaemon_counter
    WHERE slot = 0 AND series = 'folded' AND value <= coalesce(pg_sequence_last_value('taskdaemon_counter_delta_id_seq'), 0) + 1), 0)) AS parts GROUP BY series
), listed AS MATERIALIZED (
  SELECT * FROM json_to_recordset($1::json)
    AS l(type text, since bigint, new bigint, again bigint, a bigint[], b bigint[], c bigint[])
), known AS MATERIALIZED (
  SELECT * FROM listed
  UNION ALL SELECT name, 0, 0, 0, $2::bigint[], $3::bigint[], $4::bigint[]
  FROM (SELECT DISTINCT split_part(series, '|', 2) AS name FROM parts WHERE series LIKE 'received|%') AS received
  WHERE name NOT IN (SELECT type FROM listed)
)
SELECT 'total', series, '', value, CAST(NULL AS float8) FROM parts
UNION ALL SELECT 'ready', type, '', n, (extract(epoch from clock_timestamp() - least(
    (SELECT ready_at FROM taskdaemon_task WHERE status = 'pending' AND due IS NULL AND task_type = known.type AND place >= known.new
      AND attempts = 0 ORDER BY place LIMIT 1),
    (SELECT ready_at FROM taskdaemon_task WHERE ((status = 'pending' AND due IS NULL AND attempts > 0) OR attempts < 0) AND task_type = known.type
      AND ready_at >= CASE WHEN statement_timestamp() < 'epoch'::timestamptz + known.again * interval '1 microsecond' THEN '-infinity'
  ELSE 'epoch'::timestamptz + known.again * interval '1 microsecond' END ORDER BY ready_at LIMIT 1))))::float8 FROM (SELECT *, (SELECT count(*) FROM unnest(known.a, known.b, known.c) AS segment(a, b, c) CROSS JOIN LATERAL (SELECT 1 FROM (SELECT 1 FROM taskdaemon_task WHERE status = 'pending' AND due IS NULL AND task_type = known.type AND place >= segment.a AND place < segment.b ORDER BY place DESC) AS arm0 UNION ALL SELECT 1 FROM (SELECT 1 FROM taskdaemon_task WHERE ((status = 'pending' AND due IS NULL AND attempts > 0) OR attempts < 0) AND task_type = known.type AND ready_at >= CASE WHEN statement_timestamp() < 'epoch'::timestamptz + known.since * interval '1 microsecond' THEN '-infinity'
  ELSE 'epoch'::timestamptz + known.since * interval '1 microsecond' END AND place < segment.a AND place >= segment.c ORDER BY place DESC) AS arm1) AS found) AS n FROM known) AS known WHERE n > 0
UNION ALL SELECT CASE WHEN due <= 1e300 THEN 'waiting' ELSE 'held' END, task_type, '', count(*), NULL FROM (SELECT task_type, due FROM (SELECT * FROM taskdaemon_task WHERE status = 'pending' AND due IS NOT NULL AND clock = 'server' AND due >= $5::float8 ORDER BY due) AS waits0 UNION ALL SELECT task_type, due FROM (SELECT * FROM taskdaemon_task WHERE status = 'pending' AND due IS NOT NULL AND clock < 'server' ORDER BY clock) AS waits1 UNION ALL SELECT task_type, due FROM (SELECT * FROM taskdaemon_task WHERE status = 'pending' AND due IS NOT NULL AND clock > 'server' ORDER BY clock) AS waits2) AS waiting GROUP BY 1, task_type
UNION ALL SELECT 'running', task_type, node, count(*), NULL FROM (
  SELECT id, task_type, node, lease, clock FROM (SELECT * FROM taskdaemon_task
    WHERE status = 'processing' AND started_at >= CASE WHEN statement_timestamp() < 'epoch'::timestamptz + $6::bigint * interval '1 microsecond' THEN '-infinity'
  ELSE 'epoch'::timestamptz + $6::bigint * interval '1 microsecond' END ORDER BY started_at) AS began
  UNION ALL SELECT id, task_type, node, lease, clock FROM taskdaemon_task
    WHERE id = ANY(ARRAY(SELECT unnest($7::uuid[]))) AND coalesce(status) = 'processing'
    AND started_at < CASE WHEN statement_timestamp() < 'epoch'::timestamptz + $6::bigint * interval '1 microsecond' THEN '-infinity'
  ELSE 'epoch'::timestamptz + $6::bigint * interval '1 microsecond' END
) AS running
GROUP BY task_type, node;

-- reading_statement, priority (readings.py)
-- Reads counters and queues, for metrics and the dashboard, from where indexes begin.
WITH parts AS MATERIALIZED (
  SELECT series, CAST(sum(value) AS bigint) AS value FROM (SELECT series, value FROM taskdaemon_counter WHERE series <> 'folded' UNION ALL
  SELECT part.key, part.value::bigint FROM taskdaemon_counter_delta AS delta
  CROSS JOIN LATERAL json_each_text(delta.counts::json) AS part WHERE delta.id >= coalesce((SELECT value FROM taskdaemon_counter
    WHERE slot = 0 AND series = 'folded' AND value <= coalesce(pg_sequence_last_value('taskdaemon_counter_delta_id_seq'), 0) + 1), 0)) AS parts GROUP BY series
), listed AS MATERIALIZED (
  SELECT * FROM json_to_recordset($1::json)
    AS l(type text, since bigint, new bigint, again bigint, a bigint[], b bigint[], c bigint[])
), known AS MATERIALIZED (
  SELECT * FROM listed
  UNION ALL SELECT name, 0, 0, 0, $2::bigint[], $3::bigint[], $4::bigint[]
  FROM (SELECT DISTINCT split_part(series, '|', 2) AS name FROM parts WHERE series LIKE 'received|%') AS received
  WHERE name NOT IN (SELECT type FROM listed)
)
SELECT 'total', series, '', value, CAST(NULL AS float8) FROM parts
UNION ALL SELECT 'ready', type, '', n, (extract(epoch from clock_timestamp() - least(
    (SELECT ready_at FROM taskdaemon_task WHERE status = 'pending' AND due IS NULL AND task_type = known.type AND place >= known.new
      AND attempts = 0 ORDER BY place LIMIT 1),
    (SELECT ready_at FROM taskdaemon_task WHERE ((status = 'pending' AND due IS NULL AND attempts > 0) OR attempts < 0) AND task_type = known.type
      AND ready_at >= CASE WHEN statement_timestamp() < 'epoch'::timestamptz + known.again * interval '1 microsecond' THEN '-infinity'
  ELSE 'epoch'::timestamptz + known.again * interval '1 microsecond' END ORDER BY ready_at LIMIT 1))))::float8 FROM (SELECT *, (SELECT count(*) FROM unnest(known.a, known.b, known.c) AS segment(a, b, c) CROSS JOIN LATERAL (SELECT 1 FROM (SELECT 1 FROM taskdaemon_task WHERE ((status = 'pending' AND due IS NULL AND attempts > 0) OR attempts < 0) AND task_type = known.type AND ready_at >= CASE WHEN statement_timestamp() < 'epoch'::timestamptz + known.since * interval '1 microsecond' THEN '-infinity'
  ELSE 'epoch'::timestamptz + known.since * interval '1 microsecond' END AND priority = segment.a AND place < segment.b ORDER BY place) AS arm0 UNION ALL SELECT 1 FROM (SELECT 1 FROM taskdaemon_task WHERE ((status = 'pending' AND due IS NULL) OR priority < 0) AND task_type = known.type AND priority = segment.a AND place >= segment.b ORDER BY place) AS arm1 UNION ALL SELECT 1 FROM (SELECT 1 FROM taskdaemon_task WHERE ((status = 'pending' AND due IS NULL) OR priority < 0) AND task_type = known.type AND priority < segment.a AND priority > segment.c ORDER BY priority DESC, place) AS arm2) AS found) AS n FROM known) AS known WHERE n > 0
UNION ALL SELECT CASE WHEN due <= 1e300 THEN 'waiting' ELSE 'held' END, task_type, '', count(*), NULL FROM (SELECT task_type, due FROM (SELECT * FROM taskdaemon_task WHERE status = 'pending' AND due IS NOT NULL AND clock = 'server' AND due >= $5::float8 ORDER BY due) AS waits0 UNION ALL SELECT task_type, due FROM (SELECT * FROM taskdaemon_task WHERE status = 'pending' AND due IS NOT NULL AND clock < 'server' ORDER BY clock) AS waits1 UNION ALL SELECT task_type, due FROM (SELECT * FROM taskdaemon_task WHERE status = 'pending' AND due IS NOT NULL AND clock > 'server' ORDER BY clock) AS waits2) AS waiting GROUP BY 1, task_type
UNION ALL SELECT 'running', task_type, node, count(*), NULL FROM (
  SELECT id, task_type, node, lease, clock FROM (SELECT * FROM taskdaemon_task
    WHERE status = 'processing' AND started_at >= CASE WHEN statement_timestamp() < 'epoch'::timestamptz + $6::bigint * interval '1 microsecond' THEN '-infinity'
  ELSE 'epoch'::timestamptz + $6::bigint * interval '1 microsecond' END ORDER BY started_at) AS began
  UNION ALL SELECT id, task_type, node, lease, clock FROM taskdaemon_task
    WHERE id = ANY(ARRAY(SELECT unnest($7::uuid[]))) AND coalesce(status) = 'processing'
    AND started_at < CASE WHEN statement_timestamp() < 'epoch'::timestamptz + $6::bigint * interval '1 microsecond' THEN '-infinity'
  ELSE 'epoch'::timestamptz + $6::bigint * interval '1 microsecond' END
) AS running
GROUP BY task_type, node;

-- reading (readings.py)
-- The same from the ends of the indexes, while it is not known where they begin.
SELECT 'total' AS kind, series AS name, '' AS detail, CAST(sum(value) AS bigint) AS n,
  CAST(NULL AS double precision) AS age
FROM (SELECT series, value FROM taskdaemon_counter WHERE series <> 'folded' UNION ALL
  SELECT part.key, part.value::bigint FROM taskdaemon_counter_delta AS delta
  CROSS JOIN LATERAL json_each_text(delta.counts::json) AS part WHERE delta.id >= coalesce((SELECT value FROM taskdaemon_counter
    WHERE slot = 0 AND series = 'folded' AND value <= coalesce(pg_sequence_last_value('taskdaemon_counter_delta_id_seq'), 0) + 1), 0)) AS parts GROUP BY series
UNION ALL
SELECT 'ready', g.task_type, '', g.n, (
  SELECT (extract(epoch from clock_timestamp() - min(ready_at)))::float8 FROM (
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
SELECT 'running', task_type, node, count(*), NULL FROM (SELECT task_type, node FROM taskdaemon_task
      WHERE status = 'processing' AND started_at >= '-infinity' ORDER BY started_at) AS running GROUP BY task_type, node;

-- runs (readings.py)
-- Reads all running tasks.
SELECT id, task_type, node FROM (
  SELECT id, task_type, node, lease, clock FROM (SELECT * FROM taskdaemon_task
    WHERE status = 'processing' AND started_at >= CASE WHEN statement_timestamp() < 'epoch'::timestamptz + $1::bigint * interval '1 microsecond' THEN '-infinity'
  ELSE 'epoch'::timestamptz + $1::bigint * interval '1 microsecond' END ORDER BY started_at) AS began
  UNION ALL SELECT id, task_type, node, lease, clock FROM taskdaemon_task
    WHERE id = ANY(ARRAY(SELECT unnest($2::uuid[]))) AND coalesce(status) = 'processing'
    AND started_at < CASE WHEN statement_timestamp() < 'epoch'::timestamptz + $1::bigint * interval '1 microsecond' THEN '-infinity'
  ELSE 'epoch'::timestamptz + $1::bigint * interval '1 microsecond' END
) AS running;

-- statement, fifo (readings.py)
-- Counts the ready tasks that come before a task.
SELECT count(*) FROM (SELECT 1 FROM unnest($6::bigint[], $7::bigint[], $8::bigint[]) AS segment(a, b, c) CROSS JOIN LATERAL (SELECT * FROM (SELECT 1 FROM taskdaemon_task WHERE status = 'pending' AND due IS NULL AND task_type = $1 AND (expires_at IS NULL OR NOT (attempts <= coalesce(unbegun_attempts, 0)) OR expires_at > statement_timestamp()) AND place >= segment.a AND place < $2::bigint ORDER BY place DESC LIMIT $4::int) AS arm0 UNION ALL SELECT * FROM (SELECT 1 FROM taskdaemon_task WHERE ((status = 'pending' AND due IS NULL AND attempts > 0) OR attempts < 0) AND task_type = $1 AND ready_at >= CASE WHEN statement_timestamp() < 'epoch'::timestamptz + $5::bigint * interval '1 microsecond' THEN '-infinity'
  ELSE 'epoch'::timestamptz + $5::bigint * interval '1 microsecond' END AND segment.a > 0 AND place < segment.a AND place < $2::bigint ORDER BY place DESC LIMIT $4::int) AS arm1) AS found WHERE $3::int IS NOT NULL LIMIT $4::int) AS before;

-- statement, lifo (readings.py)
-- Counts the ready tasks that come before a task.
SELECT count(*) FROM (SELECT 1 FROM unnest($6::bigint[], $7::bigint[], $8::bigint[]) AS segment(a, b, c) CROSS JOIN LATERAL (SELECT * FROM (SELECT 1 FROM taskdaemon_task WHERE status = 'pending' AND due IS NULL AND task_type = $1 AND (expires_at IS NULL OR NOT (attempts <= coalesce(unbegun_attempts, 0)) OR expires_at > statement_timestamp()) AND place >= segment.a AND place > $2::bigint AND place < segment.b ORDER BY place LIMIT $4::int) AS arm0 UNION ALL SELECT * FROM (SELECT 1 FROM taskdaemon_task WHERE ((status = 'pending' AND due IS NULL AND attempts > 0) OR attempts < 0) AND task_type = $1 AND ready_at >= CASE WHEN statement_timestamp() < 'epoch'::timestamptz + $5::bigint * interval '1 microsecond' THEN '-infinity'
  ELSE 'epoch'::timestamptz + $5::bigint * interval '1 microsecond' END AND segment.a > 0 AND place < segment.a AND place >= segment.c AND place > $2::bigint ORDER BY place LIMIT $4::int) AS arm1) AS found WHERE $3::int IS NOT NULL LIMIT $4::int) AS before;

-- statement, priority (readings.py)
-- Counts the ready tasks that come before a task.
SELECT count(*) FROM (SELECT 1 FROM unnest($6::bigint[], $7::bigint[], $8::bigint[]) AS segment(a, b, c) CROSS JOIN LATERAL (SELECT * FROM (SELECT 1 FROM taskdaemon_task WHERE ((status = 'pending' AND due IS NULL) OR priority < 0) AND task_type = $1 AND (expires_at IS NULL OR NOT (attempts <= coalesce(unbegun_attempts, 0)) OR expires_at > statement_timestamp()) AND priority = segment.a AND segment.a >= $3::int AND place < CASE WHEN segment.a > $3::int THEN 9223372036854775807 ELSE $2::bigint END AND place >= segment.b ORDER BY place DESC LIMIT $4::int) AS arm0 UNION ALL SELECT * FROM (SELECT 1 FROM taskdaemon_task WHERE ((status = 'pending' AND due IS NULL AND attempts > 0) OR attempts < 0) AND task_type = $1 AND ready_at >= CASE WHEN statement_timestamp() < 'epoch'::timestamptz + $5::bigint * interval '1 microsecond' THEN '-infinity'
  ELSE 'epoch'::timestamptz + $5::bigint * interval '1 microsecond' END AND segment.b > 0 AND priority = segment.a AND segment.a >= $3::int AND place < CASE WHEN segment.a > $3::int THEN 9223372036854775807 ELSE $2::bigint END AND place < segment.b ORDER BY place DESC LIMIT $4::int) AS arm1 UNION ALL SELECT * FROM (SELECT 1 FROM taskdaemon_task WHERE ((status = 'pending' AND due IS NULL) OR priority < 0) AND task_type = $1 AND (expires_at IS NULL OR NOT (attempts <= coalesce(unbegun_attempts, 0)) OR expires_at > statement_timestamp()) AND priority = $3::int AND segment.a > $3::int AND segment.c < $3::int AND place < $2::bigint ORDER BY place DESC LIMIT $4::int) AS arm2 UNION ALL SELECT * FROM (SELECT 1 FROM taskdaemon_task WHERE ((status = 'pending' AND due IS NULL) OR priority < 0) AND task_type = $1 AND (expires_at IS NULL OR NOT (attempts <= coalesce(unbegun_attempts, 0)) OR expires_at > statement_timestamp()) AND priority < segment.a AND priority > segment.c AND priority > $3::int ORDER BY priority, place DESC LIMIT $4::int) AS arm3) AS found WHERE $3::int IS NOT NULL LIMIT $4::int) AS before;

-- read_versions (readings.py)
-- Reads a text for each task that changes with it, for requests that wait for a change.
SELECT id, (
  SELECT status || ' ' || attempts || ' ' || coalesce(CAST(completed_at AS text), '') || ' ' || coalesce((
    SELECT max(sequence) FROM taskdaemon_live_event AS event
    WHERE event.task_id = task.id AND event.attempt = task.attempts), 0)
  FROM taskdaemon_task AS task WHERE task.id = watched.id
) FROM unnest($1::uuid[]) AS watched(id);

-- read_final_or_gone (readings.py)
-- Reads which tasks have ended, for requests that wait for an end.
SELECT id FROM unnest($1::uuid[]) AS watched(id) WHERE coalesce(
  (SELECT status IN ('completed', 'failed') FROM taskdaemon_task AS task WHERE task.id = watched.id), true
);

-- read_data (readings.py)
-- Reads the data of a task, which may be large.
SELECT octet_length(text), CASE WHEN octet_length(text) <= $2::int THEN text END
FROM (SELECT task_data::text FROM taskdaemon_task WHERE id = $1::uuid OFFSET 0) AS made(text);

-- add (counters.py)
-- Adds to counters.
INSERT INTO taskdaemon_counter_delta (counts) VALUES ($1);

-- read_reached (counters.py)
-- Reads how far additions have come.
SELECT coalesce(pg_sequence_last_value('taskdaemon_counter_delta_id_seq'), 0);

-- lock (counters.py)
-- Asks whether this is the only session that folds.
SELECT pg_try_advisory_xact_lock(7468, 1);

-- fold (counters.py)
-- Adds all additions up to an id to the counters' rows, and removes them.
WITH gone AS (
  DELETE FROM taskdaemon_counter_delta WHERE id >= coalesce((SELECT value FROM taskdaemon_counter
    WHERE slot = 0 AND series = 'folded' AND value <= coalesce(pg_sequence_last_value('taskdaemon_counter_delta_id_seq'), 0) + 1), 0) AND id <= $1::bigint RETURNING counts
), added AS (
  SELECT part.key AS series, sum(part.value::bigint) AS value
  FROM gone CROSS JOIN LATERAL json_each_text(gone.counts::json) AS part GROUP BY part.key
  UNION ALL SELECT 'folded', greatest($1::bigint + 1, coalesce((SELECT value FROM taskdaemon_counter
    WHERE slot = 0 AND series = 'folded' AND value <= coalesce(pg_sequence_last_value('taskdaemon_counter_delta_id_seq'), 0) + 1), 0))
)
INSERT INTO taskdaemon_counter (slot, series, value) SELECT 0, series, value FROM added
ON CONFLICT (slot, series) DO UPDATE SET value = excluded.value
  + CASE WHEN taskdaemon_counter.series = 'folded' THEN 0 ELSE taskdaemon_counter.value END;

-- read (scan_start.py)
-- Reads where indexes begin to have rows.
SELECT id, state, coalesce(ended, '{}') FROM taskdaemon_scan_start ORDER BY id DESC LIMIT 1;

-- reached (scan_start.py)
-- Reads how far positions, attempts and the clock have come.
SELECT coalesce(pg_sequence_last_value('taskdaemon_place'), 0), (extract(epoch from clock_timestamp()) * 1000000)::bigint,
  coalesce(pg_sequence_last_value('taskdaemon_attempt_id_seq'), 0);

-- lock (scan_start.py)
-- Asks whether this is the only session that moves the row.
SELECT pg_try_advisory_xact_lock(7468, 2), (extract(epoch from clock_timestamp()) * 1000000)::bigint;

-- limit (scan_start.py)
-- Limits the statements of this transaction, which are given up rather than waited for.
SELECT set_config('statement_timeout', '500', true);

-- first_statement (scan_start.py)
-- Finds the first row of each index.
SELECT
  (SELECT coalesce(json_agg(json_build_array(known.type,
    (SELECT place FROM taskdaemon_task WHERE status = 'pending' AND due IS NULL AND task_type = known.type AND place >= known.new AND attempts = 0
      ORDER BY place LIMIT 1),
    (SELECT (extract(epoch from ready_at) * 1000000)::bigint FROM taskdaemon_task WHERE ((status = 'pending' AND due IS NULL AND attempts > 0) OR attempts < 0) AND task_type = known.type
      AND ready_at >= CASE WHEN statement_timestamp() < 'epoch'::timestamptz + known.again * interval '1 microsecond' THEN '-infinity'
  ELSE 'epoch'::timestamptz + known.again * interval '1 microsecond' END ORDER BY ready_at LIMIT 1))), '[]')::text
    FROM json_to_recordset($1::json) AS known(type text, new bigint, again bigint)),
  (SELECT due FROM taskdaemon_task WHERE status = 'pending' AND due IS NOT NULL AND clock = 'server'
    AND due >= $4::float8 ORDER BY due LIMIT 1),
  (SELECT (extract(epoch from expires_at) * 1000000)::bigint FROM taskdaemon_task
    WHERE status = 'pending' AND expires_at IS NOT NULL AND attempts <= coalesce(unbegun_attempts, 0)
    AND expires_at >= CASE WHEN statement_timestamp() < 'epoch'::timestamptz + $5::bigint * interval '1 microsecond' THEN '-infinity'
  ELSE 'epoch'::timestamptz + $5::bigint * interval '1 microsecond' END AND expires_at <= statement_timestamp()
    ORDER BY expires_at LIMIT 1),
  (SELECT coalesce(json_agg(id), '[]')::text FROM (
  SELECT id, task_type, node, lease, clock FROM (SELECT * FROM taskdaemon_task
    WHERE status = 'processing' AND started_at >= CASE WHEN statement_timestamp() < 'epoch'::timestamptz + $2::bigint * interval '1 microsecond' THEN '-infinity'
  ELSE 'epoch'::timestamptz + $2::bigint * interval '1 microsecond' END ORDER BY started_at) AS began
  UNION ALL SELECT id, task_type, node, lease, clock FROM taskdaemon_task
    WHERE id = ANY(ARRAY(SELECT unnest($3::uuid[]))) AND coalesce(status) = 'processing'
    AND started_at < CASE WHEN statement_timestamp() < 'epoch'::timestamptz + $2::bigint * interval '1 microsecond' THEN '-infinity'
  ELSE 'epoch'::timestamptz + $2::bigint * interval '1 microsecond' END
) AS running),
  json_build_object('untold', (SELECT (extract(epoch from completed_at) * 1000000)::bigint FROM taskdaemon_task
    WHERE callback_url IS NOT NULL AND completed_at IS NOT NULL AND (callback_told IS NULL OR callback_told < completed_at OR callback_told > completed_at) AND completed_at >= CASE WHEN statement_timestamp() < 'epoch'::timestamptz + $6::bigint * interval '1 microsecond' THEN '-infinity'
  ELSE 'epoch'::timestamptz + $6::bigint * interval '1 microsecond' END ORDER BY completed_at LIMIT 1), 'ungrouped', (SELECT (extract(epoch from completed_at) * 1000000)::bigint FROM taskdaemon_task
    WHERE status = 'failed' AND failure_group IS NULL AND completed_at >= CASE WHEN statement_timestamp() < 'epoch'::timestamptz + $7::bigint * interval '1 microsecond' THEN '-infinity'
  ELSE 'epoch'::timestamptz + $7::bigint * interval '1 microsecond' END ORDER BY completed_at LIMIT 1))::text;

-- types (scan_start.py)
-- Reads the types of which tasks were received.
SELECT DISTINCT split_part(series, '|', 2) FROM taskdaemon_counter WHERE series LIKE 'received|%';

-- all_types (scan_start.py)
-- Reads the same, and the types of all ready tasks.
WITH RECURSIVE found(name) AS (
  (SELECT task_type FROM taskdaemon_task WHERE status = 'pending' AND due IS NULL ORDER BY task_type LIMIT 1)
  UNION ALL SELECT (SELECT task_type FROM taskdaemon_task WHERE status = 'pending' AND due IS NULL AND task_type > found.name
    ORDER BY task_type LIMIT 1) FROM found WHERE found.name IS NOT NULL
) SELECT name FROM found WHERE name IS NOT NULL UNION SELECT DISTINCT split_part(series, '|', 2) FROM taskdaemon_counter WHERE series LIKE 'received|%';

-- priorities (scan_start.py)
-- Reads the types and priorities of tasks that were claimed lately.
SELECT DISTINCT task_type, priority FROM taskdaemon_task
WHERE id = ANY(ARRAY(SELECT task_id FROM taskdaemon_attempt ORDER BY id DESC LIMIT 32));

-- remove (scan_start.py)
-- Removes the row before.
DELETE FROM taskdaemon_scan_start WHERE id = $1;

-- store (scan_start.py)
-- Stores where indexes begin.
INSERT INTO taskdaemon_scan_start (state, ended) VALUES ($1, $2);

-- writers (horizon.py)
-- Lists the transactions that may write to a table.
SELECT coalesce(json_agg(DISTINCT CASE WHEN pid IS NULL THEN 'prepared' ELSE virtualtransaction END), '[]')::text
FROM pg_locks
WHERE locktype = 'relation' AND relation = 'taskdaemon_task'::regclass AND mode IN ('RowShareLock', 'RowExclusiveLock')
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database());

-- hidden (maintain.py)
-- Finds ready tasks that claims skip because another program has moved them.
SELECT DISTINCT hidden.id::text, band.type
FROM json_to_recordset($1::json) AS band(type text, low bigint, high bigint, priority int, since bigint)
CROSS JOIN LATERAL ((SELECT id FROM taskdaemon_task WHERE status = 'pending' AND due IS NULL AND band.priority IS NULL AND task_type = band.type
      AND place >= band.low AND place < band.high
      AND (attempts = 0 OR ready_at < 'epoch'::timestamptz + band.since * interval '1 microsecond') ORDER BY place) UNION ALL (SELECT id FROM taskdaemon_task WHERE ((status = 'pending' AND due IS NULL) OR priority < 0) AND priority = band.priority AND task_type = band.type
      AND place >= band.low AND place < band.high
      AND (attempts = 0 OR ready_at < 'epoch'::timestamptz + band.since * interval '1 microsecond') ORDER BY place)) AS hidden;

-- oldest (maintain.py)
-- Finds the oldest snapshot that a session, a standby or a slot holds.
SELECT held.name, held.since, held.age FROM (
  SELECT CASE WHEN backend_type = 'walsender' THEN 'the standby ' ELSE 'session ' END || pid
      || coalesce(' (' || nullif(application_name, '') || ')', ''), coalesce(xact_start, backend_start),
    greatest(age(backend_xmin), age(backend_xid))
  FROM pg_stat_activity
  WHERE pid <> pg_backend_pid() AND (datname = current_database() OR datname IS NULL)
    AND backend_type IN ('client backend', 'walsender')
  UNION ALL SELECT 'the prepared transaction ' || gid, prepared, age(transaction) FROM pg_prepared_xacts
  WHERE database = current_database()
  UNION ALL SELECT 'the replication slot ' || slot_name, NULL, age(xmin) FROM pg_replication_slots
) AS held(name, since, age)
WHERE held.age >= $1::int AND coalesce(held.since <= clock_timestamp() - $2::float8 * interval '1 second', true)
ORDER BY held.age DESC LIMIT 1;

-- planner_settings (session.py)
-- Settings of the session of a thread that claims or settles.
SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off; SET jit = off;

-- not_durable (session.py)
-- The same, for a thread whose commits need not wait for the disk.
SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off; SET jit = off; SET synchronous_commit = off;

-- durable (session.py)
-- Lets the commit of this transaction wait for the disk, in a session whose commits do not.
SET LOCAL synchronous_commit = on;

-- read_seconds (session.py)
-- Reads the server's clock.
SELECT extract(epoch from clock_timestamp())::float8;

-- read_moment (session.py)
-- Reads the server's clock and the time of day, of one moment.
SELECT extract(epoch from moment)::float8, moment FROM clock_timestamp() AS moment;

-- lift (session.py)
-- Lets a statement take longer.
SET statement_timeout = 500;

-- reset (session.py)
-- Ends that.
RESET statement_timeout;

-- update_node (session.py)
-- Writes a node's state.
UPDATE taskdaemon_node SET pools = $1::jsonb, draining = $2::int::boolean, problems = $3::jsonb, stopped_at = NULL,
  seen_at = clock_timestamp(), seen = extract(epoch from clock_timestamp())::float8, clock = 'server'
WHERE name = $4 RETURNING 1;
