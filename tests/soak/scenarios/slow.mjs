// Slow readers of a large body keep to the memory that was reserved, and a neighbour, whose requests share the backend's
// connections with theirs, keeps its latency.
import assert from 'node:assert/strict';
import { truncateSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { startNghttpd } from '../../peers/lib/backends.mjs';
import { connectH2, request } from '../../peers/lib/clients.mjs';
import { metric, reservedBytes, startProxy } from '../../peers/lib/plait.mjs';
import { MiB, eventually, peakResidentBytes, temporaryDirectory } from '../../peers/lib/process.mjs';
import { startReporting } from '../reporting.mjs';

async function latencies(session, count, more = () => false) {
  const times = [];
  while (times.length < count || more()) {
    const start = performance.now();
    assert.equal((await request(session, { ':path': '/small' })).body, 'small');
    times.push(performance.now() - start);
  }
  times.sort((a, b) => a - b);
  return { median: times[Math.floor(times.length / 2)], p99: times[Math.floor(times.length * 0.99)] };
}

export default async function slow(t, size) {
  const count = size(200, 40);
  const bodySize = size(100, 16) * MiB;
  const dir = temporaryDirectory(t);
  writeFileSync(path.join(dir, 'small'), 'small');
  writeFileSync(path.join(dir, 'large'), '');
  truncateSync(path.join(dir, 'large'), bodySize);
  const backend = await startNghttpd(t, dir);
  const plait = await startProxy(t, [backend], { admin: true });
  const neighbour = connectH2(t, plait.port);
  const n = size(5000, 300);
  await latencies(neighbour, n);
  const before = await latencies(neighbour, n);
  const resting = peakResidentBytes(plait.pid);
  const readers = startReporting(t, 'slow_readers.mjs', [plait.port, count], { begun: 0, ended: 0, least: 0 });
  await eventually(() => readers.seen.begun === count, 'every reader has begun', 60_000);
  // All the while every reader gets on: what is slow is not stuck.
  const enough = readers.seen.least + size(2 * MiB, 64 << 10);
  const end = Date.now() + 120_000;
  const during = await latencies(neighbour, n, () => readers.seen.least < enough && Date.now() < end);
  assert.ok(readers.seen.least >= enough, `every reader gets on: the slowest has ${readers.seen.least} bytes`);
  assert.equal(readers.seen.ended, 0, 'no reader was cut off');
  assert.equal(await metric(plait, 'plait_upstream_streams'), count, 'all bodies are under way at the backend');
  const peak = peakResidentBytes(plait.pid);
  const reserved = reservedBytes(plait);
  assert.ok(peak <= reserved, `${peak} bytes resident, ${reserved} reserved`);
  // What one reader may hold is its stream's window, which grows to 256 KiB, and the send queue of its connection.
  assert.ok(peak - resting <= count * MiB / 2 + 16 * MiB, `${count} readers made ${peak} bytes resident of ${resting}`);
  assert.ok(during.median < 10 * before.median + 50, `the neighbour's median went from ${before.median} to ${during.median} ms`);
  const ms = (value) => value.toFixed(2);
  return `${count} slow readers of ${bodySize / MiB} MiB: resident at most ${Math.round(peak / MiB)} of ${Math.round(reserved / MiB)} MiB reserved; `
    + `a neighbour's median ${ms(before.median)} → ${ms(during.median)} ms, p99 ${ms(before.p99)} → ${ms(during.p99)} ms`;
}
