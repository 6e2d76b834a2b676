// The configuration of a running plait changes, and nothing is lost by it.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import path from 'node:path';
import { describe, test } from 'node:test';
import tls from 'node:tls';
import { promisify } from 'node:util';
import { startH1Backend, startH2Backend } from './lib/backends.mjs';
import { certificate } from './lib/certificate.mjs';
import { connectH2, request } from './lib/clients.mjs';
import { ask, assertAllAre200, startLoad } from './lib/outages.mjs';
import { adminGet, metric, plaitBin, startPlait, writeConfiguration } from './lib/plait.mjs';
import { defer, eventually, freePort, isListening, within } from './lib/process.mjs';

const run = promisify(execFile);

const cluster = (name, ...backends) => `[[cluster]]\nname = "${name}"\n${backends.map((one) => `[[cluster.backend]]\nurl = "${one.url ?? one}"\n`).join('')}`;
const route = (name, prefix, rest) => `[[route]]\nname = "${name}"\npath = "${prefix}"\n${rest}\n`;

// plait with a configuration that change() replaces.
async function start(t, toml, { server = '', listen = '', top = '' } = {}) {
  const head = `${top}\n[server]\n${server}\n[[listen]]\naddress = "127.0.0.1:0"\n${listen}\n[admin]\naddress = "127.0.0.1:0"\nsocket = "plait.sock"\n`;
  const file = writeConfiguration(t, head + toml);
  mkdirSync(path.join(path.dirname(file), 'conf.d'));
  const plait = await startPlait(t, ['-c', file]);
  const socket = path.join(path.dirname(file), 'plait.sock');
  plait.file = file;
  plait.command = async (command) => {
    try {
      const { stdout } = await run(plaitBin, [command, '--socket', socket], { timeout: 20_000 });
      return { code: 0, text: stdout };
    } catch (error) {
      return { code: error.code, text: error.stderr };
    }
  };
  plait.write = (next, { more = '' } = {}) => {
    // As editors do it: a new file takes the name of the old one.
    writeFileSync(`${file}.new`, head + more + next);
    renameSync(`${file}.new`, file);
  };
  plait.change = async (next, options) => {
    plait.write(next, options);
    return plait.command('reload');
  };
  return plait;
}

const named = (t, name) => startH2Backend(t, (stream, fields) => {
  stream.respond({ ':status': 200 });
  if (fields[':path'].startsWith('/events')) {
    const timer = setInterval(() => stream.write('.'), 20);
    stream.on('close', () => clearInterval(timer));
    return;
  }
  stream.on('data', () => {});
  stream.end(`${name} ${fields[':path']}`);
});

const bodyOf = async (plait, target, options) => (await ask(plait.port, { path: target, ...options })).body;

describe('reload', () => {
  test('a route moves to another cluster: the next request goes there, a stream that runs goes on', async (t) => {
    const [one, other] = [await named(t, 'one'), await named(t, 'other')];
    const clusters = cluster('one', one) + cluster('other', other);
    const plait = await start(t, clusters + route('app', '/', 'cluster = "one"'));
    const events = connectH2(t, plait.port).request({ ':path': '/events' });
    let seen = 0;
    let ended = false;
    events.on('data', () => { seen += 1; });
    events.on('close', () => { ended = true; });
    events.on('error', () => {});
    await eventually(() => seen > 3, 'events come');
    assert.equal(await bodyOf(plait, '/a'), 'one /a');
    const { code, text } = await plait.change(clusters + route('app', '/', 'cluster = "other"'));
    assert.equal(code, 0);
    assert.match(text, /^generation 2\nroutes changed: app\n$/);
    assert.equal(await bodyOf(plait, '/a'), 'other /a');
    const before = seen;
    await eventually(() => seen > before + 10, 'events go on');
    assert.equal(ended, false);
    assert.equal(one.opened, 1, 'the connection with the stream is the only one there was');
  });

  test('thirty reloads of others under load: no request fails, nothing is cut, nobody is dialled anew', async (t) => {
    const stays = await named(t, 'stays');
    const others = [await named(t, 'first'), await named(t, 'second')];
    const sockets = await startH1Backend(t, (q, r) => r.end('plain'));
    sockets.server.on('upgrade', (q, socket) => {
      socket.on('end', () => socket.end());
      socket.write('HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: upgrade\r\n\r\n');
      socket.on('data', (data) => socket.write(data));
      socket.on('error', () => {});
    });
    const toml = (n) => cluster('stays', stays) + cluster('sockets', sockets) + cluster('others', others[n % 2]) +
      route('stays', '/', 'cluster = "stays"') + route('sockets', '/socket', 'cluster = "sockets"') +
      route('others', `/others-${n % 3}`, 'cluster = "others"');
    const plait = await start(t, toml(0));
    const tunnel = await new Promise((resolve, reject) => {
      const asked = http.request({ port: plait.port, path: '/socket', headers: { connection: 'upgrade', upgrade: 'echo' } });
      asked.on('upgrade', (response, socket) => resolve(socket)).on('error', reject).end();
    });
    let echoed = '';
    tunnel.on('data', (data) => { echoed += data; });
    defer(t, () => tunnel.destroy());
    const session = connectH2(t, plait.port);
    const upload = session.request({ ':method': 'POST', ':path': '/upload' });
    const uploaded = new Promise((resolve, reject) => {
      let body = '';
      upload.on('data', (data) => { body += data; }).on('end', () => resolve(body)).on('error', reject);
    });
    upload.write('begun');
    const load = startLoad(t, plait.port, { clients: 4 });
    await load.eachGets(3, 'the load runs');
    const opened = stays.opened;
    for (let n = 1; n <= 30; n += 1) {
      const { code, text } = await plait.change(toml(n));
      assert.equal(code, 0, text);
      assert.match(text, new RegExp(`^generation ${n + 1}\n`));
      tunnel.write(`${n};`);
    }
    await load.eachGets(3, 'the load goes on');
    await load.stop();
    assertAllAre200(load.answers);
    upload.end('whole');
    assert.equal(await uploaded, 'stays /upload');
    await eventually(() => echoed.endsWith('30;'), 'the tunnel runs on');
    assert.equal(stays.opened, opened, 'no dial to an endpoint that did not change');
    assert.equal(await metric(plait, 'plait_config_generation'), 31);
    assert.equal(await metric(plait, 'plait_config_reloads_total', { result: 'done' }), 30);
  });

  test('mistakes: each is told with its place, and the old plan goes on', async (t) => {
    const one = await named(t, 'one');
    const good = cluster('one', one) + route('app', '/', 'cluster = "one"');
    const plait = await start(t, good);
    const { code, text } = await plait.change(`${good}${route('bad', '/bad', 'cluster = "oen"')}unknown = 1\n`);
    assert.equal(code, 1);
    assert.match(text, /^not reloaded, generation 1 goes on\n/);
    assert.match(text, /plait\.toml:\d+:\d+: cluster: there is no cluster "oen", did you mean "one"\?/);
    assert.match(text, /plait\.toml:\d+:1: unknown key "unknown"/);
    assert.equal(await bodyOf(plait, '/a'), 'one /a');
    assert.equal(await metric(plait, 'plait_config_reloads_total', { result: 'refused' }), 1);
    assert.ok(await metric(plait, 'plait_config_last_failure_timestamp_seconds') > 0);
    assert.match(plait.stderr(), /error configuration: .*there is no cluster "oen"/);
    assert.equal((await plait.change(good)).code, 0);
  });

  test('SIGHUP, and a file that changes under `watch`', async (t) => {
    const one = await named(t, 'one');
    const toml = (prefix) => cluster('one', one) + route('app', prefix, 'cluster = "one"');
    const plait = await start(t, toml('/a'), { server: 'watch = true' });
    assert.equal((await ask(plait.port, { path: '/b' })).status, 404);
    plait.write(toml('/b'));
    await eventually(async () => (await ask(plait.port, { path: '/b' })).status === 200, 'the file is read anew');
    const silent = await start(t, toml('/a'));
    silent.write(toml('/b'));
    process.kill(silent.pid, 'SIGHUP');
    await eventually(async () => (await ask(silent.port, { path: '/b' })).status === 200, 'SIGHUP reads the file');
    assert.match(silent.stderr(), /SIGHUP: the configuration is read anew/);
  });

  test('an endpoint that is not named any more gets no new request, and returns as a new one', async (t) => {
    const [one, other] = [await named(t, 'one'), await named(t, 'other')];
    const toml = (...backends) => cluster('app', ...backends) + route('app', '/', 'cluster = "app"');
    const plait = await start(t, toml(one, other));
    const load = startLoad(t, plait.port, { clients: 4 });
    await load.eachGets(5, 'the load runs');
    assert.equal((await plait.change(toml(other))).text, 'generation 2\nclusters changed: app\n');
    for (let i = 0; i < 20; i += 1) assert.equal(await bodyOf(plait, '/x'), 'other /x');
    const { body } = await adminGet(plait, '/metrics');
    assert.ok(!body.includes(`app/${one.url}`), 'the metrics do not name it');
    await plait.change(toml(one));
    assert.equal(await bodyOf(plait, '/x'), 'one /x');
    await load.stop();
    assertAllAre200(load.answers);
  });

  test('a cluster goes while a request waits in its line', async (t) => {
    const gone = 'h2c://127.0.0.1:1';
    const plait = await start(t, cluster('gone', gone) + route('app', '/', 'cluster = "gone"'), { });
    const waiting = ask(plait.port, { path: '/x' });
    await eventually(async () => await metric(plait, 'plait_upstream_waiting') === 1, 'it waits');
    assert.equal((await plait.change(route('app', '/', 'respond = { status = 200, body = "here" }'))).code, 0);
    const answer = await waiting;
    assert.equal(answer.status, 503);
    assert.match(answer.body, /the cluster has been taken out of the configuration/);
    assert.equal(await bodyOf(plait, '/x'), 'here');
  });

  test('listeners come and go, and connections of one that went go on', async (t) => {
    const one = await named(t, 'one');
    const toml = cluster('one', one) + route('app', '/', 'cluster = "one"');
    const plait = await start(t, toml);
    const free = await new Promise((resolve) => {
      const server = http.createServer().listen(0, '127.0.0.1', () => {
        const { port } = server.address();
        server.close(() => resolve(port));
      });
    });
    const second = `[[listen]]\naddress = "127.0.0.1:${free}"\n`;
    const { text } = await plait.change(toml, { more: second });
    assert.match(text, new RegExp(`listening on 127\\.0\\.0\\.1:${free}`));
    const session = connectH2(t, free);
    assert.equal((await request(session, { ':path': '/a' })).body.toString(), 'one /a');
    assert.match((await plait.change(toml)).text, new RegExp(`not listening any more on 127\\.0\\.0\\.1:${free}`));
    assert.equal((await request(session, { ':path': '/b' })).body.toString(), 'one /b');
    assert.match((await ask(free, { path: '/c' })).error ?? '', /ECONNREFUSED/);
  });

  test('a port that is taken: nothing is changed, and the next reload tries again', async (t) => {
    const toml = (text) => route('app', '/', `respond = { body = "${text}" }`);
    const plait = await start(t, toml('old'));
    const free = await freePort();
    const taken = net.createServer().listen(0, '127.0.0.1');
    await once(taken, 'listening');
    const { port } = taken.address();
    defer(t, () => taken.close());
    const more = [free, port].map((one) => `[[listen]]\naddress = "127.0.0.1:${one}"\n`).join('');
    const { code, text } = await plait.change(toml('new'), { more });
    assert.equal(code, 1);
    assert.match(text, new RegExp(`not reloaded, generation 1 goes on\n.*127\\.0\\.0\\.1:${port}: cannot listen: Address already in use`));
    assert.equal(await bodyOf(plait, '/'), 'old');
    await eventually(async () => !(await isListening(free)), 'the other new listener is closed again');
    assert.doesNotMatch((await plait.command('status')).text, new RegExp(`:${port} `));
    taken.close();
    await once(taken, 'close');
    assert.match((await plait.command('reload')).text, new RegExp(`generation 2\n[^]*listening on 127\\.0\\.0\\.1:${free}\nlistening on 127\\.0\\.0\\.1:${port}\n`));
    assert.equal((await ask(port, { path: '/' })).body, 'new');
  });

  test('a listener begins to take TLS: its successor stays, whichever places others have left', async (t) => {
    const { cert, key } = await certificate(t);
    const secure = `tls = "on"\ncert = "${cert}"\nkey = "${key}"\n`;
    const toml = route('app', '/', 'respond = { body = "here" }');
    const plait = await start(t, toml, { listen: secure });
    const [first, second] = [await freePort(), await freePort()];
    const listen = (port, more = '') => `[[listen]]\naddress = "127.0.0.1:${port}"\n${more}`;
    for (const more of [listen(first) + listen(second), listen(second), listen(second, secure)]) {
      const { code, text } = await plait.change(toml, { more });
      assert.equal(code, 0, text);
    }
    for (let i = 0; i < 5; i += 1) {
      const client = tls.connect({ port: second, host: '127.0.0.1', servername: 'localhost', ca: readFileSync(cert) });
      await within(10_000, once(client, 'secureConnect'), 'a handshake');
      client.destroy();
    }
  });

  test('a certificate that is a folder or a pipe is a mistake; many changes of a good one leave no thread behind', async (t) => {
    const { cert, key } = await certificate(t);
    const other = await certificate(t);
    const toml = (file) => `[[certificate]]\ncert = "${file}"\nkey = "site.key"\n${route('app', '/', 'respond = { body = "here" }')}`;
    const files = [[cert, key], [other.cert, other.key]];
    const plait = await start(t, toml(cert).replace('site.key', key), { listen: 'tls = "on"' });
    const folder = path.dirname(plait.file);
    mkdirSync(path.join(folder, 'folder'));
    await run('mkfifo', [path.join(folder, 'pipe')]);
    copyFileSync(key, path.join(folder, 'site.key'));
    for (const [file, wrong] of [['folder', 'it is a folder'], ['pipe', 'is a pipe or a device, and no file'], ['/dev/zero', 'is a pipe or a device']]) {
      const { code, text } = await plait.change(toml(file));
      assert.equal(code, 1, text);
      assert.match(text, new RegExp(`plait\\.toml:\\d+:\\d+: .*${wrong}`));
    }
    const threads = () => readdirSync(`/proc/${plait.pid}/task`).length;
    let settled = 0;
    for (let n = 0; n < 12; n += 1) {
      copyFileSync(files[n % 2][0], path.join(folder, 'site.pem'));
      copyFileSync(files[n % 2][1], path.join(folder, 'site.key'));
      const { code, text } = await plait.change(toml('site.pem'));
      assert.equal(code, 0, text);
      if (n === 1) settled = threads();
    }
    assert.equal(threads(), settled);
  });

  test('clients of the socket that say nothing, or drip, hold up neither other commands nor the end', async (t) => {
    const plait = await start(t, route('app', '/', 'respond = { body = "here" }'));
    const socket = path.join(path.dirname(plait.file), 'plait.sock');
    const clients = Array.from({ length: 10 }, () => net.connect(socket));
    for (const client of clients) client.on('error', () => {});
    const timer = setInterval(() => clients[0].write('x'), 100);
    defer(t, () => {
      clearInterval(timer);
      for (const client of clients) client.destroy();
    });
    await Promise.all(clients.map((client) => client.readyState === 'open' || once(client, 'connect')));
    assert.match((await within(4000, plait.command('status'), 'a status')).text, /^generation 1\n/);
    assert.equal(await within(10_000, plait.stop(), 'the end'), 0);
  });

  test('`watch` goes on from a configuration that names a file which is not there yet', async (t) => {
    const toml = (more) => route('app', '/', `respond = { ${more} }`);
    const plait = await start(t, toml('body = "old"'), { server: 'watch = true' });
    plait.write(toml('file = "later.txt"'));
    await eventually(() => /later\.txt: the file cannot be read/.test(plait.stderr()), 'it is refused');
    writeFileSync(path.join(path.dirname(plait.file), 'later.txt'), 'new');
    await eventually(async () => await bodyOf(plait, '/') === 'new', 'the file is seen');
  });

  test('included files: `watch` takes a new one, a mistake names it, and one that goes is gone', async (t) => {
    const answers = (name) => route(name, `/${name}`, `respond = { body = "${name}" }`);
    const plait = await start(t, answers('own'), { server: 'watch = true', top: 'include = "conf.d/*.toml"' });
    const file = (name) => path.join(path.dirname(plait.file), 'conf.d', name);
    const statusOf = async (target) => (await ask(plait.port, { path: target })).status;
    writeFileSync(file('b.toml'), answers('b'));
    await eventually(async () => await statusOf('/b') === 200, 'a new file is taken');
    writeFileSync(file('a.toml'), `${answers('a')}prority = 1\n`);
    await eventually(() => /conf\.d\/a\.toml:5:1: unknown key "prority", did you mean "priority"\?/.test(plait.stderr()), 'a mistake is named');
    assert.equal(await statusOf('/a'), 404);
    writeFileSync(file('a.toml'), answers('a'));
    await eventually(async () => await statusOf('/a') === 200, 'it is mended');
    renameSync(file('b.toml'), file('b.toml.off'));
    await eventually(async () => await statusOf('/b') === 404, 'one that goes is gone');
    writeFileSync(file('c.toml'), '[server]\nworkers = 1\n');
    const { code, text } = await plait.command('reload');
    assert.equal(code, 1);
    assert.match(text, /conf\.d\/c\.toml:1:1: \[server\]: .*plait\.toml:2:1 has this section already\n/);
    assert.deepEqual([await statusOf('/own'), await statusOf('/a')], [200, 200]);
  });

  test('keys that need a restart are named, and the rest is applied', async (t) => {
    const one = await named(t, 'one');
    const toml = (prefix) => cluster('one', one) + route('app', prefix, 'cluster = "one"');
    const plait = await start(t, toml('/a'));
    const { code, text } = await plait.change(`${toml('/b')}[limits]\nexchanges = 100\n[access_log]\nfile = "-"\n`);
    assert.equal(code, 0);
    assert.match(text, /routes changed: app\n/);
    assert.match(text, /needs a restart and keeps its value until then: limits\.exchanges, access_log\.file/);
    assert.equal(await bodyOf(plait, '/b'), 'one /b');
  });

  test('[forwarding] changes with the next request, identity fields and trusted proxies too', async (t) => {
    let seen;
    const backend = await startH2Backend(t, (stream, fields) => {
      seen = fields;
      stream.respond({ ':status': 200 });
      stream.resume().on('end', () => stream.end());
    });
    const toml = (forwarding) => `${cluster('one', backend)}${route('app', '/', 'cluster = "one"')}[forwarding]\n${forwarding}\n`;
    const plait = await start(t, toml(''));
    const session = connectH2(t, plait.port);
    const asked = { ':path': '/', 'x-forwarded-for': '192.0.2.7', 'cf-connecting-ip': '192.0.2.8' };
    const get = async (fields = {}) => {
      await request(session, { ...asked, ...fields });
      return [seen['x-forwarded-for'], seen['cf-connecting-ip'], seen.via !== undefined, seen['x-request-id'] !== undefined];
    };
    assert.deepEqual(await get(), ['127.0.0.1', '192.0.2.8', true, false]);
    const { code, text } = await plait.change(toml('via = false\nidentity_fields = ["cf-connecting-ip"]\nrequest_id = true'));
    assert.deepEqual([code, text], [0, 'generation 2\nforwarding changed\n']);
    assert.deepEqual(await get(), ['127.0.0.1', undefined, false, true], 'the same connection');
    await plait.change(toml('trusted_proxies = ["127.0.0.1"]'));
    assert.deepEqual(await get(), ['192.0.2.7, 127.0.0.1', '192.0.2.8', true, false]);
    assert.deepEqual((await plait.change(toml(''))).text, 'generation 4\nforwarding changed\n');
    assert.deepEqual(await get(), ['127.0.0.1', '192.0.2.8', true, false]);
    // A connection that was made as a trusted proxy's ends, and nothing is counted that was not there.
    session.close();
    await eventually(async () => await metric(plait, 'plait_client_connections') <= 1, 'it has gone');
  });

  test('`plan_bytes`: a reload that takes more than there may be is refused with both numbers', async (t) => {
    const answers = (count, name) => Array.from({ length: count }, (none, i) => route(`${name}-${i}`, `/${name}/${i}`, `respond = { body = "${'x'.repeat(1000)}" }`)).join('');
    const limits = '[limits]\nplan_bytes = 300000\n';
    const plait = await start(t, answers(50, 'first') + limits);
    const { code, text } = await plait.change(answers(200, 'second') + limits);
    assert.equal(code, 1);
    const [, taken, allowed] = text.match(/^not reloaded, generation 1 goes on\n.*plait\.toml: this generation and those before take (\d+) bytes together, more than the (\d+) that limits\.plan_bytes allows: raise it and restart\n$/);
    assert.equal(allowed, '300000');
    assert.ok(Number(taken) > 300_000 && Number(taken) < 600_000, taken);
    for (let n = 0; n < 20; n += 1) assert.equal((await plait.change(answers(50, `again-${n}`) + limits)).code, 0, 'former generations are forgotten');
    assert.match(plait.stdout(), /^memory: .* for the control thread, 0 for plans; io: /m);
  });

  test('explain asks the running process', async (t) => {
    const [one, other] = [await named(t, 'one'), await named(t, 'other')];
    const toml = (weight) => cluster('one', one, other) + cluster('lost', 'h2c://127.0.0.1:1') +
      route('app', '/app', `split = [{ cluster = "one", weight = ${weight} }, { cluster = "lost", weight = 1 }]\nsplit_key = { header = "x-who" }\nrewrite = { path = "/v2" }`);
    const plait = await start(t, toml(3));
    const explain = async (...args) => {
      const { stdout } = await run(plaitBin, ['explain', '-c', plait.file, ...args], { timeout: 20_000 });
      return stdout;
    };
    await eventually(async () => {
      await bodyOf(plait, '/app/x');
      return / lost\/h2c:\/\/127\.0\.0\.1:1 (down|trial)/.test(await explain('/app'));
    }, 'the lost one is down');
    const said = await explain('GET http://any.example/app/x?y', '-H', 'x-who: "me" and you');
    assert.match(said, /^generation 1\nrequest: GET http:\/\/any\.example\/app\/x\?y\nroute: app \(.*plait\.toml:\d+:1\)\npath: \/v2\/x\?y\n/);
    assert.match(said, /^split by "me" and you: this request goes to (one|lost)$/m);
    assert.match(said, new RegExp(`^cluster: one, 3 of 4\n  timeouts: .*\n(  one/${one.url} up, \\d+ connection\\(s\\), 0 request\\(s\\), score \\d+\n|  one/${other.url} up, .*\n){2}`, 'm'));
    assert.match(said, /^cluster: lost, 1 of 4\n.*\n  lost\/h2c:\/\/127\.0\.0\.1:1 (down|trial) \(.*\), 0 connection\(s\)/m);
    writeFileSync(plait.file, `${readFileSync(plait.file, 'utf8').replace('weight = 3', 'weight = 5')}`);
    assert.match(await explain('/app'), /3 of 4/, 'the file is not looked at');
    await plait.command('reload');
    assert.match(await explain('/app'), /^generation 2\n[^]*5 of 6/);
    assert.match((await run(plaitBin, ['explain', plait.file, '/app'])).stdout, /^request: [^]*5 of 6/, 'a file that need not run');
    await assert.rejects(explain('http://a b/'), (error) => error.code === 1 && /the method is no token/.test(error.stderr));
    await assert.rejects(run(plaitBin, ['explain', '-c', plait.file, plait.file, '/app']), (error) => error.code === 2 && /one of them/.test(error.stderr));
    await assert.rejects(run(plaitBin, ['explain', plait.file]), (error) => error.code === 2 && /needs a configuration and a request/.test(error.stderr));
  });

  test('status: generation, listeners, clusters and endpoints with their states', async (t) => {
    const one = await named(t, 'one');
    const plait = await start(t, cluster('one', one) + cluster('lost', 'h2c://127.0.0.1:1') +
      route('app', '/', 'cluster = "one"') + route('lost', '/lost', 'cluster = "lost"'));
    await bodyOf(plait, '/x');
    await eventually(async () => / lost\/h2c:\/\/127\.0\.0\.1:1 (down|trial)/.test((await plait.command('status')).text) || (await ask(plait.port, { path: '/lost' }), false), 'the lost one is down');
    const { code, text } = await plait.command('status');
    assert.equal(code, 0);
    assert.match(text, /^generation 1\nlistener 127\.0\.0\.1:\d+ plain\nroutes 2\n/);
    assert.match(text, new RegExp(`cluster one\n  one/${one.url} up, \\d+ connection\\(s\\), 0 request\\(s\\)\n`));
    assert.match(readFileSync(plait.file, 'utf8'), /cluster/);
  });

  test('the socket: other commands, one that is in use, and its file goes at the end', async (t) => {
    const one = await named(t, 'one');
    const plait = await start(t, cluster('one', one) + route('app', '/', 'cluster = "one"'));
    const socket = path.join(path.dirname(plait.file), 'plait.sock');
    await assert.rejects(run(plaitBin, ['-c', plait.file, '-p', '0', '--workers', '1']), (error) => error.code === 2 && /another plait has the socket/.test(error.stderr));
    await plait.stop();
    await assert.rejects(run(plaitBin, ['status', '--socket', socket]), (error) => error.code === 2 && /no plait can be asked at/.test(error.stderr));
  });
});
