// Counts the instructions of the engine's work under callgrind and compares them with docs/instructions.md. Counts are
// exact for one compiler and one C library, unlike times, so a rise of 3 % is a finding and not noise.
//
//   node bench/instructions.mjs --work build/release/plait_engine_work [--update]
//
// Ends with 1 where something takes more than 3 % more instructions than recorded, with 77 where nothing can be compared:
// without valgrind, or with another compiler or C library than the record names. A change that is worth its
// instructions, or saves some, updates the record: --update writes it.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const { values: options } = parseArgs({ options: { work: { type: 'string' }, update: { type: 'boolean', default: false } } });
const record = path.join(path.dirname(fileURLToPath(import.meta.url)), '../docs/instructions.md');
const allowed = 1.03;
const skipped = 77;

function tryRun(command, args) {
  try {
    return execFileSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
  } catch {
    return '';
  }
}

if (tryRun('valgrind', ['--version']) === '') {
  console.log('valgrind is not installed');
  process.exit(skipped);
}
const compiler = tryRun('readelf', ['-p', '.comment', options.work]).match(/clang version (\S+)/)?.[1] ?? 'unknown';
const library = tryRun('getconf', ['GNU_LIBC_VERSION']).trim();
const machine = `clang ${compiler}, ${library}, ${os.arch()}`;

function count() {
  const dir = mkdtempSync(path.join(os.tmpdir(), 'plait-instructions-'));
  try {
    // The environment lies on the stack, whose alignment is a few instructions' worth.
    const printed = execFileSync('valgrind', ['--tool=callgrind', '--collect-atstart=no', `--callgrind-out-file=${dir}/out`, '--quiet', options.work],
      { encoding: 'utf8', env: { PATH: process.env.PATH }, stdio: ['ignore', 'pipe', 'inherit'] });
    const operations = new Map(printed.trim().split('\n').map((line) => line.split(' ')));
    const counts = new Map();
    for (const file of readdirSync(dir)) {
      const text = readFileSync(path.join(dir, file), 'utf8');
      const name = text.match(/^desc: Trigger: Client Request: (\S+)$/m)?.[1];
      if (name) counts.set(name, Math.round(Number(text.match(/^(?:totals|summary): (\d+)/m)[1]) / Number(operations.get(name))));
    }
    return new Map([...operations.keys()].map((name) => [name, counts.get(name)]));
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

const counts = count();
if (options.update) {
  writeFileSync(record, `# Instructions

The instructions that the engine takes for each operation, in the preset \`release\`, by callgrind: \`bench/engine/engine_work.cc\` does the
work, \`bench/instructions.mjs\` counts and, in the test \`instructions\`, fails where something rises by more than 3 %. A
change that is worth it updates this file:

    node bench/instructions.mjs --work build/release/plait_engine_work --update

Counted with ${machine}.

| operation | instructions |
|---|---|
${[...counts].map(([name, value]) => `| ${name} | ${value} |`).join('\n')}
`);
  process.exit(0);
}

const text = existsSync(record) ? readFileSync(record, 'utf8') : '';
const recorded = new Map([...text.matchAll(/^\| (\w+) \| (\d+) \|$/gm)].map(([, name, value]) => [name, Number(value)]));
const made_with = text.match(/^Counted with (.*)\.$/m)?.[1];
let failed = false;
for (const [name, value] of counts) {
  const before = recorded.get(name);
  const change = before === undefined ? '' : ` (${before} recorded, ${((value / before - 1) * 100).toFixed(1)} %)`;
  console.log(`${name} ${value}${change}`);
  if (before === undefined || value > before * allowed) failed = true;
}
if (made_with !== machine) {
  console.log(`the record is of ${made_with}, and this is ${machine}: nothing to compare`);
  process.exit(skipped);
}
if (failed) {
  console.log('Something takes more than 3 % more instructions than docs/instructions.md says, or is not in it. If that is meant:\n' +
    `  node bench/instructions.mjs --work ${path.relative(process.cwd(), options.work)} --update`);
  process.exit(1);
}
