// React's useChat: a question, its streamed parts, a reload in the middle, and the rest.
import { useChat } from '@ai-sdk/react';
import { DefaultChatTransport } from 'ai';
import { useEffect } from 'react';
import { createRoot } from 'react-dom/client';
import { URL, fail, show } from './page_showing.mjs';

const transport = new DefaultChatTransport({ api: `${URL}/v1/research/ui-stream` });
const kept = JSON.parse(sessionStorage.getItem('messages') ?? 'null');

function Chat() {
  const { messages, sendMessage, status } = useChat({
    id: 'chat-1', resume: kept !== null, messages: kept ?? [], transport, onError: fail,
  });
  useEffect(() => {
    if (kept === null) sendMessage({ text: 'What is known of subject one?' });
  }, []);
  useEffect(() => { follow(messages, status); }, [messages, status]);
  return messages.map(message => message.parts.map((part, place) => <p key={place}>{part.text ?? part.type}</p>));
}

function follow(messages, status) {
  const [question, answer] = messages;
  if (kept === null && status === 'streaming' && answer?.parts.length > 3) {
    sessionStorage.setItem('messages', JSON.stringify([question]));
    location.reload();
  }
  if (kept !== null && status === 'ready' && answer) finish(answer);
}

let isFinished = false;

async function finish(answer) {
  if (isFinished) return;
  isFinished = true;
  if (!answer.parts.some(part => part.type === 'source-url')) fail('no sources');
  if (!answer.metadata.citations.length) fail('no citations');
  const text = answer.parts.filter(part => part.type === 'text').map(part => part.text).join('');
  if (!document.body.textContent.includes(text)) fail('the page does not show the report');
  await show('useChat: asked, reloaded in the middle, resumed, shown with sources', text);
  await show();
}

addEventListener('unhandledrejection', event => fail(event.reason));
createRoot(document.getElementById('root')).render(<Chat />);
