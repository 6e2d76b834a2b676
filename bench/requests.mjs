// Instructions of the whole proxy for each request, under callgrind and over epoll: what a change costs. With --old and
// --new both builds are counted in turn, and the ratio is printed. `alone` is one request at a time.
//
//   node bench/requests.mjs --new FILE [--old FILE] [--only W1,alone] [--rounds N] [--requests N] [--keep DIR]
//
// A run is some thousand requests that are not counted, and four times as many that are. Counts differ from run to run by
// some tenths of a percent, because how many requests come in one turn is the kernel's and the clients' affair: each figure
// is the median of a few runs. --keep leaves callgrind's profiles, for callgrind_annotate.
import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { measureH2load } from './lib/clients.mjs';
import { stop } from './lib/processes.mjs';
import { Rig } from './lib/rig.mjs';
import { interleave, median } from './lib/statistics.mjs';
import { countOf, workloads } from './lib/workloads.mjs';

const { values: options } = parseArgs({
  options: {
    old: { type: 'string' },
    new: { type: 'string' },
    only: { type: 'string', default: 'W1,W2,W3,W4,W5,W7,alone' },
    rounds: { type: 'string', default: '3' },
    requests: { type: 'string', default: '8192' },
    keep: { type: 'string' },
  },
});
if (!options.new) {
  console.error('--new FILE names the build, --old FILE one to compare it with');
  process.exit(2);
}
const alone = { id: 'alone', title: 'h2c → h2c, 100 B, one request at a time', port: 'plain', origin: 'h2c', path: 'small', size: 100,
  args: ['-c', '1', '-m', '1'], share: 0.5 };
const builds = Object.fromEntries(['old', 'new'].filter((name) => options[name]).map((name) => [name, path.resolve(options[name])]));
const rig = new Rig({ io: 'epoll' });

// A script that runs the build under callgrind, which cannot read its debug information.
function underCallgrind(name) {
  const [program, script] = [path.join(rig.dir, name), path.join(rig.dir, `${name}.sh`)];
  execFileSync('objcopy', ['--strip-debug', builds[name], program]);
  const call = `valgrind --tool=callgrind --quiet --callgrind-out-file='${rig.dir}/${name}.%p' '${program}' "$@"`;
  writeFileSync(script, `#!/bin/sh\nexec ${call}\n`, { mode: 0o755 });
  return script;
}

// A request takes a hundred times longer than usual.
const patience = path.join(rig.dir, 'patience.toml');
writeFileSync(patience, '[limits]\nburst_pool_bytes = 0\n[timeouts]\nqueue_ms = 120000\nping_ms = 120000\nconnect_ms = 60000\nclient_header_ms = 120000\n');
const scripts = Object.fromEntries(Object.keys(builds).map((name) => [name, underCallgrind(name)]));
const control = (...args) => execFileSync('callgrind_control', args, { stdio: 'ignore' });

async function count(name, workload) {
  const requests = countOf(workload, Number(options.requests));
  const proxy = await rig.freshProxy('plait', workload.origin, { binary: scripts[name], args: ['-c', patience] });
  const { pid } = proxy.child;
  await measureH2load(proxy, { ...workload, count: Math.ceil(requests / 4) });
  control('-z', String(pid));
  await measureH2load(proxy, { ...workload, count: requests });
  control('-d', String(pid));
  const file = readdirSync(rig.dir).find((entry) => entry === `${name}.${pid}.1`);
  await stop(proxy.child);
  if (options.keep) {
    mkdirSync(options.keep, { recursive: true });
    copyFileSync(path.join(rig.dir, file), path.join(options.keep, `${workload.id}.${name}`));
  }
  return Number(readFileSync(path.join(rig.dir, file), 'utf8').match(/^(?:totals|summary): (\d+)/m)[1]) / requests;
}

for (const workload of [...workloads, alone].filter(({ id }) => options.only.split(',').includes(id))) {
  const figures = await interleave(Object.keys(builds), Number(options.rounds), (name) => count(name, workload));
  const texts = Object.entries(figures).map(([name, values]) => `${name} ${Math.round(median(values))} ` +
    `(${Math.round(Math.min(...values))} to ${Math.round(Math.max(...values))})`);
  const ratio = figures.old ? `  ${((median(figures.new) / median(figures.old) - 1) * 100).toFixed(2)} %` : '';
  console.log(`${workload.id.padEnd(6)} ${texts.join('  ')}${ratio}`);
}
await rig.stopAll();
process.exit(0);
