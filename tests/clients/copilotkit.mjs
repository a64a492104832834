// Drives @copilotkit/core against a runtime that is no Node runtime: run, and join in the middle.
// Usage: node copilotkit.mjs '{"url": ".../copilotkit", "token": "...", "thread": "id", "agent": "default", "text": "...", "joins": 5}'
// Prints one JSON value: the text of the agent that ran, and of one that connected in the middle.

globalThis.window = globalThis; // it looks for a runtime only where there is a window
const { CopilotKitCore } = await import("@copilotkit/core");

const spec = JSON.parse(process.argv[2]);
process.on("unhandledRejection", () => {});
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const errors = [];
const open = async () => {
  const core = new CopilotKitCore({ runtimeUrl: spec.url, headers: { authorization: `Bearer ${spec.token}` } });
  core.subscribe({ onError: ({ error, code }) => void errors.push(`${code}: ${error?.message ?? error}`) });
  while (core.runtimeConnectionStatus !== "connected") await sleep(5);
  const agent = core.getAgent(spec.agent).clone?.() ?? core.getAgent(spec.agent);
  agent.threadId = spec.thread;
  return { core, agent };
};
const textOf = (agent) =>
  agent.messages
    .filter((message) => message.role === "assistant")
    .map((message) => message.content ?? "")
    .join("");

const first = await open();
first.agent.addMessage({ id: "said-1", role: "user", content: spec.text });
const running = first.core.runAgent({ agent: first.agent });
const result = {};
if (spec.joins) {
  while (textOf(first.agent).split(" ").length - 1 < spec.joins) await sleep(5);
  const second = await open();
  await second.core.connectAgent({ agent: second.agent });
  result.joined = { text: textOf(second.agent), messages: second.agent.messages };
}
if (spec.stops) {
  while (textOf(first.agent).split(" ").length - 1 < spec.stops) await sleep(5);
  await first.core.stopAgent({ agent: first.agent });
}
await running;
result.ran = { text: textOf(first.agent), messages: first.agent.messages };
result.errors = errors;
process.stdout.write(`${JSON.stringify(result)}\n`, () => process.exit(0));
