"""Queries of limits that the engine sends as parts of its own. Imported before Django has loaded its models."""

#: `Feature.start_limits`. A start in the future is left to a claim, which writes another moment down.
START_LIMITS = """
SELECT held.handler AS type,
  CASE WHEN held.max_running IS NULL THEN NULL WHEN held.running >= held.max_running THEN 0
    ELSE held.max_running - held.running END AS places,
  CASE WHEN held.interval IS NULL THEN NULL WHEN held.last_start IS NULL OR held.last_start > {now} THEN 0
    ELSE held.last_start + held.interval - {now} END AS seconds
FROM (
  SELECT handler, max_running, interval, last_start, CASE WHEN max_running IS NOT NULL THEN (
    SELECT count(*) FROM taskdaemon_running_permit AS permit WHERE permit.task_type = taskdaemon_limit.handler
  ) END AS running
  FROM taskdaemon_limit WHERE max_running IS NOT NULL OR interval IS NOT NULL
) AS held
"""
