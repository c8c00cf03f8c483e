/** The errors that calls throw. Each is a `TaskdaemonError`. */

import type { Queued, Task } from "./answers.js";

/** The base of all errors of this package. `queued`: the tasks that `submitMany` had queued before this error. */
export class TaskdaemonError extends Error {
  queued: Queued[] = [];
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = new.target.name;
  }
}

/** The address or the key cannot be used. */
export class BadSettings extends TaskdaemonError {}

/** No answer: the platform is away, or the connection broke. The platform may have done the call. */
export class Unreachable extends TaskdaemonError {}

/** A callback that no known secret has signed, or that is too old: answer 400, and do nothing. */
export class BadWebhook extends TaskdaemonError {}

/** A task has failed. `task` has the reason and the last error. */
export class TaskFailed extends TaskdaemonError {
  constructor(readonly task: Task) {
    super(`task ${task.id} failed (${task.failure_reason}): ${task.last_error}`);
  }
}

/** The time of a wait is over. `ids`: the tasks or the operation that have not ended. */
export class WaitTimeout extends TaskdaemonError {
  constructor(readonly ids: string[], seconds: number, kind = "task") {
    const what = ids.length === 1 ? `${kind} ${ids[0]} has` : `${ids.length} ${kind}s have`;
    super(`${what} not ended within ${seconds} s`);
  }
}

/** A wait was for tasks that do not exist, or do not exist any more. `ids`: these tasks. */
export class TasksGone extends TaskdaemonError {
  constructor(readonly ids: string[]) {
    const more = ids.length > 5 ? " ..." : "";
    super(`no longer there: ${ids.slice(0, 5).join(", ")}${more} (${ids.length} in all)`);
  }
}

/** One fault of a request: the field, such as `tasks[7].priority`, and what is wrong with it. */
export interface Fault {
  field: string;
  error: string;
}

/** What an answer without success has said. `body`: its JSON, or undefined. */
export interface Refused {
  method: string;
  url: string;
  status: number;
  statusText: string;
  headers: Headers;
  body: unknown;
}

/** The platform refused a call. Each status has a class below. */
export class ApiError extends TaskdaemonError {
  readonly status: number;
  readonly method: string;
  readonly url: string;
  /** The JSON of the answer; empty if that is no object. */
  readonly body: Record<string, unknown>;
  /** Another server than a platform has answered at this address. */
  readonly foreign: boolean;
  /** The platform's sentence. */
  error: string;
  /** The wrong fields, if the platform named them (`details`). */
  faults: Fault[];
  /** It finds a 500 in the platform's log. */
  readonly requestId: string | null;
  /** Seconds. */
  readonly retryAfter: number | null;
  /** The call was done before, and its target is gone. */
  readonly replayed: boolean;

  constructor(refused: Refused, hint = "") {
    const { status, body } = refused;
    const object = isObject(body) ? body : {};
    const unknown = [404, 405, 501].includes(status) && Object.keys(object).length === 0;
    const foreign = unknown || status < 400;
    const said = foreign ? undefined : object["error"];
    const error = String(said ?? sentence(refused, foreign));
    const requestId = typeof object["request_id"] === "string" ? object["request_id"] : null;
    const request = requestId === null ? "" : ` (request ${requestId})`;
    super(`${refused.method} ${refused.url}: ${status}: ${error}${request}${hint}`);
    this.status = status;
    this.method = refused.method;
    this.url = refused.url;
    this.body = object;
    this.foreign = foreign;
    this.error = error;
    this.faults = faults(object["details"]);
    this.requestId = requestId;
    this.retryAfter = seconds(refused.headers.get("Retry-After"));
    this.replayed = refused.headers.get("Idempotent-Replayed") === "true";
  }
}

/** 400, 413, 422 and every other status that means that the request is wrong. */
export class BadRequest extends ApiError {}
/** 401, 403: there is no valid API key, or it does not allow this. */
export class NotAllowed extends ApiError {}
/** 404. */
export class NotFound extends ApiError {}
/** 409: the task, operation or node is in another state. */
export class Conflict extends ApiError {}
/** 408, 429, 502, 503, 504: too many requests, a full queue, or the platform is away. Retries were of no use. */
export class TryLater extends ApiError {}
/** 500: a bug of the platform. Any other status: no answer of a platform at all, such as a redirect. */
export class ServerFault extends ApiError {}

/** The error for an answer without success. */
export function refusal(refused: Refused, keyHint: string): ApiError {
  const { status } = refused;
  if (status === 401) return new NotAllowed(refused, keyHint);
  if (status === 403) return new NotAllowed(refused);
  if (status === 404) return new NotFound(refused);
  if (status === 409) return new Conflict(refused);
  if ([408, 429, 502, 503, 504].includes(status)) return new TryLater(refused);
  return status >= 400 && status < 500 ? new BadRequest(refused) : new ServerFault(refused);
}

/** Give each task that the platform calls `tasks[index]` the name `name(index)` in the error of a batch. */
export function nameTasks(error: ApiError, name: (index: number) => string): void {
  const named = (text: string): string => text.replace(/\btasks\[(\d+)\]/g, (_, index) => name(Number(index)));
  error.message = named(error.message);
  error.error = named(error.error);
  error.faults = error.faults.map((fault) => ({ field: named(fault.field), error: named(fault.error) }));
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function sentence({ status, statusText, headers }: Refused, foreign: boolean): string {
  const said = `HTTP ${status} ${statusText}`.trim();
  if (status < 200 || (status >= 300 && status < 400)) {
    return `${said} to ${headers.get("Location") ?? "another address"}; is the address right?`;
  }
  const json = headers.get("Content-Type")?.includes("json");
  const what = json ? "not what a task platform answers" : "no JSON";
  return foreign ? `${said}, and ${what}; is the address right?` : said;
}

/** The faults in an answer's `details`; none if another server means something else by the word. */
function faults(details: unknown): Fault[] {
  const rows: unknown[] = Array.isArray(details) ? details : [];
  return rows
    .filter((row) => isObject(row) && "field" in row && "error" in row)
    .map((row) => ({ field: String((row as unknown as Fault).field), error: String((row as unknown as Fault).error) }));
}

function seconds(value: string | null): number | null {
  const number = value === null || value.trim() === "" ? NaN : Number(value);
  return Number.isFinite(number) ? Math.max(0, number) : null;
}
