// Reads {secret, body, headers} and says whether the published library accepts the callback.
import { readFileSync } from "node:fs";
import { Webhook } from "standardwebhooks";

const { secret, body, headers } = JSON.parse(readFileSync(0, "utf-8"));
try {
  new Webhook(secret).verify(body, headers);
  console.log("accepted");
} catch {
  console.log("refused");
}
