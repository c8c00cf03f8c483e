// The client against a running platform at TASKDAEMON_URL, and at LOSSY_URL through a proxy that breaks 40 % of all calls.

import assert from "node:assert/strict";
import { test } from "node:test";
import * as client from "taskdaemon-client";
import { createRequire } from "node:module";

const { Client } = client;
const platform = new Client();
const lossy = new Client(process.env.LOSSY_URL, { retries: 100 });
const SUBMITS = Number(process.env.SUBMITS ?? 2000), WAITS = Number(process.env.WAITS ?? 200), STREAMS = Number(process.env.STREAMS ?? 40);

/** Call `act` for each number below `count`, so many at once. */
async function each(count, atOnce, act) {
  const results = [];
  let next = 0;
  const worker = async () => {
    for (let index = next++; index < count; index = next++) results[index] = await act(index);
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
  return results;
}

const collect = async (rows) => {
  const found = [];
  for await (const row of rows) found.push(row);
  return found;
};

test("require and import answer the same names", () => {
  const required = createRequire(import.meta.url)("taskdaemon-client");
  assert.deepEqual(Object.keys(required).filter((name) => name !== "__esModule").sort(), Object.keys(client).sort());
});

test("a task runs, and its result comes back", async () => {
  assert.deepEqual(await platform.run("echo", { hello: "world" }), { hello: "world" });
  const queued = await platform.submit("echo", { n: 1 }, { tags: ["ts"], priority: 70, wait: 20 });
  assert.equal(queued.task.status, "completed");
  assert.equal((await platform.why(queued))[0].sentence.length > 0, true);
  assert.equal((await platform.attempts(queued)).length, 1);
  await platform.delete(queued);
  await assert.rejects(platform.get(queued), client.NotFound);
});

test("an error names the wrong fields, also of a batch", async () => {
  const error = await platform.submit("echo", {}, { priority: 1000, delay: -1 }).catch((each) => each);
  assert(error instanceof client.BadRequest && error.status === 400);
  assert.deepEqual(error.faults.map((fault) => fault.field).sort(), ["delay", "priority"]);
  const tasks = Array.from({ length: 1200 }, (_, n) => ({ type: "never", priority: n === 1100 ? 1000 : 50 }));
  const batch = await platform.submitMany(tasks).catch((each) => each);
  assert(batch instanceof client.BadRequest && batch.queued.length === 1000, String(batch));
  assert.match(batch.error, /tasks\[1100\]/);
  await platform.operations.wait(await platform.operations.delete({ type: "never" }));
});

test("the same key and the same tasks are queued once", async () => {
  const tasks = Array.from({ length: 1500 }, (_, n) => ({ type: "never", data: { n } }));
  const options = { idempotencyKey: `once of ${crypto.randomUUID()}` };
  const ids = (await platform.submitMany(tasks, options)).map((task) => task.id);
  assert.deepEqual((await platform.submitMany(tasks, options)).map((task) => task.id), ids);
  const listed = await collect(platform.list({ type: "never", order: "oldest" }));
  assert.deepEqual(listed.map((task) => task.task_data.n), tasks.map((task) => task.data.n));
  assert.equal((await collect(platform.list({ type: "never", limit: 1001 }))).length, 1001);
  await platform.operations.wait(await platform.operations.delete({ type: "never" }));
});

test("a signal ends each kind of call with its reason, and the task goes on", async () => {
  const task = await platform.submit("never");
  const calls = [
    (signal) => platform.wait(task, { signal }),
    (signal) => collect(platform.asCompleted([task], { signal })),
    (signal) => collect(platform.events(task, { signal })),
    (signal) => new Client("http://127.0.0.1:9", { retries: 1000 }).get(task, { signal }),
  ];
  for (const call of calls) {
    const controller = new AbortController();
    const ended = call(controller.signal);
    setTimeout(() => controller.abort(new Error("stopped")), 100);
    await assert.rejects(ended, /^Error: stopped$/);
    await assert.rejects(call(controller.signal), /^Error: stopped$/);
  }
  assert.equal((await platform.get(task)).status, "pending");
  await assert.rejects(platform.wait(task, { timeout: 0 }), client.WaitTimeout);
  assert.equal((await platform.cancel(task)).failure_reason, "cancelled");
  await assert.rejects(platform.cancel(task), client.Conflict);
  assert.throws(() => client.resultOrThrow({ ...task, status: "failed" }), client.TaskFailed);
  assert.equal((await platform.redrive(task, { data: { n: 2 } })).status, "pending");
  await platform.delete(task);
});

test("tasks that do not exist are named at the end of a wait for many", async () => {
  const gone = crypto.randomUUID();
  const error = await collect(platform.asCompleted([gone])).catch((each) => each);
  assert(error instanceof client.TasksGone);
  assert.deepEqual(error.ids, [gone]);
});

test("a port that refuses is told, with the number of tries", async () => {
  await assert.rejects(new Client("http://127.0.0.1:9", { retries: 2 }).health(), /tried once/);
  const error = await new Client("http://127.0.0.1:9", { retries: 2 }).metrics().catch((each) => each);
  assert(error instanceof client.Unreachable);
  assert.match(error.message, /tried 3 times/);
});

test("numbers above 2^53 are rounded, and whole with another parser", async () => {
  const task = await platform.submit("talk");
  assert.equal((await platform.wait(task)).result.big, 9007199254740992);
  const parse = (text) => JSON.parse(text.replace(/: ?(\d{16,})/g, ':"$1"'));
  assert.equal((await new Client(undefined, { parse }).wait(task)).result.big, "9007199254740993");
});

test("through a proxy that breaks 40 % of all calls no submit is lost or doubled", async () => {
  const run = `run-${crypto.randomUUID()}`;
  const queued = await each(SUBMITS, 16, (n) => lossy.submit("echo", { n }, { tags: [run] }));
  const ids = queued.map((task) => task.id);
  assert.equal(new Set(ids).size, SUBMITS);
  const stored = await collect(platform.list({ tag: run }));
  assert.equal(stored.length, SUBMITS);
  assert.deepEqual(new Map(stored.map((task) => [task.id, task.task_data.n])), new Map([...ids.entries()].reverse().map(([n, id]) => [id, n])));
  const waited = await each(WAITS, 16, (n) => lossy.wait(ids[n]));
  assert.deepEqual(waited.map((task) => task.result.n), ids.slice(0, WAITS).map((_, n) => n));
  const completed = (await collect(lossy.asCompleted(ids))).map((task) => task.id);
  assert.deepEqual(completed.toSorted(), ids.toSorted());
});

test("through the same proxy each event of a task comes once, in order", async () => {
  const tasks = await each(STREAMS, 8, () => lossy.submit("talk"));
  const streams = await each(STREAMS, 8, (n) => collect(lossy.events(tasks[n])));
  for (const [n, events] of streams.entries()) {
    assert.equal(events.at(-1).event, "end");
    const ids = events.map((event) => event.id);
    assert.equal(new Set(ids).size, ids.length);
    const text = events.filter((event) => event.event === "log").map((event) => event.data.text).join("");
    assert.equal(text, Array.from({ length: 30 }, (_, line) => `line ${line}\n`).join(""));
    assert.deepEqual(await collect(platform.events(tasks[n], { after: ids.at(-1) })), []);
  }
});
