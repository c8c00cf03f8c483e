// Takes callbacks and checks that they are the platform's. `npm install standardwebhooks`, and set CALLBACK_SECRET.
import { createServer } from "node:http";
import { Webhook } from "standardwebhooks";

const webhook = new Webhook(process.env.CALLBACK_SECRET);

const receiver = createServer(async (request, response) => {
  const parts = [];
  for await (const part of request) parts.push(part);
  try {
    // The bytes as they came: JSON that was parsed and written anew has another signature.
    const told = webhook.verify(Buffer.concat(parts), request.headers);
    // A callback may come twice: keep `webhook-id`, and do nothing for one that you know.
    console.log(request.headers["webhook-id"], told.type, told.data.id);
    response.writeHead(204).end();
  } catch {
    response.writeHead(401).end();
  }
});
receiver.listen(process.env.PORT ?? 9000, "127.0.0.1");
