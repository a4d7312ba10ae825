// How a script tells the matrix what worked.

/** The server, without a path. */
export const URL = process.env.THINKPOOL_URL;
export const KEY = process.env.THINKPOOL_KEY;

/** Something worked; `text` must be the report of a run, letter by letter. */
export function show(did, text = null) {
  process.stdout.write(`${JSON.stringify({ did, text })}\n`);
}

/** Ends the script when the claim is false. */
export function check(claim, words) {
  if (!claim) throw new Error(words);
}
