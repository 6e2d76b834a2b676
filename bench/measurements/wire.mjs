// What passes over a long wire, on the backend's side and on the client's: throughput of one stream and of sixteen on one
// connection, both ways, and the time that a response of 100 KB takes. A relay (bench/wire/relay.cc) holds back what it is
// given for half of the round trip, each way. It is looked at first: its round trip has to be what was asked for, and what
// passes through it with no proxy in between is in the column "wire alone", which should be three times the best. The best
// peer is among those that speak the same versions on both sides. What is aimed at is 0.9 of the least of the best peer,
// 8 MiB for each round trip and stream, and what the connections' windows of 16 MiB allow; and that a response of 100 KB
// comes at most one round trip later than the best peer's.
import { execFile } from 'node:child_process';
import { createInterface } from 'node:readline';
import { truncateSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import { makeCertificate, makeDirectory, otherCore, start, stop } from '../lib/processes.mjs';
import { isPlait, startProxy } from '../lib/proxies.mjs';
import { interleave, markdown, median, short } from '../lib/statistics.mjs';

const run = promisify(execFile);
const MiB = 1 << 20;
const window = 16 * MiB;
const largest = 1024 * MiB;
const kinds = { h2c: 'h2c', tls: 'h2 over TLS', http1: 'HTTP/1.1' };
const clients = { http2: 'HTTP/2', http1: 'HTTP/1.1' };

// A program that says its port.
async function startListener(core, command, args) {
  const child = start(core, command, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  for await (const line of createInterface({ input: child.stdout })) return { child, port: Number(line) };
  throw new Error(`${command} ended`);
}

const takesBackend = (name, kind) => name !== 'nginx' || kind === 'HTTP/1.1';

// What an option names, as a list of those that there are.
function listOf(option, text, possible) {
  const chosen = text.split(',');
  const wrong = chosen.find((word) => !possible.includes(word));
  if (wrong !== undefined) throw new Error(`--${option} names some of ${possible.join(',')}, and not ${wrong}`);
  return chosen;
}

// What the relay does by itself, on the core of clients and origins.
async function checkRelay(program, roundTrip_ms) {
  const { stdout } = await run('taskset', ['-c', otherCore, program, '--check', '--round-trip-us', String(roundTrip_ms * 1000)], { timeout: 60_000 });
  const seen = JSON.parse(stdout);
  if (seen.roundTrip_ms < roundTrip_ms || seen.roundTrip_ms > roundTrip_ms * 1.1 + 1) {
    throw new Error(`the relay's round trip is ${seen.roundTrip_ms} ms instead of ${roundTrip_ms}`);
  }
  return seen;
}

export default async function measureWire({ names: given, rounds, binary, io, relay: relayProgram, progress, ...options }) {
  const names = given.filter((name) => name !== 'plait, epoll');
  const sides = listOf('side', options.side, ['backend', 'client']);
  const roundTrips = listOf('rtt', options.rtt, ['5', '20', '100']).map(Number);
  const chosenClients = listOf('client', options.client, Object.keys(clients)).map((word) => clients[word]);
  const chosenKinds = listOf('backend', options.backend, Object.keys(kinds)).map((word) => kinds[word]);
  const chosenStreams = listOf('streams', options.streams, ['1', '16']).map(Number);
  const fewest_s = Number(options['at-least']);
  const dir = makeDirectory();
  const certificate = makeCertificate(dir);
  const files = new Map();
  // A file of that size for h2load to send.
  const fileOf = (size) => {
    if (!files.has(size)) {
      files.set(size, path.join(dir, `body-${size}`));
      writeFileSync(files.get(size), '');
      truncateSync(files.get(size), size);
    }
    return files.get(size);
  };
  const tools = path.dirname(relayProgram);
  const plainOrigin = await startListener(otherCore, path.join(tools, 'plait_wire_origin'), []);
  const tlsOrigin = await startListener(otherCore, path.join(tools, 'plait_wire_origin'), ['--cert', certificate.cert, '--key', certificate.key]);
  const relayTo = (port, roundTrip_ms) => startListener(otherCore, relayProgram, ['--to', String(port), '--round-trip-us', String(roundTrip_ms * 1000)]);

  // Seconds for `streams` bodies of `size` bytes at once on one connection, or on as many of HTTP/1.1.
  async function transfer(port, { client, upload, streams }, size, count = streams) {
    const together = client === 'HTTP/1.1' ? ['--h1', '-c', String(streams), '-m', '1'] : ['-c', '1', '-m', String(streams)];
    const { stdout } = await run('taskset', ['-c', otherCore, 'h2load', '-n', String(count), ...together, '-w', '30', '-W', '30',
      ...(upload ? ['-d', fileOf(size)] : []), `http://127.0.0.1:${port}/${upload ? 0 : size}`], { timeout: 300_000 });
    const seconds = stdout.match(/finished in ([\d.]+)(ms|s|us),/);
    // An answer of HTTP/1.1 without a reason phrase, which is HAProxy's where the backend speaks HTTP/2, is none that
    // succeeds for h2load: what counts is that each is done, that none is anything else, and that all bytes are there.
    const isDone = new RegExp(` ${count} done, .* 0 errored, 0 timeout\\n.* 0 3xx, 0 4xx, 0 5xx\\n`).test(stdout);
    const bytes = Number(stdout.match(/\((\d+)\) data/)?.[1]);
    if (!isDone || (!upload && bytes !== size * count)) throw new Error(stdout);
    const each = stdout.match(/time for request:\s+\S+\s+\S+\s+([\d.]+)(us|ms|s)/);
    const inSeconds = ([, value, unit]) => Number(value) * { s: 1, ms: 1e-3, us: 1e-6 }[unit];
    return { seconds: inSeconds(seconds), each: inSeconds(each) };
  }
  // Bytes a second; `sizes` remembers which body takes long enough.
  async function rate(key, port, cell, sizes, roundTrip_ms) {
    // Much longer than windows take to grow.
    const enough_s = Math.max(fewest_s, 15 * roundTrip_ms / 1000);
    let size = sizes.get(key) ?? MiB;
    for (;;) {
      let { seconds } = await transfer(port, cell, size);
      if (sizes.has(key)) return size * cell.streams / seconds;
      // What took long may have waited for the machine.
      if (seconds >= enough_s) seconds = Math.min(seconds, (await transfer(port, cell, size)).seconds);
      if (seconds >= enough_s || size * cell.streams >= largest) {
        sizes.set(key, size);
        return size * cell.streams / seconds;
      }
      size *= 2 ** Math.max(1, Math.min(4, Math.floor(Math.log2(1.5 * enough_s / seconds))));
    }
  }

  const checks = [];
  for (const roundTrip_ms of roundTrips) {
    const seen = await checkRelay(relayProgram, roundTrip_ms);
    checks.push([`${roundTrip_ms} ms`, `${seen.roundTrip_ms.toFixed(2)} ms`, short(seen.down / 1e6), short(seen.up / 1e6)]);
    progress(`the wire alone: ${checks.at(-1).join(' | ')}`);
  }
  const rows = [];
  const missed = [];
  const note = (row, isMet) => {
    rows.push(row);
    progress(row.join(' | '));
    if (!isMet) missed.push(row.slice(0, 6).join(', '));
  };
  for (const side of sides) {
    for (const kind of chosenKinds) {
      for (const roundTrip_ms of roundTrips) {
        const origin = kind === 'h2 over TLS' ? tlsOrigin : plainOrigin;
        const made = [];
        const relay = async (port) => {
          const one = await relayTo(port, roundTrip_ms);
          made.push(one.child);
          return one.port;
        };
        const far = side === 'backend' ? await relay(origin.port) : origin.port;
        const shown = { port: far, tls: kind === 'h2 over TLS', isHttp1: kind === 'HTTP/1.1' };
        const here = names.filter((name) => takesBackend(name, kind));
        const ports = {};
        for (const name of here) {
          const proxy = await startProxy(name, { dir, certificate, binary, io, origins: [shown], h1Origins: [shown] });
          made.push(proxy.child);
          ports[name] = {
            'HTTP/2': side === 'client' ? await relay(proxy.plain) : proxy.plain,
            'HTTP/1.1': side === 'client' ? await relay(proxy.plainH1) : proxy.plainH1,
          };
        }
        const alone = await relay(plainOrigin.port);
        for (const client of chosenClients) {
          for (const upload of [false, true]) {
            for (const streams of chosenStreams) {
              const cell = { client, upload, streams };
              const sizes = new Map();
              const wireRate = await rate('wire', alone, cell, sizes, roundTrip_ms);
              const figures = await interleave(here, rounds, (name) => rate(name, ports[name][client], cell, sizes, roundTrip_ms));
              const best = Math.max(...here.filter((name) => !isPlait(name)).map((name) => median(figures[name])));
              const seconds = roundTrip_ms / 1000;
              const isH2There = side === 'backend' ? kind !== 'HTTP/1.1' : client === 'HTTP/2';
              const bound = isH2There ? Math.min(best, 8 * MiB * streams / seconds, window / seconds) : best;
              const own = median(figures.plait);
              note([side, `${roundTrip_ms} ms`, client, kind, upload ? 'up' : 'down', String(streams), short(wireRate / 1e6),
                ...names.map((name) => (figures[name] ? short(median(figures[name]) / 1e6) : '–')), short(bound / 1e6), (own / bound).toFixed(2)],
              own >= 0.9 * bound);
            }
          }
          // 100 KB, one after the other.
          const cell = { client, upload: false, streams: 1 };
          const figures = await interleave(here, rounds, async (name) => (await transfer(ports[name][client], cell, 100_000, 10)).each * 1000);
          const best = Math.min(...here.filter((name) => !isPlait(name)).map((name) => median(figures[name])));
          const own = median(figures.plait);
          note([side, `${roundTrip_ms} ms`, client, kind, '100 KB, ms', '1', '', ...names.map((name) => (figures[name] ? short(median(figures[name])) : '–')),
            short(best + roundTrip_ms), `${((own - best) / roundTrip_ms).toFixed(2)} round trips later`], own <= best + roundTrip_ms);
        }
        for (const child of made) await stop(child);
      }
    }
  }
  await stop(plainOrigin.child);
  await stop(tlsOrigin.child);
  return `The wire alone, with a socket at each end, MB/s:

${markdown(['asked for', 'round trip', 'down', 'up'], checks)}

MB/s, the median of ${rounds}; the last column is plait's share of what is aimed at, of which 0.9 are asked.

${markdown(['wire', 'round trip', 'client', 'backend', 'what', 'streams', 'wire alone', ...names, 'bound', 'plait / bound'], rows)}

${missed.length === 0 ? `All ${rows.length} are met.` : `${missed.length} of ${rows.length} are missed:\n\n${missed.map((one) => `- ${one}`).join('\n')}`}`;
}
