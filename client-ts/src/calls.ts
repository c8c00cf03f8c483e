/** The rules of calls, which send nothing: the texts of requests, pauses, batches, and the tasks of a wait. */

import type { NewTask } from "./answers.js";
import { ApiError, TryLater } from "./errors.js";

/** Seconds. A proxy may end a request that is silent for a minute, so no wait asks for more. */
export const LONGEST_WAIT = 25;
/** The most tasks, bytes and values of a batch. The platform allows more. */
const BATCH_TASKS = 1_000, BATCH_BYTES = 4 << 20, BATCH_VALUES = 90_000;
/** The most ids that a list takes. */
export const MOST_IDS = 200;
/** Seconds: the longest pause between two tries, and the longest Retry-After that is obeyed. */
const LONGEST_PAUSE = 5, LONGEST_RETRY_AFTER = 60;

/** The name of a task or an operation: its id, or an object with its id. */
export type Named = string | { readonly id: string };

/** What every call takes. `signal`: ends the call with the signal's reason; a task that it queued goes on. */
export interface CallOptions {
  signal?: AbortSignal | undefined;
}

/** What a call takes that changes something: the same call with the same key takes effect once. */
export interface ActOptions extends CallOptions {
  idempotencyKey?: string | undefined;
}

export function idOf(named: Named): string {
  const id = typeof named === "string" ? named : named?.id;
  if (typeof id === "string" && id !== "") return id;
  const hint = named instanceof Promise ? "; did you forget await?" : "";
  throw new TypeError(`a Task, Queued, Operation or id, not ${String(named)}${hint}`);
}

/** The path of a call below /api. */
export function path(...parts: string[]): string {
  return ["/api", ...parts.map(encodeURIComponent)].join("/");
}

/** How many seconds the next call is to wait. `deadline`: of performance.now(), or infinite. */
export function waitUntil(deadline: number): number {
  return Math.max(0, Math.ceil(Math.min(LONGEST_WAIT, (deadline - performance.now()) / 1000)));
}

/** The time of performance.now() at which so many seconds are over. */
export function deadlineIn(seconds: number): number {
  if (Number.isNaN(seconds)) throw new RangeError("timeout must be a number of seconds, not NaN");
  return performance.now() + seconds * 1000;
}

/** The JSON of a body. Values that are null or undefined are left out of its first level. */
export function encoded(body: object): string {
  const present = Object.entries(body).filter(([, value]) => value !== undefined && value !== null);
  return JSON.stringify(Object.fromEntries(present), plain);
}

function plain(_: string, value: unknown): unknown {
  // JSON.stringify would write null.
  if (typeof value === "number" && !Number.isFinite(value)) throw new RangeError(`${value} is no JSON`);
  return value;
}

/** Parameters of an address: undefined is left out, several values are joined by commas (a tag is repeated). */
export function query(parameters: Record<string, unknown>): string {
  const found = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    if (value === undefined || value === null) continue;
    const texts = (Array.isArray(value) ? value : [value]).map((each) => (each instanceof Date ? each.toISOString() : String(each)));
    for (const text of name === "tag" ? texts : [texts.join(",")]) found.append(name, text);
  }
  const text = found.toString();
  return text && `?${text}`;
}

/** An idempotency key as its header has it. */
export function quoted(key: string): string {
  return key.includes(" ") || key.startsWith('"') ? `"${key.replace(/[\\"]/g, "\\$&")}"` : key;
}

/**
 * Milliseconds until the next repetition, after `repeated` repetitions; null: no further repetition.
 *
 * A pause is random, below a limit that begins with 0.1 s and doubles each time up to LONGEST_PAUSE; or as long as
 * `Retry-After` says. A `Retry-After` above LONGEST_RETRY_AFTER fails the call at once.
 */
export function pauseBefore(times: number, repeated: number, failure: unknown): number | null {
  if (repeated >= times || (failure instanceof ApiError && !(failure instanceof TryLater))) return null;
  if (failure instanceof TryLater && failure.retryAfter !== null) {
    // Random, so that callers that were refused together do not come back together: the platform counts seconds.
    return failure.retryAfter > LONGEST_RETRY_AFTER ? null : failure.retryAfter * 1000 + Math.random() * 100;
  }
  return Math.random() * Math.min(LONGEST_PAUSE * 1000, 100 * 2 ** Math.min(repeated, 30));
}

/** Sleep. Throws the reason of the signal once it is aborted. */
export function sleep(milliseconds: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    const stop = (): void => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve();
    }, milliseconds);
    signal?.addEventListener("abort", stop, { once: true });
  });
}

/** Tasks that are queued together: their JSON, and the index of the first task among all. */
export class Batch {
  constructor(readonly first: number, readonly tasks: string[]) {}

  get body(): string {
    return `{"tasks":[${this.tasks.join(",")}]}`;
  }

  halves(): [Batch, Batch] {
    const middle = this.tasks.length >> 1;
    return [
      new Batch(this.first, this.tasks.slice(0, middle)),
      new Batch(this.first + middle, this.tasks.slice(middle)),
    ];
  }

  /** The batch's own key. It is the same each time: the same tasks are cut into the same batches. */
  key(idempotencyKey: string | undefined): string | undefined {
    return idempotencyKey && `${idempotencyKey}/${this.first}-${this.first + this.tasks.length - 1}`;
  }
}

/** Any number of tasks. */
export type Tasks = Iterable<NewTask> | AsyncIterable<NewTask>;

/** Cut any number of tasks by count, bytes and values. */
export async function* batches(tasks: Tasks): AsyncGenerator<Batch> {
  if (typeof tasks === "string" || !(Symbol.iterator in tasks || Symbol.asyncIterator in tasks)) {
    throw new TypeError("any number of tasks, such as [task]");
  }
  let first = 0, batch: string[] = [], size = 0, values = 0;
  for await (const task of tasks) {
    if (typeof task !== "object" || task === null) throw new TypeError(`a task is an object, such as {type: "prime"}`);
    const text = encoded(task);
    const bytes = new TextEncoder().encode(text).length;
    // Each value follows one of these characters. Characters in strings count too: that only makes a batch smaller.
    const its = (text.match(/[,[{]/g) ?? []).length + 1;
    if (batch.length && (batch.length === BATCH_TASKS || size + bytes > BATCH_BYTES || values + its > BATCH_VALUES)) {
      yield new Batch(first, batch);
      first += batch.length;
      batch = [], size = 0, values = 0;
    }
    batch.push(text);
    size += bytes + 1;
    values += its;
  }
  if (batch.length) yield new Batch(first, batch);
}

/**
 * The tasks of a wait. Each call asks for as many of them as a list takes.
 *
 * Tasks mostly end in their order, so calls wait for the first tasks. When none of these ends, calls look at all
 * others.
 */
export class Watched {
  /** The tasks that have not ended, in their order. */
  readonly open: Set<string>;
  /** The tasks that do not exist. */
  readonly gone: string[] = [];
  private others: string[][] = [];
  private longest = 1;
  private waits = true;

  constructor(ids: Iterable<string>) {
    this.open = new Set(ids);
  }

  /** The ids to ask for, and for how many seconds the platform may wait. */
  next(): [string[], number] {
    for (let ids = this.others.pop(); ids; ids = this.others.pop()) {
      const open = ids.filter((each) => this.open.has(each));
      if (open.length) {
        this.waits = false;
        return [open, 0];
      }
    }
    this.waits = true;
    return [[...this.open].slice(0, MOST_IDS), this.open.size > MOST_IDS ? this.longest : LONGEST_WAIT];
  }

  /** Note an answer: the tasks that were asked for, and which of them exist and have ended. */
  saw(asked: string[], there: Set<string>, ended: Set<string>): void {
    const gone = asked.filter((each) => !there.has(each));
    this.gone.push(...gone);
    for (const each of [...gone, ...ended]) this.open.delete(each);
    if (gone.length || ended.size) {
      this.longest = 1;
    } else if (this.waits && this.open.size > MOST_IDS) {
      const others = [...this.open].slice(MOST_IDS);
      while (others.length) this.others.push(others.splice(0, MOST_IDS));
      this.longest = Math.min(2 * this.longest, LONGEST_WAIT);
    }
  }
}
