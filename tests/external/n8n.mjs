// What n8n does with the expressions of a node and the program of a Code node, as far as tests need it:
// reads {expressions, code, json, nodes} from stdin, and prints {values, returned}.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

const { expressions, code, json, nodes } = JSON.parse(readFileSync(0, 'utf8'));
const $ = (name) => ({ first: () => nodes[name] });
const AsyncFunction = (async () => {}).constructor;

const evaluated = (expression) => new Function('$json', '$', `return (${expression});`)(json, $);

const value = (text) => {
  if (!text.startsWith('=')) {
    return text;
  }
  const parts = text.slice(1).split(/\{\{(.*?)\}\}(?!\})/s);
  return parts.map((part, index) => (index % 2 ? evaluated(part) : part)).join('');
};

const returned = code
  ? await new AsyncFunction('$', 'require', code)($, createRequire(import.meta.url))
  : null;
const values = Object.fromEntries(
  Object.entries(expressions ?? {}).map(([name, text]) => [name, value(text)]),
);
process.stdout.write(JSON.stringify({ values, returned }));
