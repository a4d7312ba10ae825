// Reads UI message streams with the AI SDK's own parser and transport; prints what it made of them as JSON.
// Arguments: `files PATH...` for stored streams, or `chat API CHAT_ID QUESTION` for a server.
import { openAsBlob } from 'node:fs';
import { DefaultChatTransport, parseJsonEventStream, readUIMessageStream, uiMessageChunkSchema } from 'ai';

async function messageOf(stream) {
  const errors = [];
  let last = null;
  for await (const message of readUIMessageStream({ stream, onError: error => errors.push(String(error)) })) {
    last = message;
  }
  return { message: last, errors };
}

async function fileOf(path) {
  const types = {};
  const faults = [];
  const chunks = parseJsonEventStream({ stream: (await openAsBlob(path)).stream(), schema: uiMessageChunkSchema });
  const valid = chunks.pipeThrough(new TransformStream({
    transform(result, controller) {
      if (!result.success) {
        faults.push(String(result.error));
        return;
      }
      types[result.value.type] = (types[result.value.type] ?? 0) + 1;
      controller.enqueue(result.value);
    },
  }));
  return { ...(await messageOf(valid)), types, faults };
}

async function chatOf(api, chatId, question) {
  const transport = new DefaultChatTransport({ api });
  const user = { id: 'u1', role: 'user', parts: [{ type: 'text', text: question }] };
  const leaving = new AbortController();
  const first = await transport.sendMessages({
    chatId, messages: [user], trigger: 'submit-message', messageId: undefined, abortSignal: leaving.signal,
  });
  const reader = first.getReader();
  const seen = [(await reader.read()).value.type, (await reader.read()).value.type];
  leaving.abort();
  const resumed = await messageOf(await transport.reconnectToStream({ chatId }));
  const afterwards = await transport.reconnectToStream({ chatId });
  const next = { id: 'u2', role: 'user', parts: [{ type: 'text', text: `${question} And why?` }] };
  const followed = await messageOf(await transport.sendMessages({
    chatId, messages: [user, resumed.message, next], trigger: 'submit-message', messageId: undefined,
  }));
  return { seen, resumed, afterwards, followed };
}

const [what, ...rest] = process.argv.slice(2);
const made = what === 'files' ? await Promise.all(rest.map(fileOf)) : await chatOf(...rest);
process.stdout.write(JSON.stringify(made));
