// What only shows in the long run, against the release build over real sockets. Each scenario prints one line with what it
// measured; the exit code says whether all of them held.
//
//   node tests/soak/run.mjs [--io auto|uring|epoll] [--scale F] [scenario…]
//
// Scale 1 is the full size; the test suite runs a small one.
import { readdirSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: { io: { type: 'string', default: process.env.PLAIT_IO ?? 'auto' }, scale: { type: 'string', default: '1' } },
});
const scale = Number(options.scale);
const dir = path.join(path.dirname(fileURLToPath(import.meta.url)), 'scenarios');
const known = readdirSync(dir).map((file) => path.basename(file, '.mjs')).sort();
const unknown = positionals.filter((name) => !known.includes(name));
if (unknown.length > 0 || !(scale > 0)) {
  console.error(unknown.length > 0 ? `no scenario ${unknown.join(', ')}; there are: ${known.join(', ')}` : '--scale takes a number above 0');
  process.exit(2);
}
process.env.PLAIT_IO = options.io;  // the peers' library reads it when it is loaded, below
process.env.PLAIT_ALLOC_GUARD = 'abort';  // a call of malloc on the way of a request ends plait, in every scenario
process.env.ASAN_OPTIONS ??= 'quarantine_size_mb=1:thread_local_quarantine_size_kb=64';  // else what was freed looks like a leak under AddressSanitizer

// `size(full, least)` of what a scenario does, at this run's scale.
const size = (full, least) => Math.max(least, Math.round(full * scale));

async function runScenario(name) {
  const { default: scenario } = await import(path.join(dir, `${name}.mjs`));
  const endings = [];
  const start = Date.now();
  const failures = [];
  const attempt = async (action) => {
    try {
      return await action();
    } catch (error) {
      failures.push(error);
      return undefined;
    }
  };
  const figures = await attempt(() => scenario({ after: (action) => endings.push(action) }, size));
  for (const action of endings) await attempt(action);
  const seconds = ((Date.now() - start) / 1000).toFixed(1);
  if (failures.length === 0) console.log(`ok     ${name} (${options.io}, ${seconds} s): ${figures}`);
  for (const error of failures) console.log(`FAILED ${name} (${options.io}, ${seconds} s): ${error.stack}`);
  return failures.length === 0;
}

let failed = 0;
for (const name of positionals.length > 0 ? positionals : known) {
  if (!await runScenario(name)) failed += 1;
}
process.exit(failed === 0 ? 0 : 1);
