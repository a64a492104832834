// Reads the session's own events with the `eventsource` package, which reconnects by itself.
// Usage: node eventsource.mjs '{"url": ".../events?cursor=...", "token": "..."}'
// Prints one JSON value: every event with its id, until the server says that there is nothing more.

import { EventSource } from "eventsource";

const spec = JSON.parse(process.argv[2]);
const seen = [];
let opened = 0;
const alive = setInterval(() => {}, 1000); // the package waits for its reconnection without keeping the process alive
const source = new EventSource(spec.url, {
  fetch: (input, init) => fetch(input, { ...init, headers: { ...init.headers, authorization: `Bearer ${spec.token}` } }),
});
await new Promise((resolve) => {
  source.onopen = () => {
    opened += 1;
  };
  source.onmessage = (event) => seen.push({ id: event.lastEventId, data: JSON.parse(event.data) });
  source.onerror = () => {
    if (source.readyState === source.CLOSED) resolve(clearInterval(alive)); // 204: there is nothing more to come
  };
});
process.stdout.write(`${JSON.stringify({ seen, opened })}\n`, () => process.exit(0));
