// The signatures that standard-webhooks publishes, and the faults that its own tests make.

import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { test } from "node:test";
import { BadWebhook, verifySignature, verifyWebhook } from "taskdaemon-client";

const SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const encode = (text) => new TextEncoder().encode(text);

function message({ id = "msg_p5jXN8AQM9LWM0D4loKWxJek", at = Math.floor(Date.now() / 1000), body = '{"test": 2432232314}', key = SECRET } = {}) {
  const bytes = Buffer.from(key.replace("whsec_", ""), "base64");
  const signature = "v1," + createHmac("sha256", bytes).update(`${id}.${at}.${body}`).digest("base64");
  return { body: encode(body), headers: { "webhook-id": id, "webhook-timestamp": String(at), "webhook-signature": signature } };
}

test("the published signature fits", async () => {
  const headers = {
    "Webhook-Id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
    "webhook-timestamp": "1614265330",
    "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
  };
  const now = 1614265330;
  await verifySignature(encode('{"test": 2432232314}'), headers, SECRET, { now });
  await verifySignature(encode('{"test": 2432232314}'), new Headers(headers), SECRET, { now });
  await assert.rejects(verifySignature(encode('{"test": 2432232315}'), headers, SECRET, { now }), BadWebhook);
});

for (const [what, change] of Object.entries({
  "without webhook-id": (headers) => delete headers["webhook-id"],
  "without webhook-timestamp": (headers) => delete headers["webhook-timestamp"],
  "without webhook-signature": (headers) => delete headers["webhook-signature"],
  "with another signature": (headers) => (headers["webhook-signature"] = "v1,dawfeoifkpqwoekfpqoekf"),
  "with a part of the signature": (headers) => (headers["webhook-signature"] = headers["webhook-signature"].slice(0, 8)),
  "with a signature of another version": (headers) => (headers["webhook-signature"] = headers["webhook-signature"].replace("v1", "v2")),
  "with a time that is no number": (headers) => (headers["webhook-timestamp"] = "yesterday"),
})) {
  test(`a message ${what} is refused`, async () => {
    const { body, headers } = message();
    change(headers);
    await assert.rejects(verifySignature(body, headers, SECRET), BadWebhook);
  });
}

test("a message that is too old or too new is refused", async () => {
  for (const seconds of [-301, 302]) {
    const { body, headers } = message({ at: Math.floor(Date.now() / 1000) + seconds });
    await assert.rejects(verifySignature(body, headers, SECRET), BadWebhook);
  }
});

test("one of several signatures, secrets with and without prefix and padding, and an emptied secret", async () => {
  const { body, headers } = message();
  headers["webhook-signature"] = `v1,Ceo5qEr07ixe2NLpvHk3FH9bwy/WavXrAFQ/9tdO6mc= v2,x ${headers["webhook-signature"]}`;
  await verifySignature(body, headers, [SECRET]);
  await verifySignature(body, headers, ["whsec_b3RoZXI=", SECRET.replace("whsec_", "")]);
  await assert.rejects(verifySignature(body, headers, "whsec_b3RoZXI="), BadWebhook);
  await verifySignature(...Object.values(message({ key: "whsec_b3RoZXI=" })), "whsec_b3RoZXI");
  for (const secret of ["", "whsec_", "whsec_?", []]) await assert.rejects(verifySignature(body, headers, secret), RangeError);
});

test("a callback has its task, and bytes are asked for", async () => {
  const task = { id: "1", status: "completed" };
  const told = JSON.stringify({ type: "task.completed", timestamp: "2026-01-31T09:00:00Z", data: task });
  const { body, headers } = message({ body: told });
  const webhook = await verifyWebhook(body, headers, SECRET);
  assert.deepEqual(webhook.task, task);
  assert.equal(webhook.type, "task.completed");
  await assert.rejects(verifyWebhook(told, headers, SECRET), TypeError);
  const other = message();
  await assert.rejects(verifyWebhook(other.body, other.headers, SECRET), BadWebhook);
});
