// A peer in a process of its own, tests/soak/peers/NAME, which says now and then in a line of JSON how far it is.
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { defer } from '../peers/lib/process.mjs';

// The result's `seen` is what it said last, `seen` before that; `say` gives it a line.
export function startReporting(t, name, args, seen) {
  const script = fileURLToPath(new URL(`peers/${name}`, import.meta.url));
  const child = spawn(process.execPath, [script, ...args.map(String)], { stdio: ['pipe', 'pipe', 'inherit'] });
  defer(t, () => child.kill('SIGKILL'));
  const peer = { seen, say: (line) => child.stdin.write(`${line}\n`) };
  let text = '';
  child.stdout.on('data', (chunk) => {
    const lines = (text + chunk).split('\n');
    text = lines.pop();
    if (lines.length > 0) peer.seen = JSON.parse(lines.at(-1));
  });
  return peer;
}
