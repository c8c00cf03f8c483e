/** The calls about handlers, nodes, operations, schedules and callbacks. */

import type { Delivery, Filter, Firing, GivenUp, Handler, Node, Operation, Preview, Schedule, ScheduleDefinition } from "./answers.js";
import { deadlineIn, idOf, path, sleep, type ActOptions, type CallOptions, type Named } from "./calls.js";
import type { Connection } from "./connection.js";
import { WaitTimeout } from "./errors.js";

class Group {
  constructor(protected readonly connection: Connection) {}

  protected async all<T>(address: string, options: CallOptions = {}): Promise<T[]> {
    const found: T[] = [];
    for await (const row of this.connection.pages<T>(address, options)) found.push(row);
    return found;
  }
}

/** `client.handlers`: the handlers of handlers.toml. */
export class Handlers extends Group {
  list(options?: CallOptions): Promise<Handler[]> {
    return this.all(path("handlers"), options);
  }

  get(type: string, options?: CallOptions): Promise<Handler> {
    return this.connection.get(path("handlers", type), "type", options);
  }

  /**
   * Workers stop starting a handler's tasks within 2 s: for `seconds`, `until` a time, or until it is resumed.
   *
   * `wait`: answer once no node runs its tasks, or after so many seconds (0 to 60).
   */
  pause(
    type: string,
    { seconds, until, reason, wait, ...options }: ActOptions & { seconds?: number; until?: Date | string; reason?: string; wait?: number } = {},
  ): Promise<Handler> {
    return this.connection.post(path("handlers", type, "pause"), "type", { for: seconds, until, reason }, options, { wait });
  }

  /** End a pause. Undefined if handlers.toml no longer has the handler. */
  resume(type: string, options?: ActOptions): Promise<Handler | undefined> {
    return this.connection.post(path("handlers", type, "resume"), "", undefined, options);
  }
}

/** `client.nodes`: the worker processes. */
export class Nodes extends Group {
  list(options?: CallOptions): Promise<Node[]> {
    return this.all(path("nodes"), options);
  }

  get(name: string, options?: CallOptions): Promise<Node> {
    return this.connection.get(path("nodes", name), "name", options);
  }

  /** Stop a node from starting tasks, or tasks of a type, until `undrain`. Running tasks go on. */
  drain(name: string, { type, reason, ...options }: ActOptions & { type?: string; reason?: string } = {}): Promise<Node> {
    return this.connection.post(path("nodes", name, "drain"), "name", { type, reason }, options);
  }

  /** End the drain of a node, or its drain of a type. */
  undrain(name: string, { type, ...options }: ActOptions & { type?: string } = {}): Promise<Node> {
    return this.connection.post(path("nodes", name, "undrain"), "name", { type }, options);
  }
}

/** `rate`: tasks a second. `limit`: at most so many tasks. */
export interface OperationOptions extends ActOptions {
  rate?: number;
  limit?: number;
}

/** `client.operations`: acts on all tasks that match a filter. An empty filter is refused. */
export class Operations extends Group {
  /** Operations, newest first. */
  list(options: CallOptions & { limit?: number } = {}): AsyncGenerator<Operation> {
    return this.connection.pages(path("operations"), options);
  }

  get(operation: Named, options?: CallOptions): Promise<Operation> {
    return this.connection.get(path("operations", idOf(operation)), "state", options);
  }

  /** An operation once it is over. Throws `WaitTimeout` after `timeout` seconds. */
  async wait(operation: Named, { timeout = Infinity, signal }: CallOptions & { timeout?: number } = {}): Promise<Operation> {
    const deadline = deadlineIn(timeout);
    for (let pause = 100; ; pause = Math.min(2_000, pause * 1.5)) {
      const now = await this.get(operation, { signal });
      if (now.state !== "running") return now;
      if (performance.now() >= deadline) throw new WaitTimeout([now.id], timeout, "operation");
      await sleep(pause, signal);
    }
  }

  /** End an operation before its next batch. Throws `Conflict` if it is over. */
  abort(operation: Named, options?: ActOptions): Promise<Operation> {
    return this.connection.post(path("operations", idOf(operation), "abort"), "state", undefined, options);
  }

  /** Count the tasks of an operation without starting it. */
  preview(
    verb: "redrive" | "cancel" | "delete" | "callbacks" | "priority",
    filter: Filter,
    { priority, ...options }: ActOptions & { priority?: number } = {},
  ): Promise<Preview> {
    return this.connection.post(address(verb), "", { filter, dry_run: true, priority }, options);
  }

  /**
   * Run failed tasks again.
   *
   * `canary`: the number of tasks to run first; the others follow only if all of these succeed within 10 minutes.
   * `stopShare`: end the operation once more than this share of its tasks has failed again.
   */
  redrive(filter: Filter, { stopShare, ...options }: OperationOptions & { canary?: number; stopShare?: number } = {}): Promise<Operation> {
    const body = { ...options, ...(stopShare === undefined ? {} : { stop_share: stopShare }) };
    return this.start("redrive", filter, body);
  }

  /** Cancel pending and processing tasks. */
  cancel(filter: Filter, options: OperationOptions = {}): Promise<Operation> {
    return this.start("cancel", filter, options);
  }

  /** Delete tasks in any status. */
  delete(filter: Filter, options: OperationOptions = {}): Promise<Operation> {
    return this.start("delete", filter, options);
  }

  /** Give pending tasks another priority. */
  setPriority(filter: Filter, priority: number, options: OperationOptions = {}): Promise<Operation> {
    return this.start("priority", filter, { ...options, priority });
  }

  /** Send the undelivered callbacks of tasks again. */
  retryCallbacks(filter: Filter, options: OperationOptions = {}): Promise<Operation> {
    return this.start("callbacks", filter, options);
  }

  private async start(verb: string, filter: Filter, { signal, idempotencyKey, ...body }: OperationOptions & { priority?: number }): Promise<Operation> {
    const options = { signal, idempotencyKey };
    const started = await this.connection.post<{ operation_id: string }>(address(verb), "operation_id", { filter, ...body }, options);
    return this.get(started.operation_id, { signal });
  }
}

function address(verb: string): string {
  return verb === "callbacks" ? path("callbacks", "retry") : path("tasks", verb);
}

/** `client.schedules`: schedules, which queue tasks at their times. */
export class Schedules extends Group {
  list(options?: CallOptions): Promise<Schedule[]> {
    return this.all(path("schedules"), options);
  }

  get(name: string, options?: CallOptions): Promise<Schedule> {
    return this.connection.get(path("schedules", name), "name", options);
  }

  /** Make a schedule, or replace it. Throws `Conflict` if handlers.toml has a schedule of this name. */
  put(name: string, definition: ScheduleDefinition, options: CallOptions = {}): Promise<Schedule> {
    return this.connection.json({ method: "PUT", path: path("schedules", name), body: definition, signal: options.signal }, "name");
  }

  /** Delete a schedule; its tasks stay. */
  async delete(name: string, options: CallOptions = {}): Promise<void> {
    await this.connection.send({ method: "DELETE", path: path("schedules", name), signal: options.signal });
  }

  /** The ticks of a schedule and their outcomes, newest first. */
  firings(name: string, options: CallOptions & { limit?: number } = {}): AsyncGenerator<Firing> {
    return this.connection.pages(path("schedules", name, "firings"), options);
  }

  /** Stop a schedule from queueing tasks until it is resumed. */
  pause(name: string, options?: ActOptions): Promise<Schedule> {
    return this.connection.post(path("schedules", name, "pause"), "name", undefined, options);
  }

  resume(name: string, options?: ActOptions): Promise<Schedule> {
    return this.connection.post(path("schedules", name, "resume"), "name", undefined, options);
  }

  /** Queue a task of a schedule now. Answers the task's id. */
  async run(name: string, options?: ActOptions): Promise<string> {
    return (await this.connection.post<{ task_id: string }>(path("schedules", name, "run"), "task_id", undefined, options)).task_id;
  }
}

/** `client.callbacks`: the deliveries of tasks' ends to their callback URLs. */
export class Callbacks extends Group {
  /** The deliveries of a task, newest first. */
  list(task: Named, options?: CallOptions): Promise<Delivery[]> {
    return this.all(path("tasks", idOf(task), "callbacks"), options);
  }

  /** Send the undelivered callbacks of a task, and its newest delivery, again now. Throws `Conflict` without one. */
  retry(task: Named, options?: ActOptions): Promise<Delivery[]> {
    return this.connection.post(path("tasks", idOf(task), "callbacks", "retry"), "", undefined, options);
  }

  /**
   * Let pending callbacks fail without a further try; a callback has to match all given conditions, at least one.
   *
   * `host`: with its port, `example.org:443`. A call gives up 10,000 at most: call again while `matched` is not 0.
   */
  giveUp({ host, type, createdBefore, dryRun, ...options }: ActOptions & { host?: string; type?: string; createdBefore?: Date | string; dryRun?: boolean }): Promise<GivenUp> {
    const body = { filter: { host, type, created_before: createdBefore }, dry_run: dryRun || undefined };
    return this.connection.post(path("callbacks", "give-up"), "matched", body, options);
  }
}
