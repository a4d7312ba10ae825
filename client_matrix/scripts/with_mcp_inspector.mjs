// The MCP inspector's command line.
import { execFileSync } from 'node:child_process';
import { KEY, URL, check, show } from './showing.mjs';

function inspect(...question) {
  const server = [`${URL}/mcp`, '--transport', 'http', '--header', `Authorization: Bearer ${KEY}`];
  const command = ['node_modules/.bin/mcp-inspector', '--cli', ...server, ...question];
  return JSON.parse(execFileSync(process.execPath, command, { stdio: ['ignore', 'pipe', 'inherit'] }));
}

const { tools } = inspect('--method', 'tools/list');
check(tools.length === 4, `${tools.length} tools`);
show('tools/list');

const call = ['--method', 'tools/call', '--tool-name', 'research', '--tool-arg'];
const { structuredContent } = inspect(...call, 'query=What is known of subject one?');
check(structuredContent.citations.length > 0, 'no citations');
show('tools/call of research', structuredContent.report);
