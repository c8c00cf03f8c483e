// Uses the client that openapi-generator made with `typescript-fetch` (`./client`), against the daemon at argv[2].

import { Configuration, ResponseError, TasksApi } from "./client/index.js";

declare const process: { argv: string[] };
const basePath = process.argv[2];
if (basePath === undefined) throw new Error("which daemon?");
const tasks = new TasksApi(new Configuration({ basePath }));

function check(good: boolean, what: unknown): asserts good {
  if (!good) throw new Error(JSON.stringify(what));
}

const run: string = crypto.randomUUID();

// Submit and wait, then submit again with the same key.
const newTaskRequest = { type: "echo", data: { hello: "world" }, tags: [run] };
const queued = await tasks.queueTask({ newTaskRequest, wait: 60, idempotencyKey: run });
check(queued.task?.status === "completed" && queued.task.result?.hello === "world", queued);
const again = await tasks.queueTask({ newTaskRequest, idempotencyKey: run });
check(again.taskId === queued.taskId, again);

// Wait for one that fails, and redrive it with other data.
const { taskId } = await tasks.queueTask({ newTaskRequest: { type: "prime", data: { limit: "many" }, tags: [run] } });
const failed = await tasks.getTask({ taskId, wait: 60 });
check(failed.status === "failed" && failed.failureReason === "handler_error", failed);
check(failed.completedAt instanceof Date && typeof failed.lastError === "string", failed);
const redriven = await tasks.redriveTask({ taskId, redriveRequest: { data: { limit: 10 }, priority: 90 } });
check(redriven.status === "pending" && redriven.priority === 90, redriven);
check((await tasks.getTask({ taskId, wait: 60 })).status === "completed", taskId);

// Cancel one that waits.
const late = await tasks.queueTask({ newTaskRequest: { type: "echo", delay: 600, tags: [run] } });
const cancelled = await tasks.cancelTask({ taskId: late.taskId });
check(cancelled.status === "failed" && cancelled.failureReason === "cancelled", cancelled);

// List them, with filters, by pages.
const listed = await tasks.listTasks({ tag: [run], status: ["failed", "completed"], type: ["echo", "prime"] });
check(listed.length === 3, listed);
const page = await tasks.listTasksRaw({ tag: [run], limit: 2 });
const cursor = page.raw.headers.get("Next-Cursor");
check(cursor !== null && (await page.value()).length === 2, cursor);
check((await tasks.listTasks({ tag: [run], limit: 2, cursor })).length === 1, cursor);

// What is refused says why.
const refused = await tasks.queueTask({ newTaskRequest: { type: "ecko" } }).then(() => null, (error: unknown) => error);
check(refused instanceof ResponseError && refused.response.status === 400, refused);
check((await refused.response.json()).error.includes("echo"), refused);
