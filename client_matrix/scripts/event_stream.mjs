// Reads a run with an EventSource, of a browser or a package, whose connection is cut in the middle.

const TYPES = [
  'run.queued', 'run.started', 'turn.started', 'turn.finished', 'turn.retracted', 'reasoning.delta', 'message.delta',
  'report.delta', 'tool.started', 'tool.progress', 'tool.finished', 'source.found', 'citation.checked',
  'budget.warning', 'run.completed', 'run.failed', 'run.cancelled',
];
const CUT_AFTER = 5;

/** The events of a run, `[{id, type, data}]`, and how often the connection was opened; `cut` cuts it once. */
export function readRun(EventSource, url, cut) {
  return new Promise((resolve, reject) => {
    const events = [];
    let opened = 0;
    const source = new EventSource(url);
    const take = event => {
      if (event.lastEventId) events.push({ id: Number(event.lastEventId), type: event.type, data: JSON.parse(event.data) });
      if (events.length === CUT_AFTER && opened === 1) cut();
    };
    for (const type of TYPES) source.addEventListener(type, take);
    source.onopen = () => { opened += 1; };
    source.onerror = () => {
      if (source.readyState !== source.CLOSED) return;
      const last = events.at(-1)?.type;
      if (last === 'run.completed') resolve({ events, opened });
      else reject(new Error(`closed after ${last}`));
    };
  });
}

/** The report that these events tell. */
export function reportOf({ events, opened }) {
  if (opened < 2) throw new Error('the connection was not cut');
  if (events.some((event, place) => event.id !== place + 1)) throw new Error('events are missing or came twice');
  return events.at(-1).data.report;
}
