// The AI SDK with @ai-sdk/openai-compatible: generateText and streamText.
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { generateText, streamText } from 'ai';
import { KEY, URL, check, show } from './showing.mjs';

const thinkpool = createOpenAICompatible({ name: 'thinkpool', baseURL: `${URL}/v1`, apiKey: KEY, includeUsage: true });
const model = thinkpool('simulated');

const whole = await generateText({ model, prompt: 'What is known of subject one?' });
check(whole.finishReason === 'stop', whole.finishReason);
check(whole.usage.outputTokens > 0, 'no usage');
check(whole.reasoningText.length > 0, 'no reasoning');
show('generateText, with reasoning and usage', whole.text);

const streamed = streamText({ model, prompt: 'What is known of subject two?', onError: ({ error }) => { throw error; } });
const deltas = [];
for await (const delta of streamed.textStream) deltas.push(delta);
check(deltas.length > 1, 'one delta');
check(deltas.join('') === await streamed.text, 'the deltas are not the whole');
check((await streamed.usage).outputTokens > 0, 'no usage');
show('streamText, with usage', deltas.join(''));
