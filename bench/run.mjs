// ./dev bench: what plait costs, against its peers in the same run. The proxy has one worker on core 0; clients and
// origins share core 1. Rounds are interleaved over the proxies and ratios are paired by round, so that whatever else the
// machine does meets all of them alike. Every response counts: where one was not 2xx, or the bodies do not add up to the
// byte, the program ends with an error. Prints Markdown.
//
//   node bench/run.mjs [--only W1,W8] [--rounds N] [--requests N] [--peers plait,nginx] [--out FILE]
//        [--pgo FILE]                   W1 to W8 of a second build of plait: what ./dev pgo has made
//   node bench/run.mjs --sweep clients,streams,backends,fields,bodies    cost as work grows; plots in docs/plots/
//   node bench/run.mjs --latency       added latency at fixed rates, open loop
//   node bench/run.mjs --handshakes    TLS handshakes for each second of CPU, full and resumed, on both sides
//   node bench/run.mjs --wire          throughput over a wire, some hours; in slices, each of which may be a list: [--side backend,client]
//        [--rtt 5,20,100] [--client http2,http1] [--backend h2c,tls,http1] [--streams 1,16] [--at-least SECONDS]
//   node bench/run.mjs --cores         two workers against one
//   node bench/run.mjs --memory        bytes for each connection and stream; --churn MILLIONS [--prefault]: RSS over a long run
import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { allNames } from './lib/proxies.mjs';

const { values: options } = parseArgs({
  options: {
    only: { type: 'string' },
    rounds: { type: 'string', default: '5' },
    requests: { type: 'string', default: '100000' },
    peers: { type: 'string' },
    io: { type: 'string', default: 'auto' },
    out: { type: 'string' },
    plait: { type: 'string', default: 'build/dist/plait' },
    pgo: { type: 'string' },
    load: { type: 'string', default: 'build/release/plait_load' },
    sweep: { type: 'string' },
    latency: { type: 'boolean', default: false },
    handshakes: { type: 'boolean', default: false },
    cores: { type: 'boolean', default: false },
    wire: { type: 'boolean', default: false },
    side: { type: 'string', default: 'backend,client' },
    rtt: { type: 'string', default: '5,20,100' },
    client: { type: 'string', default: 'http2,http1' },
    backend: { type: 'string', default: 'h2c,tls,http1' },
    streams: { type: 'string', default: '1,16' },
    'at-least': { type: 'string', default: '1.5' },
    relay: { type: 'string', default: 'build/release/plait_wire' },
    memory: { type: 'boolean', default: false },
    churn: { type: 'string' },
    prefault: { type: 'boolean', default: false },
    seconds: { type: 'string', default: '10' },
    plots: { type: 'string', default: 'docs/plots' },
  },
});
const possible = allNames.filter((name) => name !== 'plait, pgo' || options.pgo !== undefined);
const names = options.peers === undefined ? possible : possible.filter((name) => options.peers.split(',').some((peer) => name === peer || name.startsWith(`${peer},`)));
if (names.length === 0) {
  console.error(`--peers names some of ${possible.join(', ')}`);
  process.exit(2);
}
const settings = {
  ...options, names, binary: options.plait, tool: options.load, relay: options.relay, rounds: Number(options.rounds), requests: Number(options.requests),
  seconds: Number(options.seconds), churn: Number(options.churn ?? 0), progress: (text) => console.error(text),
};

let measurement = 'workloads';
for (const name of ['sweep', 'latency', 'handshakes', 'cores', 'memory', 'wire']) {
  if (options[name]) measurement = name;
}
if (settings.churn > 0) measurement = 'churn';
if (options.pgo !== undefined && measurement !== 'workloads') {
  console.error('--pgo FILE is a second build for W1 to W8 alone; give it as --plait FILE for another measurement');
  process.exit(2);
}
const { default: measure } = await import(`./measurements/${measurement}.mjs`);
const text = await measure(settings);
console.log(text);
if (options.out) writeFileSync(options.out, `${text}\n`);
process.exit(0);
