/** The answers of calls: the schemas of /openapi.json, with their names and fields. */

import type { components } from "./api.js";

type Schemas = components["schemas"];

export type Task = Schemas["TaskObject"];
export type Attempt = Schemas["AttemptObject"];
export type Reason = Schemas["ReasonObject"];
export type Health = Schemas["Health"];
export type Handler = Schemas["HandlerObject"];
export type Node = Schemas["NodeObject"];
export type Operation = Schemas["OperationObject"];
export type Preview = Schemas["OperationPreview"];
export type Schedule = Schemas["ScheduleObject"];
export type Firing = Schemas["FiringObject"];
export type Delivery = Schemas["CallbackObject"];
export type GivenUp = Schemas["GivenUp"];
export type ScheduleDefinition = Schemas["NewScheduleRequest"];
/** A task for `submitMany`. */
export type NewTask = Schemas["NewTaskRequest"];
/** The options of a task, by the names of the API. */
export type TaskOptions = Omit<NewTask, "type" | "data">;
/** The data of a task: a JSON object. */
export type Data = NonNullable<NewTask["data"]>;

/** The outcome of a submit. `existing`: a task with its `unique_key` has not ended, and `id` names that task. */
export interface Queued {
  id: string;
  existing: boolean;
  /** Of an existing task: whether its end is told to the callback URL of this submit; null: it had no URL. */
  callbackTaken: boolean | null;
  /** With `wait`: the task at the end of the wait, or null if it could not be read. */
  task: Task | null;
}

/** An event of a task. `id` is null at the `end` of a deleted task. */
export interface TaskEvent {
  id: string | null;
  event: "status" | "progress" | "log" | "note" | "end";
  data: Record<string, unknown>;
}

/** The conditions of a filter; a task has to match all. Several values are an array, or a string with commas. */
export interface Filter {
  status?: string | readonly string[];
  type?: string | readonly string[];
  failure_reason?: string | readonly string[];
  /** All of these tags. */
  tag?: string | readonly string[];
  priority_min?: number;
  priority_max?: number;
  created_after?: Date | string;
  created_before?: Date | string;
  /** Up to 200. */
  ids?: string | readonly string[];
  /** A text in `last_error`. */
  error?: string;
}

/** Whether a task is `completed` or `failed`. */
export function ended(task: Pick<Task, "status">): boolean {
  return task.status === "completed" || task.status === "failed";
}
