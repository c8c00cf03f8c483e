// Reads a list of {secret, body, headers}, and says of each callback whether the published library accepts it.
import { readFileSync } from "node:fs";
import { Webhook } from "standardwebhooks";

for (const { secret, body, headers } of JSON.parse(readFileSync(0, "utf-8"))) {
  Date.now = () => Number(headers["webhook-timestamp"]) * 1000; // they came a while ago
  try {
    new Webhook(secret).verify(body, headers);
    console.log("accepted");
  } catch {
    console.log("refused");
  }
}
