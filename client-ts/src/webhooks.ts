/** Checks that a callback comes from the platform: Standard Webhooks, https://www.standardwebhooks.com. */

import type { Task } from "./answers.js";
import { BadWebhook, isObject } from "./errors.js";

/** A callback: a task has ended. A repeated callback has the same `id`. */
export interface Webhook {
  id: string;
  /** `task.completed` or `task.failed`. */
  type: string;
  timestamp: Date | null;
  task: Task;
  /** The task was too large: `task_data` and `result` are null, read the task for them. */
  truncated: boolean;
}

/** The headers of a request: those of `fetch`, or the object of Node's `http`. */
export type RequestHeaders = Headers | Record<string, string | string[] | undefined>;

export interface VerifyOptions {
  /** The seconds by which the platform's clock may differ; 300 by default. */
  tolerance?: number;
  /** The time to compare with, in seconds since 1970; by default the time of the clock. */
  now?: number;
  /** The parser of the body's JSON; by default `JSON.parse`. */
  parse?: (text: string) => unknown;
}

/**
 * The callback in a request's body. Throws `BadWebhook`, and RangeError without a secret, or for an invalid secret.
 *
 * `body`: the bytes as they arrived, not decoded and encoded again. `secrets`: one `whsec_...` or several; one of them
 * has to fit, so that secrets can be changed.
 */
export async function verifyWebhook(
  body: Uint8Array | ArrayBuffer,
  headers: RequestHeaders,
  secrets: string | readonly string[],
  options: VerifyOptions = {},
): Promise<Webhook> {
  const id = await verifySignature(body, headers, secrets, options);
  try {
    const told = (options.parse ?? JSON.parse)(new TextDecoder("utf-8", { fatal: true }).decode(body));
    const task = told.data as Task;
    if (!isObject(task) || typeof task["id"] !== "string" || typeof told.type !== "string") throw new TypeError();
    const timestamp = typeof told.timestamp === "string" ? new Date(told.timestamp) : null;
    return { id, type: told.type, timestamp, task, truncated: Boolean(told.truncated || (task as any).truncated) };
  } catch {
    throw new BadWebhook("its signature fits, but it tells of no task: another program has the secret");
  }
}

/** The id of a message of any sender that signs by Standard Webhooks. Throws as `verifyWebhook` does. */
export async function verifySignature(
  body: Uint8Array | ArrayBuffer,
  headers: RequestHeaders,
  secrets: string | readonly string[],
  { tolerance = 300, now = Date.now() / 1000 }: VerifyOptions = {},
): Promise<string> {
  const keys = (typeof secrets === "string" ? [secrets] : secrets).map(decodeSecret);
  if (keys.length === 0) throw new RangeError("verifyWebhook needs a secret: whsec_...");
  if (typeof body === "string") throw new TypeError("body must be bytes, as it arrived, not a string");
  const id = header(headers, "webhook-id");
  const sent = header(headers, "webhook-timestamp");
  const signatures = header(headers, "webhook-signature");
  if (!id || !sent || !signatures || !/^\s*[+-]?\d+\s*$/.test(sent)) {
    throw new BadWebhook("it lacks webhook-id, webhook-timestamp or webhook-signature");
  }
  if (!(Math.abs(now - Number(sent)) <= tolerance)) {
    throw new BadWebhook(`it is not of the last ${tolerance} seconds`);
  }
  const head = new TextEncoder().encode(`${id}.${sent}.`);
  const bytes = new Uint8Array(body);
  const signed = new Uint8Array(head.length + bytes.length);
  signed.set(head);
  signed.set(bytes, head.length);
  const given = signatures.split(/\s+/).filter((text) => text.startsWith("v1,")).map((text) => base64(text.slice(3)));
  const algorithm = { name: "HMAC", hash: "SHA-256" };
  for (const secret of keys) {
    const key = await crypto.subtle.importKey("raw", secret, algorithm, false, ["verify"]);
    for (const signature of given) {
      // WebCrypto compares in constant time.
      if (signature !== null && (await crypto.subtle.verify("HMAC", key, signature, signed))) return id;
    }
  }
  throw new BadWebhook("no secret fits its signature");
}

function header(headers: RequestHeaders, name: string): string | undefined {
  if (headers instanceof Headers) return headers.get(name) ?? undefined;
  const found = Object.entries(headers).find(([each]) => each.toLowerCase() === name)?.[1];
  return Array.isArray(found) ? found[0] : found;
}

function decodeSecret(secret: string): Uint8Array<ArrayBuffer> {
  const key = base64(String(secret ?? "").replace(/^whsec_/, ""));
  // Anybody can sign with an empty key.
  if (key === null || key.length === 0) throw new RangeError("a secret is whsec_ and base64");
  return key;
}

/** The bytes of base64, with or without padding; null if it is none. */
function base64(text: string): Uint8Array<ArrayBuffer> | null {
  if (!/^[A-Za-z0-9+/]*={0,2}$/.test(text)) return null;
  try {
    return Uint8Array.from(atob(text), (each) => each.charCodeAt(0));
  } catch {
    return null;
  }
}
