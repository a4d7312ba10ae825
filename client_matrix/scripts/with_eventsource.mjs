// npm's eventsource: it sends the key, reconnects by itself with Last-Event-ID, and stops when the run has ended.
import { EventSource } from 'eventsource';
import { readRun, reportOf } from './event_stream.mjs';
import { KEY, URL, show } from './showing.mjs';

const authorization = { Authorization: `Bearer ${KEY}` };

class KeyedEventSource extends EventSource {
  constructor(url) {
    super(url, { fetch: (input, init) => fetch(input, { ...init, headers: { ...init.headers, ...authorization } }) });
  }
}

const created = await fetch(`${URL}/v1/research`, {
  method: 'POST',
  headers: { ...authorization, 'Content-Type': 'application/json' },
  body: JSON.stringify({ query: 'What is known of subject one?' }),
});
const { id } = await created.json();
// While it waits to reconnect, the package does not keep Node.js from ending.
const awake = setInterval(() => {}, 1000);
const read = await readRun(KeyedEventSource, `${URL}/v1/research/${id}/events`, () => fetch(process.env.CUT_URL));
show('cut in the middle, reconnected by itself, every event once, stopped at the end', reportOf(read));
clearInterval(awake);
