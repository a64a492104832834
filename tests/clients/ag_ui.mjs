// Drives `HttpAgent` of @ag-ui/client, 1.0.0 or 0.0.59, through a list of steps.
// Usage: node ag_ui.mjs '{"client": "1" | "0", "url": ".../agui", "token": "...", "thread": "id", "steps": [...]}'
// Prints one JSON value: the messages that the agent ends with, the events it was given, and what each step came to.

const spec = JSON.parse(process.argv[2]);
const library = await import(spec.client === "0" ? "ag-ui-client-0" : "@ag-ui/client");
const { HttpAgent, randomUUID, runHttpRequest, transformHttpEventStream } = library;
const headers = { authorization: `Bearer ${spec.token}` };
// At a reset connection the client leaves a rejection that nobody handles, beside the one that it reports.
process.on("unhandledRejection", () => {});
for (const name of ["log", "warn", "error", "debug"]) console[name === "log" ? "debug" : name] = () => {};

class Agent extends HttpAgent {
  // The base class leaves joining to transports; ours is a POST with the same input.
  connect(input) {
    return transformHttpEventStream(
      runHttpRequest(() =>
        fetch(spec.connect, {
          method: "POST",
          headers: { ...headers, "content-type": "application/json", accept: "text/event-stream" },
          body: JSON.stringify(input),
        }),
      ),
    );
  }
}

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const agent = new Agent({ url: spec.url, headers, threadId: spec.thread, initialMessages: spec.messages ?? [] });
const events = [];
agent.subscribe({ onEvent: ({ event }) => void events.push(event) });
const textOf = () =>
  agent.messages
    .filter((message) => message.role === "assistant")
    .map((message) => message.content ?? "")
    .join("");
const outcomes = [];
const outcome = async (running) => {
  try {
    await running;
    outcomes.push({ ok: true });
  } catch (error) {
    outcomes.push({ ok: false, message: String(error?.message ?? error), status: error?.status });
  }
};

let pending = Promise.resolve();
let runId, answered;
for (const step of spec.steps) {
  switch (step.do) {
    case "send": {
      agent.addMessage({ id: step.id ?? randomUUID(), role: "user", content: step.text });
      runId = step.runId ?? randomUUID();
      const running = outcome(agent.runAgent({ runId, ...(step.parameters ?? {}) }));
      if (step.until === undefined) {
        await running;
      } else {
        pending = running;
        while (textOf().split(" ").length - 1 < step.until) await sleep(5);
      }
      break;
    }
    case "rerun": // the same request again, as often as it breaks
      for (let attempt = 0; attempt < 600; attempt += 1) {
        await outcome(agent.runAgent({ runId, ...(answered ? { resume: answered } : {}) }));
        const last = events.at(-1)?.type;
        if (last === "RUN_FINISHED" || (last === "RUN_ERROR" && outcomes.at(-1).ok)) break;
        await sleep(50);
      }
      break;
    case "connect":
      await outcome(agent.connectAgent({ runId: randomUUID() }));
      break;
    case "resume":
      runId = step.runId ?? randomUUID();
      answered = agent.pendingInterrupts.map(({ id }) => ({ interruptId: id, status: step.status ?? "resolved", payload: step.payload }));
      await outcome(agent.runAgent({ runId, resume: answered }));
      break;
    case "await":
      await pending;
      break;
    case "abort":
      agent.abortRun();
      break;
    default:
      throw new Error(`unknown step ${step.do}`);
  }
}
await pending;
process.stdout.write(`${JSON.stringify({ messages: agent.messages, events, outcomes, text: textOf() })}\n`, () => process.exit(0));
