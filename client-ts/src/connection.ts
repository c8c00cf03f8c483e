/** Sends calls, and sends them again. */

import { encoded, pauseBefore, query, quoted, sleep, type ActOptions, type CallOptions } from "./calls.js";
import { BadSettings, isObject, refusal, ServerFault, TaskdaemonError, TryLater, Unreachable } from "./errors.js";

/** How a client calls. */
export interface Settings {
  apiKey?: string | undefined;
  /** How often a call is sent again if the connection breaks, or the platform is busy or away; 10 by default. */
  retries?: number;
  /** Seconds for the platform to answer, besides the seconds of a wait; 30 by default. */
  timeout?: number;
  /** In the place of the global `fetch`, for proxies, certificates and tests. */
  fetch?: typeof fetch;
  /** The parser of answers, in the place of `JSON.parse`. */
  parse?: (text: string) => unknown;
}

export interface Call extends ActOptions {
  method: string;
  path: string;
  parameters?: Record<string, unknown>;
  body?: object | string | undefined;
  headers?: Record<string, string>;
  /** False: the call is sent once. */
  repeat?: boolean;
}

/** A request as `fetch` takes it. */
interface Sent {
  url: string;
  init: RequestInit;
}

/** The answer to a call. */
export interface Answer {
  json: any;
  headers: Headers;
}

const environment = (name: string): string | undefined => {
  try {
    return (globalThis as any).process?.env?.[name] || undefined;
  } catch {
    return undefined; // Deno without the right to read it
  }
};

export class Connection {
  readonly url: string;
  readonly parse: (text: string) => any;
  private readonly apiKey: string | undefined;
  private readonly retries: number;
  private readonly timeout: number;
  private readonly fetch: typeof fetch;

  constructor(url: string | undefined, settings: Settings) {
    this.url = address(url ?? environment("TASKDAEMON_URL") ?? "http://127.0.0.1:8080");
    this.apiKey = settings.apiKey || environment("TASKDAEMON_API_KEY");
    if (this.apiKey && !/^[!-~]+$/.test(this.apiKey)) {
      throw new BadSettings("the API key has a blank, a line break or a character beyond ASCII");
    }
    const { retries = 10, timeout = 30 } = settings;
    if (!Number.isInteger(retries) || retries < 0) throw new RangeError(`retries must be an integer from 0 on, not ${retries}`);
    if (!(timeout > 0 && timeout < Infinity)) throw new RangeError(`timeout must be a number of seconds above 0, not ${timeout}`);
    this.retries = retries;
    this.timeout = timeout * 1000;
    // Without bind browsers refuse it: "Illegal invocation".
    this.fetch = settings.fetch ?? fetch.bind(globalThis);
    this.parse = settings.parse ?? JSON.parse;
  }

  async get<T>(path: string, has: string, options: CallOptions = {}, parameters = {}): Promise<T> {
    return this.json<T>({ method: "GET", path, parameters, signal: options.signal }, has);
  }

  async post<T>(path: string, has: string, body: object | string | undefined, options: ActOptions = {}, parameters = {}): Promise<T> {
    const { signal, idempotencyKey } = options;
    return this.json<T>({ method: "POST", path, parameters, body, signal, idempotencyKey }, has);
  }

  /** The JSON of an answer. `has`: a field by which a platform's answer is told from another server's; empty: any. */
  async json<T>(call: Call, has: string): Promise<T> {
    const answer = await this.send(call);
    if (has && !(isObject(answer.json) && has in answer.json)) throw this.foreign(call, answer);
    return answer.json;
  }

  /** All rows of a list, or its first `limit` rows. They are fetched in pages. */
  async *pages<T>(path: string, options: CallOptions & { limit?: number | undefined }, parameters = {}): AsyncGenerator<T> {
    const largest = path === "/api/tasks" ? 1_000 : 100;
    let left = options.limit ?? Infinity;
    for (let cursor: string | null = null; left > 0; ) {
      const limit = Math.min(left, largest);
      const call: Call = { method: "GET", path, parameters: { ...parameters, limit, cursor }, signal: options.signal };
      const answer = await this.send(call);
      if (!Array.isArray(answer.json)) throw this.foreign(call, answer);
      yield* answer.json as T[];
      left -= answer.json.length;
      cursor = answer.headers.get("Next-Cursor");
      if (cursor === null) return;
    }
  }

  /** The answer to a call. A call is sent again while that may help. Throws `TaskdaemonError`. */
  async send(call: Call): Promise<Answer> {
    const begun = performance.now();
    const request = this.request(call);
    for (let repeated = 0; ; repeated++) {
      let failure: unknown;
      try {
        return await this.once(call, request);
      } catch (error) {
        call.signal?.throwIfAborted();
        // A first DELETE has succeeded, and its answer was lost.
        const done = repeated && call.method === "DELETE" && (error as { status?: number }).status === 404;
        if (done) return { json: undefined, headers: new Headers() };
        failure = error;
      }
      await this.pause(repeated, failure, begun, call);
    }
  }

  /** Sleep before a call is sent again; if no try is left, throw its failure. `begun`: of performance.now(). */
  async pause(repeated: number, failure: unknown, begun: number, call: Pick<Call, "repeat" | "signal">): Promise<void> {
    const milliseconds = call.repeat === false ? null : pauseBefore(this.retries, repeated, failure);
    if (milliseconds !== null) return sleep(milliseconds, call.signal);
    if (failure instanceof TaskdaemonError) throw failure;
    const { message, cause } = failure as Error;
    const what = cause instanceof Error && cause.message ? `${message}: ${cause.message}` : message;
    const times = repeated ? `${repeated + 1} times` : "once";
    const tried = `tried ${times} in ${Math.round((performance.now() - begun) / 1000)} s`;
    throw new Unreachable(`no answer from ${this.url}: ${what} (${tried})`, { cause: failure });
  }

  /** Send a call, and pass on its answer while it arrives. `read` has to call `alive` for each part that it gets. */
  async open<T>(call: Call, request: Sent, read: (response: Response, alive: () => void) => Promise<T>): Promise<T> {
    call.signal?.throwIfAborted();
    const controller = new AbortController();
    const stop = (): void => controller.abort(call.signal?.reason);
    call.signal?.addEventListener("abort", stop, { once: true });
    const wait = Number(call.parameters?.["wait"] ?? 0) * 1000;
    const late = (): void => controller.abort(new Error(`nothing came for ${(this.timeout + wait) / 1000} s`));
    let timer = setTimeout(late, this.timeout + wait);
    const alive = (): void => {
      clearTimeout(timer);
      timer = setTimeout(late, this.timeout + wait);
    };
    try {
      const response = await this.fetch(request.url, { ...request.init, signal: controller.signal, redirect: "manual" });
      return await read(response, alive);
    } finally {
      clearTimeout(timer);
      call.signal?.removeEventListener("abort", stop);
      // Without it a response that was not read to its end keeps its connection.
      controller.abort();
    }
  }

  /** The request of a call, with a key of its own if it may be repeated. What cannot be sent throws TypeError here. */
  request(call: Call): Sent {
    const headers = new Headers({ Accept: "application/json", ...call.headers });
    if (this.apiKey) headers.set("Authorization", `Bearer ${this.apiKey}`);
    const key = call.idempotencyKey ? quoted(call.idempotencyKey) : this.retries ? crypto.randomUUID() : null;
    if (call.method === "POST" && key) headers.set("Idempotency-Key", key);
    if (call.body !== undefined) headers.set("Content-Type", "application/json");
    const body = typeof call.body === "object" ? encoded(call.body) : call.body ?? null;
    return { url: this.url + call.path + query(call.parameters ?? {}), init: { method: call.method, headers, body } };
  }

  /** The error of an answer without success. */
  async refused(call: Call, response: Response): Promise<TaskdaemonError> {
    return this.error(call, response, parsed(this.parse, await response.text()));
  }

  private async once(call: Call, request: Sent): Promise<Answer> {
    return this.open(call, request, async (response, alive) => {
      alive();
      const text = await response.text();
      const json = text === "" ? undefined : parsed(this.parse, text);
      const isJson = response.headers.get("Content-Type")?.includes("json") ?? false;
      if (!response.ok || (text !== "" && !isJson)) throw this.error(call, response, json);
      if (text !== "" && json === undefined) throw this.error(call, response, json);
      return { json, headers: response.headers };
    });
  }

  private error(call: Call, { status, statusText, headers }: Response, body: unknown): TaskdaemonError {
    const hint = this.apiKey ? "; the key is that of apiKey or TASKDAEMON_API_KEY" : "; there is no key: set TASKDAEMON_API_KEY, or pass apiKey";
    return refusal({ method: call.method, url: this.url + call.path, status, statusText, headers, body }, hint);
  }

  private foreign(call: Call, answer: Answer): TaskdaemonError {
    const { method, path } = call;
    return new ServerFault({ method, url: this.url + path, status: 200, statusText: "OK", headers: answer.headers, body: answer.json });
  }
}

/** Whether the same call may succeed later: the connection broke, or the platform was busy. */
export function mayPass(failure: unknown): boolean {
  return failure instanceof TryLater || !(failure instanceof TaskdaemonError);
}

function parsed(parse: (text: string) => unknown, text: string): any {
  try {
    return parse(text);
  } catch {
    return undefined;
  }
}

function address(url: string): string {
  let found: URL | undefined;
  try {
    found = new URL(url);
  } catch {
    // The sentence below names it.
  }
  if (!found || !["http:", "https:"].includes(found.protocol)) {
    const shown = url.startsWith("tpk_") ? "an API key where an address belongs" : `${JSON.stringify(url)}, which is no address`;
    throw new BadSettings(`the address is ${shown}; an address is such as http://127.0.0.1:8080`);
  }
  if (found.username || found.password) throw new BadSettings("the address has a user; fetch sends none");
  if (found.pathname.replace(/\/+$/, "").endsWith("/queue")) throw new BadSettings("the address ends before /queue");
  return found.origin + found.pathname.replace(/\/+$/, "");
}
