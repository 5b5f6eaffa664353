// node main.js "a lighthouse at dusk"
//
// IMAGEFLEET_REDIS_URL     the queue (redis://127.0.0.1:6379/0)
// IMAGEFLEET_EXAMPLE_JOB   more fields of the job, as JSON, such as {"steps": 4}
// WEBHOOK_SECRET           with it, a receiver is started and the job's webhook is awaited; senders of webhooks must know
//                          the secret, and their IMAGEFLEET_WEBHOOK_ALLOW_HOSTS must name 127.0.0.1. With `imagefleet up`
//                          it does, and WEBHOOK_SECRET=$IMAGEFLEET_WEBHOOK_SECRETS is the secret

import { createServer } from "node:http";
import { once } from "node:events";
import { createClient } from "redis";
import { result, submit, verify } from "./imagefleet.js";

const secret = process.env.WEBHOOK_SECRET;
const job = { prompt: process.argv[2] ?? "a lighthouse at dusk", ...JSON.parse(process.env.IMAGEFLEET_EXAMPLE_JOB ?? "{}") };

function receiver() {
  let announce;
  const event = new Promise((resolve) => (announce = resolve));
  const server = createServer(async (request, response) => {
    let body = "";
    for await (const chunk of request.setEncoding("utf8")) body += chunk;
    try {
      announce(verify(body, request.headers, secret));
      response.writeHead(204).end();
    } catch (error) {
      console.error("refused a webhook:", error.message);
      response.writeHead(400).end();
    }
  });
  return { server: server.listen(0, "127.0.0.1"), event };
}

const redis = createClient({ url: process.env.IMAGEFLEET_REDIS_URL ?? "redis://127.0.0.1:6379/0" });
redis.on("error", (error) => console.error("redis:", error.message));
await redis.connect();

const hook = secret && receiver();
if (hook) {
  await once(hook.server, "listening");
  job.webhook = { url: `http://127.0.0.1:${hook.server.address().port}/` };
}
const id = await submit(redis, job);
const ended = await result(redis, id, {
  onProgress: ({ done, total }) => console.error(`${done} of ${total} steps`),
});
const announced = hook && (await hook.event);
console.log(JSON.stringify({ id, result: ended, webhook: announced && announced.type }));

hook?.server.close();
redis.destroy();
process.exitCode = ended.status === "succeeded" ? 0 : 1;
