// docs/conformance.md names a test for each requirement: every one of them has to exist. Prints how many there are.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import test from 'node:test';
import { fileURLToPath } from 'node:url';

const root = path.join(path.dirname(fileURLToPath(import.meta.url)), '..');
const table = readFileSync(path.join(root, 'docs', 'conformance.md'), 'utf8');

// Key → file, as the document itself says it.
const files = new Map([...table.matchAll(/^\| ([A-Z0-9]+) \| `([^`]+)` \|/gm)].map(([, key, file]) => [key, file]));
const sources = new Map([...files].map(([key, file]) => [key, readFileSync(path.join(root, file), 'utf8')]));

// A test of C++ is named Suite.Name; any other is text between quotes, whole, or what is constant in a name with variables.
function exists(key, name) {
  const source = sources.get(key);
  if (files.get(key).endsWith('.cc')) {
    const [suite, testName] = name.split('.');
    return new RegExp(`^TEST(_[FP])?\\(${suite}, ${testName}\\)`, 'm').test(source);
  }
  if (source.includes(`'${name}'`)) return true;
  return [...source.matchAll(/`([^`\n]*\$\{[^`\n]*)`/g)].some(([, template]) => name.length >= 20 && template.includes(name));
}

function rows() {
  const found = [];
  let rfc;
  for (const line of table.split('\n')) {
    rfc = line.match(/^## (RFC \d+)/)?.[1] ?? (line.startsWith('## ') ? undefined : rfc);
    const cells = line.match(/^\| (.+) \|$/)?.[1].split(' | ');
    if (rfc === undefined || cells === undefined || cells[0] === '§') continue;
    found.push({ rfc, line, cells });
  }
  return found;
}

test('every row has a section, a requirement, what plait does, and tests that exist', (t) => {
  const counts = new Map();
  const named = new Set();
  for (const { rfc, line, cells } of rows()) {
    assert.equal(cells.length, 4, line);
    const references = cells[3].split('<br>');
    for (const reference of references) {
      const [, key, name] = reference.match(/^([A-Z0-9]+) `([^`]+)`$/) ?? [];
      assert.ok(key !== undefined && files.has(key), `a key and a name between backticks: ${reference}`);
      assert.ok(exists(key, name), `${files.get(key)} has no test with this name: ${name}`);
      named.add(`${key} ${name}`);
    }
    counts.set(rfc, (counts.get(rfc) ?? 0) + 1);
  }
  assert.deepEqual([...counts.keys()].sort(), ['RFC 7541', 'RFC 9110', 'RFC 9112', 'RFC 9113']);
  for (const [rfc, count] of counts) t.diagnostic(`${rfc}: ${count} rows`);
  t.diagnostic(`${[...counts.values()].reduce((sum, count) => sum + count, 0)} rows, ${named.size} tests named`);
});

test('every case that is held against an RFC has a row', () => {
  const missing = [];
  for (const [key, kinds] of [['S2', 'rule|hpack'], ['C2', 'rule|hpack'], ['H1', 'serverRule|clientRule']]) {
    for (const [, name] of sources.get(key).matchAll(new RegExp(`^(?:${kinds})\\('[^']*',\\s*'([^']+)'`, 'gm'))) {
      if (!table.includes(`${key} \`${name}\``)) missing.push(`${key} ${name}`);
    }
  }
  assert.deepEqual(missing, []);
});
