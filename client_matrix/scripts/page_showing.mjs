// How a page tells the matrix what worked.

/** The server, without a path. */
export const URL = new URLSearchParams(location.search).get('server');

const tell = told => fetch('/told', { method: 'POST', body: JSON.stringify(told) });

/** Something worked; `text` must be the report of a run, letter by letter. With nothing to say, all is done. */
export function show(did, text = null) {
  return tell(did === undefined ? { isDone: true } : { did, text });
}

/** Ends the trial. */
export function fail(error) {
  return tell({ fault: String(error) });
}
