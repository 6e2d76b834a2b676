// Who asks: h2load, which is nobody's here, and plait_load for what h2load does not do (bench/load/main.cc).
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import { cpuNs, otherCore, start } from './processes.mjs';

const run = promisify(execFile);

// The proxy's CPU time for each request of one run of h2load, in µs. Throws unless every request was answered with 2xx
// and with its whole body of `size` bytes.
export async function measureH2load(proxy, { port, path, size, count, args }) {
  const url = `${port === 'tls' ? 'https' : 'http'}://127.0.0.1:${proxy[port]}/${path}`;
  const earlier = await proxy.succeeded?.();
  const before = cpuNs(proxy.child.pid);
  const { stdout } = await run('taskset', ['-c', otherCore, 'h2load', '-n', String(count), ...args, url], { timeout: 600_000 });
  const spent = cpuNs(proxy.child.pid) - before;
  // h2load notices the status of an HTTP/1.1 response only where a reason phrase follows it. HAProxy writes none when the
  // response came over HTTP/2, so its own count is asked.
  const succeeded = proxy.succeeded ? await proxy.succeeded() - earlier : Number(stdout.match(/status codes: (\d+) 2xx/)?.[1] ?? 0);
  const bytes = Number(stdout.match(/\((\d+)\) data/)?.[1] ?? 0);
  if (succeeded !== count || bytes !== count * size) {
    throw new Error(`${url} through ${proxy.name}: ${succeeded} of ${count} responses were 2xx, with ${bytes} bytes\n${stdout}`);
  }
  return spent / 1000 / count;
}

// plait_load with its connections open and one request answered on each.
export class Load {
  static async open(tool, port, { tls = false, connections = 1, streams = 1, path = 'small', fields = 0, cookie = 0, resume = false, core = otherCore } = {}) {
    const child = start(core, tool, ['--to', `127.0.0.1:${port}`, '--connections', String(connections), '--streams', String(streams), '--path', `/${path}`,
      '--fields', String(fields), '--cookie', String(cookie), ...(tls ? ['--tls'] : []), ...(resume ? ['--resume'] : [])],
    { stdio: ['pipe', 'pipe', 'inherit'] });
    const load = new Load();
    load.child = child;
    load.lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    if (await load.line() !== 'ready') throw new Error('plait_load is not ready');
    return load;
  }

  async line() {
    const { value, done } = await this.lines.next();
    if (done) throw new Error('plait_load ended');
    return value;
  }

  // What it answers to a command; throws where a request failed, unless the caller wants to know how many.
  async command(line, { mayFail = false } = {}) {
    this.child.stdin.write(`${line}\n`);
    const result = JSON.parse(await this.line());
    if (result.failed !== 0 && !mayFail) throw new Error(`${line}: ${result.failed} of ${result.requests} requests failed`);
    return result;
  }

  // The command's result, with the CPU time that `pid` took for each request in µs.
  async measure(pid, line) {
    const before = cpuNs(pid);
    const result = await this.command(line);
    return { ...result, cpuUs: (cpuNs(pid) - before) / 1000 / result.requests };
  }

  async close() {
    const ended = once(this.child, 'exit');
    this.child.stdin.end();
    await ended;
  }
}
