/** The client. */

import { ended } from "./answers.js";
import type { Attempt, Data, Filter, Health, Queued, Reason, Task, TaskEvent, TaskOptions } from "./answers.js";
import { Batch, batches, deadlineIn, idOf, path, Watched, waitUntil } from "./calls.js";
import type { ActOptions, CallOptions, Named, Tasks } from "./calls.js";
import { Connection, type Settings } from "./connection.js";
import { BadRequest, nameTasks, TaskdaemonError, TaskFailed, TasksGone, TryLater, WaitTimeout } from "./errors.js";
import { follow } from "./events.js";
import { Callbacks, Handlers, Nodes, Operations, Schedules } from "./groups.js";

/** What a list takes. `limit`: at most so many. */
export interface ListOptions extends Filter, CallOptions {
  limit?: number;
  order?: "newest" | "oldest";
}

/** What a wait takes. `timeout`: seconds, rounded up; without it a wait has no end. */
export interface WaitOptions extends CallOptions {
  timeout?: number | undefined;
}

type Stored = { task_id: string; existing?: boolean; callback_taken?: boolean; task?: Task };
type StoredTogether = { task_ids: string[]; existing?: boolean[]; callback_taken?: (boolean | null)[] };

/**
 * Calls one platform. `url`: its address; by default TASKDAEMON_URL of the environment, else http://127.0.0.1:8080.
 *
 * Each POST has an idempotency key of its own, so nothing is done twice; with `retries: 0` there are no repetitions and
 * no such keys. Throws `BadSettings`; RangeError for invalid `retries` or `timeout`.
 */
export class Client {
  readonly handlers: Handlers;
  readonly nodes: Nodes;
  readonly operations: Operations;
  readonly schedules: Schedules;
  readonly callbacks: Callbacks;
  private readonly connection: Connection;

  constructor(url?: string, settings: Settings = {}) {
    this.connection = new Connection(url, settings);
    this.handlers = new Handlers(this.connection);
    this.nodes = new Nodes(this.connection);
    this.operations = new Operations(this.connection);
    this.schedules = new Schedules(this.connection);
    this.callbacks = new Callbacks(this.connection);
  }

  /** The address of the platform. */
  get url(): string {
    return this.connection.url;
  }

  /**
   * Queue a task, with its options.
   *
   * `wait`: answer with `task` once it has ended, or after so many whole seconds (0 to 60). `idempotencyKey`: the same
   * call with the same key, also of another process, queues one task; another call with it is a `BadRequest` (422).
   */
  async submit(
    type: string,
    data?: Data | null,
    { wait, idempotencyKey, signal, ...options }: TaskOptions & ActOptions & { wait?: number } = {},
  ): Promise<Queued> {
    const body = { type, data, ...options };
    const stored = await this.connection.post<Stored>("/queue", "task_id", body, { idempotencyKey, signal }, { wait });
    const { task_id: id, existing = false, callback_taken: callbackTaken = null, task = null } = stored;
    return { id, existing, callbackTaken, task };
  }

  /**
   * Queue any number of tasks, in their order. Each batch of them is stored as a whole or not at all.
   *
   * `queued` of an error has the tasks that were queued before it. The same call with the same `idempotencyKey` and the
   * same tasks, in the same order, queues only the missing tasks.
   */
  async submitMany(tasks: Tasks, options: ActOptions = {}): Promise<Queued[]> {
    const queued: Queued[] = [];
    try {
      for await (const batch of batches(tasks)) {
        for (const each of await this.submitBatch(batch, options)) queued.push(each);
      }
    } catch (error) {
      if (error instanceof TaskdaemonError) error.queued = [...queued, ...error.queued];
      throw error;
    }
    return queued;
  }

  private async submitBatch(batch: Batch, options: ActOptions): Promise<Queued[]> {
    try {
      const key = { ...options, idempotencyKey: batch.key(options.idempotencyKey) };
      const stored = await this.connection.post<StoredTogether>("/queue/batch", "task_ids", batch.body, key);
      return stored.task_ids.map((id, index) => ({
        id,
        existing: stored.existing?.[index] ?? false,
        callbackTaken: stored.callback_taken?.[index] ?? null,
        task: null,
      }));
    } catch (error) {
      if (!(error instanceof BadRequest)) throw error;
      // Only a limit of the whole body is solved by halves. A fault of a single task names the task.
      if (error.status !== 413 || error.faults.length || batch.tasks.length === 1) {
        nameTasks(error, (index) => `tasks[${batch.first + index}]`);
        throw error;
      }
    }
    const [first, second] = batch.halves();
    const queued = await this.submitBatch(first, options);
    try {
      return [...queued, ...(await this.submitBatch(second, options))];
    } catch (error) {
      if (error instanceof TaskdaemonError) error.queued = [...queued, ...error.queued];
      throw error;
    }
  }

  /**
   * Queue a task, wait for its end and answer its result.
   *
   * Throws `TaskFailed` if it fails, `WaitTimeout` after `waitTimeout` seconds, rounded up; the task then goes on.
   */
  async run(
    type: string,
    data?: Data | null,
    { waitTimeout = Infinity, ...options }: TaskOptions & ActOptions & { waitTimeout?: number } = {},
  ): Promise<any> {
    const deadline = deadlineIn(waitTimeout);
    const queued = await this.submit(type, data, { ...options, wait: waitUntil(deadline) });
    const done = queued.task && ended(queued.task);
    const task = done ? queued.task! : await this.waitFor(queued, deadline, waitTimeout, options.signal);
    return resultOrThrow(task);
  }

  /** A task as it is. Throws `NotFound`. */
  async get(task: Named, options?: CallOptions): Promise<Task> {
    return this.connection.get(taskPath(task), "task_type", options);
  }

  /** A task once it is `completed` or `failed`. Throws `NotFound`, and `WaitTimeout` after `timeout` seconds. */
  async wait(task: Named, { timeout = Infinity, signal }: WaitOptions = {}): Promise<Task> {
    return this.waitFor(task, deadlineIn(timeout), timeout, signal);
  }

  private async waitFor(task: Named, deadline: number, seconds: number, signal?: AbortSignal): Promise<Task> {
    for (;;) {
      const wait = waitUntil(deadline);
      const now = await this.connection.get<Task>(taskPath(task), "task_type", { signal }, { wait });
      if (ended(now)) return now;
      if (performance.now() >= deadline) throw new WaitTimeout([now.id], seconds);
    }
  }

  /** Tasks that match the filter, `newest` first or `oldest` first. They are fetched in pages. */
  list({ limit, signal, ...filter }: ListOptions = {}): AsyncGenerator<Task> {
    return this.connection.pages("/api/tasks", { limit, signal }, filter);
  }

  /** As `list`, with only these fields of each task. `progress` is a field too. */
  rows(fields: readonly string[], { limit, signal, ...filter }: ListOptions = {}): AsyncGenerator<Record<string, any>> {
    return this.connection.pages("/api/tasks", { limit, signal }, { ...filter, fields });
  }

  /**
   * Any number of tasks, each once it is `completed` or `failed`, in the order in which they end.
   *
   * At the end throws `TasksGone` with the tasks that do not exist; after `timeout` seconds, rounded up, `WaitTimeout`
   * with the tasks that have not ended.
   */
  async *asCompleted(tasks: Iterable<Named>, { timeout = Infinity, signal }: WaitOptions = {}): AsyncGenerator<Task> {
    if (typeof tasks === "string") throw new TypeError("any number of tasks, such as [task]");
    const deadline = deadlineIn(timeout);
    const watched = new Watched(Array.from(tasks, idOf));
    while (watched.open.size) {
      const [ids, longest] = watched.next();
      const wait = Math.min(longest, waitUntil(deadline));
      const there: Task[] = [];
      for await (const task of this.connection.pages<Task>("/api/tasks", { signal }, { ids, wait })) there.push(task);
      const over = there.filter(ended);
      watched.saw(ids, new Set(there.map(idOf)), new Set(over.map(idOf)));
      yield* over;
      if (watched.open.size && performance.now() >= deadline) throw new WaitTimeout([...watched.open], timeout);
    }
    if (watched.gone.length) throw new TasksGone(watched.gone);
  }

  /**
   * The events of a task, past and new, until its `end`. A lost connection is opened again, and no event comes twice.
   *
   * `after`: the id of an event; only later events follow.
   */
  events(task: Named, options: CallOptions & { after?: string } = {}): AsyncGenerator<TaskEvent> {
    return follow(this.connection, taskPath(task, "events"), options);
  }

  /** End a task: it is `failed`, `cancelled`. Throws `Conflict` if it has ended. */
  async cancel(task: Named, options?: ActOptions): Promise<Task> {
    return this.connection.post(taskPath(task, "cancel"), "task_type", undefined, options);
  }

  /**
   * Run a failed task again, with other `data` or another `priority` if given.
   *
   * Throws `NotFound` also if it has not failed, `Conflict` if a task with its `unique_key` has not ended.
   */
  async redrive(task: Named, { data, priority, ...options }: ActOptions & { data?: Data; priority?: number } = {}): Promise<Task> {
    return this.connection.post(taskPath(task, "redrive"), "task_type", { data, priority }, options);
  }

  /** Give a pending task another priority. Throws `Conflict` if it is not pending. */
  async setPriority(task: Named, priority: number, options?: ActOptions): Promise<Task> {
    return this.connection.post(taskPath(task, "priority"), "task_type", { priority }, options);
  }

  /** Delete a task in any status; a running one is stopped. Throws `NotFound`. */
  async delete(task: Named, options: CallOptions = {}): Promise<void> {
    await this.connection.send({ method: "DELETE", path: taskPath(task), signal: options.signal });
  }

  /** Why a task does not run, or how it ended; the decisive reason first. */
  async why(task: Named, options?: CallOptions): Promise<Reason[]> {
    return (await this.connection.get<{ reasons: Reason[] }>(taskPath(task, "why"), "reasons", options)).reasons;
  }

  /** The ended attempts of a task above number `after`, oldest first; with `running` the running one too. */
  async attempts(task: Named, { running, after, signal }: CallOptions & { running?: boolean; after?: number } = {}): Promise<Attempt[]> {
    const only = { running: running || undefined, after: after || undefined };
    return collected(this.connection.pages<Attempt>(taskPath(task, "attempts"), { signal }, only));
  }

  /** Whether the platform works (`status` is `healthy` or `unhealthy`), and its problems. The call is sent once. */
  async health(options: CallOptions = {}): Promise<Health> {
    try {
      return await this.connection.json({ method: "GET", path: "/health", repeat: false, ...options }, "status");
    } catch (error) {
      if (error instanceof TryLater && "status" in error.body && "queue_size" in error.body) return error.body as unknown as Health;
      throw error;
    }
  }

  /** The numbers of `GET /api/metrics`. */
  async metrics(options?: CallOptions): Promise<Record<string, any>> {
    return this.connection.get("/api/metrics", "handlers", options);
  }

  /** Send any call, for example a call that this version does not know. Answers its JSON; undefined without content. */
  async request(
    method: string,
    path: string,
    { body, parameters, ...options }: ActOptions & { body?: object; parameters?: Record<string, unknown> } = {},
  ): Promise<any> {
    return (await this.connection.send({ method, path, body, parameters: parameters ?? {}, ...options })).json;
  }
}

/** The result of a completed task. Throws `TaskFailed` if it failed, RangeError if it has not ended. */
export function resultOrThrow(task: Task): any {
  if (task.status === "failed") throw new TaskFailed(task);
  if (!ended(task)) throw new RangeError(`task ${task.id} is ${task.status} and has no result yet; wait for it first`);
  return task.result;
}

function taskPath(task: Named, ...rest: string[]): string {
  return path("tasks", idOf(task), ...rest);
}

async function collected<T>(rows: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = [];
  for await (const row of rows) found.push(row);
  return found;
}
