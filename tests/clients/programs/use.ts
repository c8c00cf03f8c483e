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
  const until = Date.now() + 60_000;
  while (Date.now() < until) {
    const { data } = await api.GET("/api/tasks/{task_id}", { params: { path: { task_id } } });
    check(data !== undefined, task_id);
    if (data.status === "completed" || data.status === "failed") return data;
    await new Promise((go) => setTimeout(go, 50));
  }
  throw new Error(`task ${task_id} has not ended`);
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

const attempts = await api.GET("/api/tasks/{task_id}/attempts", { params: { path: { task_id } } });
const code: number | null | undefined = attempts.data?.[0]?.exit_code;
check(code === null && attempts.data?.[0]?.error === failed.last_error, attempts);

const listed = await api.GET("/api/tasks", { params: { query: { limit: 5, status: "failed" } } });
check(listed.data?.some((each) => each.id === failed.id) === true, listed);
const parts = await api.GET("/api/tasks", { params: { query: { ids: failed.id, fields: "id,result" } } });
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
