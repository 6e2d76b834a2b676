// CPU per request of two builds of plait against each other: for judging one change. Both run at the same time and serve
// the same rounds in turn, so that whatever else the machine does meets both alike; what is printed is the median of the
// ratios new / old, paired by round, and the quartiles around it.
//
//   node bench/ab.mjs --old FILE --new FILE [--only W1,W5] [--rounds N] [--requests N] [--old-io uring] [--new-io epoll]
import { parseArgs } from 'node:util';
import { measureH2load } from './lib/clients.mjs';
import { Rig } from './lib/rig.mjs';
import { interleave, median, quantile } from './lib/statistics.mjs';
import { countOf, workloads } from './lib/workloads.mjs';

const { values: options } = parseArgs({
  options: {
    old: { type: 'string' },
    new: { type: 'string' },
    'old-io': { type: 'string', default: 'auto' },
    'new-io': { type: 'string', default: 'auto' },
    only: { type: 'string', default: 'W1,W2,W4,W5' },
    rounds: { type: 'string', default: '9' },
    requests: { type: 'string', default: '30000' },
  },
});
if (!options.old || !options.new) {
  console.error('--old FILE and --new FILE name the two builds');
  process.exit(2);
}
const rig = new Rig({});
for (const workload of workloads.filter(({ id }) => options.only.split(',').includes(id))) {
  const sides = {};
  for (const side of ['old', 'new']) {
    sides[side] = await rig.once(`${side} ${workload.origin}`, () => rig.freshProxy('plait', workload.origin, { binary: options[side], io: options[`${side}-io`] }));
  }
  const figures = await interleave(['old', 'new'], Number(options.rounds),
    (side) => measureH2load(sides[side], { ...workload, count: countOf(workload, Number(options.requests)) }));
  const ratios = figures.new.map((value, i) => value / figures.old[i]);
  const text = (share) => quantile(ratios, share).toFixed(3);
  console.log(`${workload.id}  old ${median(figures.old).toFixed(2)} µs  new ${median(figures.new).toFixed(2)} µs  ` +
    `best ${Math.min(...figures.old).toFixed(2)} → ${Math.min(...figures.new).toFixed(2)}  new / old ${text(0.5)} (quartiles ${text(0.25)} to ${text(0.75)})`);
}
process.exit(0);
