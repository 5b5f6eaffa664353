// imagefleet from Node.js with a plain Redis client: submit a job, wait for its result, verify a webhook.

import { createHmac, randomUUID, timingSafeEqual } from "node:crypto";

const ENDS = new Set(["succeeded", "failed", "canceled", "expired"]);
const TOLERANCE_S = 300;
const SILENCE_MS = 5000;

// The smallest message that a worker takes: Celery's message protocol 2, in the envelope that kombu has for Redis.
export function message(job, id) {
  return JSON.stringify({
    body: JSON.stringify([[], { job }, {}]),
    "content-type": "application/json",
    "content-encoding": "utf-8",
    headers: { task: "imagefleet.generate", id },
    properties: {
      delivery_tag: randomUUID(),
      delivery_info: { exchange: "", routing_key: `imagefleet.${job.model ?? "default"}` },
    },
  });
}

// Queues `job` (see `imagefleet schema job`) and returns its id.
export async function submit(redis, job, id = randomUUID()) {
  await redis.lPush(`imagefleet.${job.model ?? "default"}`, message(job, id));
  return id;
}

// Waits for the end of a job and returns its result (see `imagefleet schema result`). Redis forgets what nobody hears,
// so it subscribes first, then reads the record, and reads it again after a silence.
export async function result(redis, id, { onProgress = () => {} } = {}) {
  const subscriber = redis.duplicate();
  await subscriber.connect();
  try {
    return await new Promise((resolve, reject) => {
      const look = async () => {
        const stored = await redis.hGet(`imagefleet:job:${id}`, "result");
        if (stored) resolve(JSON.parse(stored));
      };
      const timer = setInterval(() => look().catch(reject), SILENCE_MS);
      const hear = (text) => {
        const { type, data } = JSON.parse(text);
        if (type === "job.progress") onProgress(data);
        if (ENDS.has(type.slice("job.".length))) resolve(data);
      };
      subscriber.subscribe(`imagefleet:events:${id}`, hear).then(look).catch(reject);
      subscriber.once("error", reject);
      subscriber.once("end", () => clearInterval(timer));
    });
  } finally {
    subscriber.destroy();
  }
}

// Checks the signature of a webhook (https://www.standardwebhooks.com) and returns its event. `body` is the text as it
// came; a job may be announced more than once, always with the same `webhook-id`.
export function verify(body, headers, secret, now = Date.now() / 1000) {
  const id = headers["webhook-id"];
  const timestamp = headers["webhook-timestamp"];
  if (!(Math.abs(now - Number(timestamp)) <= TOLERANCE_S)) throw new Error("the timestamp is missing or too far off");
  const key = Buffer.from(secret.replace(/^whsec_/, ""), "base64");
  const expected = createHmac("sha256", key).update(`${id}.${timestamp}.${body}`).digest();
  const fits = (headers["webhook-signature"] ?? "").split(" ").some((each) => {
    const given = Buffer.from(each.replace(/^v1,/, ""), "base64");
    return each.startsWith("v1,") && given.length === expected.length && timingSafeEqual(given, expected);
  });
  if (!fits) throw new Error("no signature was made with this secret");
  return JSON.parse(body);
}
