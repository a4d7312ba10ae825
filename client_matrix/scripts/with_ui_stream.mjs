// What useChat is made of: its transport, its parser, and the message it makes; left in the middle and resumed.
import { DefaultChatTransport, readUIMessageStream } from 'ai';
import { KEY, URL, check, show } from './showing.mjs';

const headers = { Authorization: `Bearer ${KEY}` };
const transport = new DefaultChatTransport({ api: `${URL}/v1/research/ui-stream`, headers });
const question = (id, text) => ({ id, role: 'user', parts: [{ type: 'text', text }] });
const chat = { chatId: 'chat-1', trigger: 'submit-message', messageId: undefined };

async function messageOf(stream) {
  let last;
  for await (const message of readUIMessageStream({ stream, onError: error => { throw error; } })) last = message;
  return last;
}

function textOf(message) {
  return message.parts.filter(part => part.type === 'text').map(part => part.text).join('');
}

const first = question('u1', 'What is known of subject one?');
const leaving = new AbortController();
const begun = await transport.sendMessages({ ...chat, messages: [first], abortSignal: leaving.signal });
const reader = begun.getReader();
check((await reader.read()).value.type === 'start', 'no start');
leaving.abort();
const answer = await messageOf(await transport.reconnectToStream(chat));
check(answer.parts.some(part => part.type === 'source-url'), 'no sources');
check(answer.metadata.citations.length > 0, 'no citations');
show('a question, left and resumed, with sources', textOf(answer));

check(await transport.reconnectToStream(chat) === null, 'the ended run is still resumed');
show('nothing to resume after the end');

const messages = [first, answer, question('u2', 'And of subject two?')];
show('a follow-up', textOf(await messageOf(await transport.sendMessages({ ...chat, messages }))));
