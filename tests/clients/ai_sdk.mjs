// Drives the AI SDK's own `AbstractChat` and `DefaultChatTransport` (versions 5, 6 and 7) through a list of steps.
// Usage: node ai_sdk.mjs '{"sdk": 7, "api": ".../api/chat", "token": "...", "chat": "id", "steps": [...]}'
// Prints one JSON value: the messages that the chat ends with, and how each request finished.

const spec = JSON.parse(process.argv[2]);
const { AbstractChat, DefaultChatTransport } = await import(`ai-${spec.sdk}`);
const headers = { authorization: `Bearer ${spec.token}`, ...(spec.headers ?? {}) };

class State {
  status = "ready";
  error = undefined;
  constructor(messages) {
    this.messages = messages;
  }
  pushMessage = (message) => {
    this.messages = [...this.messages, message];
  };
  popMessage = () => {
    this.messages = this.messages.slice(0, -1);
  };
  replaceMessage = (index, message) => {
    this.messages = [...this.messages.slice(0, index), structuredClone(message), ...this.messages.slice(index + 1)];
  };
  snapshot = (value) => structuredClone(value);
}

class Chat extends AbstractChat {
  constructor(messages) {
    const finishes = [];
    super({
      id: spec.chat,
      state: new State(messages),
      transport: new DefaultChatTransport({ api: spec.api, headers, body: spec.body }),
      onFinish: (finish) => finishes.push(finish),
      onError: () => {},
    });
    this.finishes = finishes;
  }
}

const textOf = (message) =>
  (message?.parts ?? [])
    .filter((part) => part.type === "text")
    .map((part) => part.text)
    .join("");
const wordsOf = (chat) => textOf(chat.messages.at(-1)?.role === "assistant" ? chat.messages.at(-1) : undefined).split(" ").length - 1;
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const fetched = async () => {
  const response = await fetch(`${spec.api.split("?")[0]}/${spec.chat}/messages`, { headers });
  return (await response.json()).messages;
};

let chat = new Chat(spec.messages ?? []);
let pending = Promise.resolve();
const others = [];
for (const step of spec.steps) {
  switch (step.do) {
    case "send": {
      const sent = chat.sendMessage({ text: step.text, ...(step.messageId ? { messageId: step.messageId } : {}) });
      if (step.until === undefined) {
        await sent;
      } else {
        pending = sent;
        while (wordsOf(chat) < step.until && chat.status !== "error") await sleep(5);
      }
      break;
    }
    case "regenerate":
      await chat.regenerate(step.messageId ? { messageId: step.messageId } : {});
      break;
    case "approve":
      for (const part of chat.messages.at(-1).parts) {
        if (part.state === "approval-requested") {
          await chat.addToolApprovalResponse({ id: part.approval.id, approved: step.approved, reason: step.reason });
        }
      }
      await chat.sendMessage();
      break;
    case "resume": // as long as the connection breaks; the server may be away for a while
      for (let attempt = 0; attempt < 600; attempt += 1) {
        await chat.resumeStream();
        if (chat.status !== "error") break;
        await sleep(50);
      }
      break;
    case "reload": // the page is loaded anew, as often as the connection breaks
      for (let attempt = 0; attempt < 600; attempt += 1) {
        chat = new Chat(await fetched());
        await chat.resumeStream();
        if (chat.status !== "error") break;
        await sleep(50);
      }
      break;
    case "view": // a second page
      others.push(
        (async () => {
          const viewer = new Chat(await fetched());
          await viewer.resumeStream();
          return viewer;
        })(),
      );
      break;
    case "stop":
      await fetch(`${spec.api}/${spec.chat}/stop`, { method: "POST", headers: { ...headers, "content-type": "application/json" } });
      if (step.also) await chat.stop();
      break;
    case "await":
      await pending;
      break;
    default:
      throw new Error(`unknown step ${step.do}`);
  }
}
await pending;
const result = (one) => ({
  status: one.status,
  error: one.error?.message,
  messages: one.messages,
  finishes: one.finishes.map(({ isAbort, isDisconnect, isError, finishReason }) => ({ isAbort, isDisconnect, isError, finishReason })),
});
console.log(JSON.stringify({ ...result(chat), others: (await Promise.all(others)).map(result), fetched: spec.fetch ? await fetched() : undefined }));
process.exit(0);
