/** The events of a task, over as many connections as it takes. */

import type { TaskEvent } from "./answers.js";
import type { CallOptions } from "./calls.js";
import { mayPass, type Call, type Connection } from "./connection.js";
import { TaskdaemonError } from "./errors.js";

/** A message of an event stream. */
interface Message {
  id: string | null;
  event: string;
  data: string;
}

/** The messages of a text/event-stream. A message whose blank line has not come is left out. */
export class Messages {
  private rest = "";
  private id: string | null = null;
  private event = "message";
  private data: string[] = [];

  /** The messages that a further part of the text completes. */
  *add(text: string): Generator<Message> {
    this.rest += text;
    // A \r at the end may be the first half of \r\n.
    for (let end = /\r\n|\n|\r(?!$)/.exec(this.rest); end; end = /\r\n|\n|\r(?!$)/.exec(this.rest)) {
      const line = this.rest.slice(0, end.index);
      this.rest = this.rest.slice(end.index + end[0].length);
      if (line !== "") {
        this.field(line);
        continue;
      }
      const message = { id: this.id, event: this.event, data: this.data.join("\n") };
      const complete = this.data.length > 0;
      this.id = null, this.event = "message", this.data = [];
      if (complete) yield message;
    }
  }

  private field(line: string): void {
    const [, name, value] = /^([^:]*):? ?(.*)$/s.exec(line) as unknown as [string, string, string];
    if (name === "id") this.id = value;
    else if (name === "event") this.event = value;
    else if (name === "data") this.data.push(value);
  }
}

/** The events of the task at `path`, past and new, until its `end`. */
export async function* follow(
  connection: Connection,
  path: string,
  { after, signal }: CallOptions & { after?: string | undefined },
): AsyncGenerator<TaskEvent> {
  let last = after, begun = performance.now(), repeated = 0;
  for (;;) {
    let failure: unknown = new Error("the events broke off before their end");
    const headers = { Accept: "text/event-stream", ...(last ? { "Last-Event-ID": last } : {}) };
    const call: Call = { method: "GET", path, headers, signal };
    try {
      for await (const { id, event, data } of messages(connection, call)) {
        last = id || last;
        repeated = 0;
        begun = performance.now();
        yield { id: id || null, event: event as TaskEvent["event"], data: read(connection, data) };
        if (event === "end") return;
      }
      if (call.repeat === false) return; // `after` is the id of the end
    } catch (error) {
      signal?.throwIfAborted();
      if (!mayPass(error)) throw error;
      failure = error;
    }
    await connection.pause(repeated++, failure, begun, { signal });
  }
}

function read(connection: Connection, data: string): Record<string, unknown> {
  try {
    return connection.parse(data);
  } catch (cause) {
    throw new TaskdaemonError("an event is no JSON", { cause });
  }
}

/** The messages of one connection. An answer without content sets `repeat` of the call to false. */
async function* messages(connection: Connection, call: Call): AsyncGenerator<Message> {
  const found: Message[] = [];
  let wake = (): void => {};
  let over = false, failure: unknown;
  const controller = new AbortController();
  const stop = (): void => controller.abort(call.signal?.reason);
  call.signal?.addEventListener("abort", stop, { once: true });
  if (call.signal?.aborted) stop();
  const inner = { ...call, signal: controller.signal };
  const reading = connection.open(inner, connection.request(call), async (response, alive) => {
    if (!response.ok) throw await connection.refused(call, response);
    if (response.status === 204) call.repeat = false;
    const reader = response.body?.getReader();
    const decoder = new TextDecoder(), stream = new Messages();
    for (let part = await reader?.read(); part && !part.done; part = await reader?.read()) {
      alive();
      found.push(...stream.add(decoder.decode(part.value, { stream: true })));
      wake();
    }
  });
  reading.catch((error) => (failure = error ?? new Error("the connection broke"))).finally(() => {
    over = true;
    wake();
  });
  try {
    for (;;) {
      for (let next = found.shift(); next; next = found.shift()) yield next;
      if (over) break;
      await new Promise<void>((resolve) => (wake = resolve));
    }
    if (failure !== undefined) throw failure;
  } finally {
    call.signal?.removeEventListener("abort", stop);
    controller.abort();
  }
}
