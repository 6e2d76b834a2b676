// Applies each deliberate defect of list.mjs to a copy of the tree, builds the simulation from it, and expects that the
// simulation finds it:  node tools/mutants/run.mjs [--runs 2000] [--only PART-OF-A-NAME] [--from PART-OF-A-NAME] [--dir build/mutants]
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { mutants } from './list.mjs';

const root = path.join(path.dirname(fileURLToPath(import.meta.url)), '..', '..');
const { values: options } = parseArgs({
  options: {
    runs: { type: 'string', default: '2000' },
    only: { type: 'string', default: '' },
    from: { type: 'string', default: '' },
    dir: { type: 'string', default: path.join(root, 'build', 'mutants') },
  },
});
const source = path.join(options.dir, 'source');
// Where the preset puts it: so the compiler's cache knows everything that a mutant has not changed.
const build = path.join(source, 'build', 'release');

function run(command, args, settings = {}) {
  return spawnSync(command, args, { encoding: 'utf8', maxBuffer: 1 << 28, ...settings });
}

function must(command, args, settings) {
  const done = run(command, args, settings);
  if (done.status !== 0) throw new Error(`${command} ${args.join(' ')}\n${done.stdout}${done.stderr}`);
}

// The tree as it is, without what it does not track; only what differs is written, so that little is built again.
function copyTree() {
  const files = execFileSync('git', ['-C', root, 'ls-files', 'plait', 'sim', 'cmake', 'CMakeLists.txt', 'CMakePresets.json'], { encoding: 'utf8' });
  for (const file of files.trim().split('\n')) {
    if (!existsSync(path.join(root, file))) continue;
    const text = readFileSync(path.join(root, file));
    const copy = path.join(source, file);
    if (existsSync(copy) && readFileSync(copy).equals(text)) continue;
    mkdirSync(path.dirname(copy), { recursive: true });
    writeFileSync(copy, text);
  }
  must('cmake', ['--preset', 'release'], { cwd: source });
}

function mutate(text, { name, find, replace }) {
  if (text.split(find).length !== 2) throw new Error(`"${name}": what is to be replaced occurs ${text.split(find).length - 1} times`);
  return text.replace(find, () => replace);
}

function buildSim() {
  return run('ninja', ['-C', build, '-j2', 'plait_sim'], { env: { ...process.env, CCACHE_BASEDIR: source, CCACHE_NOHASHDIR: '1' } });
}

function verdict(done) {
  const text = done.stdout + done.stderr;
  const seed = text.match(/seed (\d+) (?:at commit|ended)/)?.[1] ?? '?';
  const reason = text.match(/violates an oracle\n\s+(.*)/)?.[1] ?? text.match(/assertion failed.*/)?.[0] ?? text.match(/ended by signal \d+/)?.[0] ?? 'differs';
  return { seed, reason };
}

copyTree();
// Every edit must still fit before the first of them is built.
for (const mutant of mutants) {
  let text = readFileSync(path.join(source, mutant.file), 'utf8');
  text = mutate(text, mutant);
  if (mutant.also) mutate(text, { name: mutant.name, ...mutant.also });
}
const first = mutants.findIndex((mutant) => mutant.name.includes(options.from));
const chosen = mutants.slice(first).filter((mutant) => mutant.name.includes(options.only));
const survivors = [];
for (const mutant of chosen) {
  const file = path.join(source, mutant.file);
  const original = readFileSync(file, 'utf8');
  let text = mutate(original, mutant);
  if (mutant.also) text = mutate(text, { name: mutant.name, ...mutant.also });
  writeFileSync(file, text);
  try {
    const built = buildSim();
    if (built.status !== 0) {
      survivors.push(mutant.name);
      console.log(`| ${mutant.name} | **does not build** |\n${built.stdout}`);
      continue;
    }
    const simulate = (...seeds) => run(path.join(build, 'plait_sim'), [...seeds, '--check-every', '1000', '--last', '0'], { timeout: 600_000 });
    let done = simulate('--runs', options.runs);
    // Seeds that failed once, for what is rarer.
    if (done.status === 0) done = simulate('--seeds', path.join(root, 'sim', 'seeds.txt'));
    if (done.status === 0) {
      survivors.push(mutant.name);
      console.log(`| ${mutant.name} | **not found** in ${options.runs} seeds and those of sim/seeds.txt |`);
    } else {
      const { seed, reason } = done.error?.code === 'ETIMEDOUT' ? { seed: '?', reason: 'no end' } : verdict(done);
      console.log(`| ${mutant.name} | seed ${seed}: ${reason.slice(0, 110)} |`);
    }
  } finally {
    writeFileSync(file, original);
  }
}
console.log(`\n${chosen.length - survivors.length} of ${chosen.length} found`);
process.exit(survivors.length === 0 ? 0 : 1);
