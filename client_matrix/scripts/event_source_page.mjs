// A page of another origin: Chromium's EventSource reconnects by itself with Last-Event-ID, and stops at the end.
import { readRun, reportOf } from './event_stream.mjs';
import { URL, fail, show } from './page_showing.mjs';

try {
  const created = await fetch(`${URL}/v1/research`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ query: 'What is known of subject one?' }),
  });
  const { id } = await created.json();
  const read = await readRun(EventSource, `${URL}/v1/research/${id}/events`, () => fetch('/cut'));
  await show('cut in the middle, reconnected by itself, every event once, stopped at the end', reportOf(read));
  await show();
} catch (error) {
  await fail(error);
}
