// Drives `ChatClient` of TanStack AI over `fetchServerSentEvents`.
// Usage: node tanstack.mjs '{"url": ".../agui", "token": "...", "thread": "id", "text": "...", "joins": true}'
// Prints one JSON value: the messages that a client ends with that sent, and of one that was opened in the middle.

import { ChatClient, fetchServerSentEvents } from "@tanstack/ai-client";

const spec = JSON.parse(process.argv[2]);
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const open = (persistence) => {
  const errors = [];
  const client = new ChatClient({
    connection: fetchServerSentEvents(spec.url, { headers: { authorization: `Bearer ${spec.token}` }, reconnect: { initialDelayMs: 10, maxDelayMs: 50, maxAttempts: 500 } }),
    threadId: spec.thread,
    onError: (error) => errors.push(String(error?.message ?? error)),
    ...(persistence ? { persistence: true } : {}),
  });
  return { client, errors };
};
const textOf = (client) =>
  client
    .getMessages()
    .filter((message) => message.role === "assistant")
    .flatMap((message) => message.parts)
    .filter((part) => part.type === "text")
    .map((part) => part.content)
    .join("");

const result = {};
const { client, errors } = open(false);
const sending = client.sendMessage(spec.text);
if (spec.joins) {
  while (textOf(client).split(" ").length - 1 < spec.joins) await sleep(5);
  const second = open(true);
  second.client.attach?.();
  await sending;
  for (let n = 0; n < 400 && (second.client.getIsLoading?.() || textOf(second.client) !== textOf(client)); n += 1) await sleep(10);
  result.joined = { text: textOf(second.client), messages: second.client.getMessages(), errors: second.errors };
} else {
  await sending;
}
if (spec.answer) {
  // At once, or in a page that is opened anew and has only what the server tells.
  const page = spec.reload ? open(true) : { client, errors };
  if (spec.reload) page.client.attach?.();
  for (let n = 0; n < 400 && page.client.getInterrupts().length === 0; n += 1) await sleep(10);
  result.asked = page.client.getInterrupts().map(({ kind, canResolve, toolCallId, metadata, id }) => ({ kind, canResolve, toolCallId, metadata, id }));
  result.before = page.client.getMessages();
  for (const interrupt of page.client.getInterrupts()) interrupt.resolveInterrupt(spec.answer);
  for (let n = 0; n < 400 && (page.client.getInterrupts().length > 0 || page.client.getIsLoading?.()); n += 1) await sleep(10);
  result.answered = { text: textOf(page.client), messages: page.client.getMessages(), errors: page.errors };
}
result.sent = { text: textOf(client), messages: client.getMessages(), errors };
process.stdout.write(`${JSON.stringify(result)}\n`, () => process.exit(0));
