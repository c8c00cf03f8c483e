// Uses the types that openapi-typescript generated (`api.ts`) with openapi-fetch, against the daemon at argv[2].

import createClient from "openapi-fetch";
import type { components, paths } from "./api.js";

type Task = components["schemas"]["TaskObject"];

declare const process: { argv: string[] };
const base = process.argv[2];
if (base === undefined) throw new Error("which daemon?");
const api = createClient<paths>({ baseUrl: base });

function check(good: boolean, what: unknown): asserts good {
  if (!good) throw new Error(JSON.stringify(what));
}

async function ended(task_id: string): Promise<Task> {
  const { data } = await api.GET("/api/tasks/{task_id}", { params: { path: { task_id }, query: { wait: 60 } } });
  check(data?.status === "completed" || data?.status === "failed", data);
  return data;
}

// `data` and `priority` are optional, and any string is a type.
const type: string = "echo";
const first = await api.POST("/queue", { body: { type } });
check(first.data !== undefined, first.error);
const completed = await ended(first.data.task_id);
check(completed.status === "completed" && completed.failure_reason === null && completed.due_at === null, completed);

const second = await api.POST("/queue/batch", {
  body: { tasks: [{ type: "prime", data: { limit: "many" }, priority: 100 }] },
});
const task_id = second.data?.task_ids[0];
check(task_id !== undefined, second.error);
const failed = await ended(task_id);
check(failed.failure_reason === "handler_error" && failed.result === null, failed);

// What a task may ask for, a request that is repeated, a wait that comes with the POST.
const run: string = crypto.randomUUID();
const options = { delay: 0.2, expires_in: 600, timeout: 20, max_retries: 1, metadata: { order: 4711 }, unique_key: run };
const body = { type, tags: [run, "a/b"], ...options };
const params = { query: { wait: 60 }, header: { "Idempotency-Key": run } };
const once = await api.POST("/queue", { body, params });
check(once.data?.task?.status === "completed" && once.data.existing === false, once);
const { tags, metadata, timeout, max_retries, unique_key } = once.data.task;
check(tags?.[1] === "a/b" && metadata?.["order"] === 4711 && unique_key === run, once);
check(timeout === 20 && max_retries === 1, once);
const again = await api.POST("/queue", { body, params });
check(again.data?.task_id === once.data.task_id, again);
check(again.response.headers.get("Idempotent-Replayed") === "true", again);
const reused = await api.POST("/queue", { body: { type }, params });
check(reused.response.status === 422 && reused.error?.error.includes(once.data.task_id) === true, reused);

// Later, once at a time, and cancelled.
const in_hours = (hours: number): string => new Date(Date.now() + hours * 3_600_000).toISOString();
const later = { type, run_at: in_hours(1), expires_at: in_hours(2), unique_key: run, tags: [run, "a/b"] };
const waits = await api.POST("/queue", { body: later });
check(waits.data?.existing === false, waits);
const twin = await api.POST("/queue/batch", { body: { tasks: [later] } });
check(twin.data?.existing?.[0] === true && twin.data.task_ids[0] === waits.data.task_id, twin);
const cancel = { params: { path: { task_id: waits.data.task_id } } };
const cancelled = await api.POST("/api/tasks/{task_id}/cancel", cancel);
check(cancelled.data?.failure_reason === "cancelled", cancelled);
check((await api.POST("/api/tasks/{task_id}/cancel", cancel)).response.status === 409, cancelled);

// Page after page.
const page = await api.GET("/api/tasks", { params: { query: { tag: [run, "a/b"], limit: 1 } } });
const cursor = page.response.headers.get("Next-Cursor");
check(cursor !== null && page.data?.[0]?.id === waits.data.task_id, page);
const rest = await api.GET("/api/tasks", { params: { query: { tag: [run, "a/b"], limit: 1, cursor } } });
check(rest.data?.[0]?.id === once.data.task_id && !rest.response.headers.has("Next-Cursor"), rest);

const attempts = await api.GET("/api/tasks/{task_id}/attempts", { params: { path: { task_id } } });
const code: number | null | undefined = attempts.data?.[0]?.exit_code;
check(code === null && attempts.data?.[0]?.error === failed.last_error, attempts);

const listed = await api.GET("/api/tasks", { params: { query: { limit: 5, status: ["failed"] } } });
check(listed.data?.some((each) => each.id === failed.id) === true, listed);
const parts = await api.GET("/api/tasks", { params: { query: { ids: [failed.id], fields: ["id", "result"] } } });
check(parts.data?.length === 1 && parts.data[0]?.status === undefined, parts);
const handler = await api.GET("/api/handlers/{type}", { params: { path: { type: "prime" } } });
const slots: number | undefined = handler.data?.slots.all;
check(slots !== undefined && handler.data?.problem === null, handler);
const gone = await api.DELETE("/api/tasks/{task_id}", { params: { path: { task_id: completed.id } } });
check(gone.response.status === 204, gone.error);
const wrong = await api.POST("/queue", { body: { type: "unknown" } });
check(wrong.error !== undefined && wrong.error.error.includes("unknown"), wrong);
const health = await api.GET("/health");
check(health.data?.status === "healthy", health);
