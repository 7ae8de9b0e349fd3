// Charges one chat session: node charge.mjs [http://127.0.0.1:8868 ...], instances in order.

import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";

const given = process.argv.slice(2);
const instances = given.length ? given : ["http://127.0.0.1:8868"];
const again = new Set([408, 429, 502, 503, 504]); // The same request, a little later; 507: elsewhere.
const giveUpAfter = 60_000; // ms; then keep the request and try it when the gateway is back.
const now = () => new Date().toISOString();

// The answer; the same key and body every time, so a repeat never charges twice.
async function post(path, content) {
  const body = JSON.stringify(content);
  const headers = { "content-type": "application/json", "idempotency-key": randomUUID() };
  const deadline = Date.now() + giveUpAfter;
  for (let attempt = 0; ; attempt++) {
    let pause = Math.min(200 * 2 ** attempt, 5_000);
    try {
      const signal = AbortSignal.timeout(35_000); // api.max_wait and 5 s
      const base = instances[attempt % instances.length];
      const answer = await fetch(base + path, { method: "POST", headers, body, signal });
      if (answer.ok) return await answer.json();
      const after = answer.headers.get("retry-after");
      const inProgress = answer.status === 409 && after;
      if (!again.has(answer.status) && answer.status !== 507 && !inProgress) {
        const problem = new Error(`${answer.status} ${await answer.text()}`); // Ours to mend.
        problem.final = true;
        throw problem;
      }
      pause = Math.max(pause, 1_000 * Number(after ?? 0));
    } catch (error) {
      if (error.final) throw error;
      // No connection, or it was lost: the trigger may be charged already.
    }
    if (Date.now() + pause > deadline) throw new Error(`${path}: no answer in ${giveUpAfter} ms`);
    await sleep(pause);
  }
}

const sessionId = randomUUID();
const start = await post("/v1/sessions", {
  sessionId, timestamp: now(), service: "chat",
  subscriber: [{ type: "e164", value: "+12025550123" }], to: ["tel:+12025550145"],
  request: [{ units: { seconds: 600 } }],
});
console.log("start", start.outcome, start.advice.service);
if (start.advice.service === "continue") { // `denied` is a right answer: do not begin.
  const end = await post(`/v1/sessions/${sessionId}/terminate`, {
    trigger: "bye-received", timestamp: now(),
    usage: [{ units: { seconds: 311, messages: 14 } }], // Since the session began.
  });
  console.log("terminate", end.outcome, JSON.stringify(end.debit));
}
