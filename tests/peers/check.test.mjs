// plait check finds what a start would find, and says it in the same words; neither starts with what cannot be meant.
import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import test from 'node:test';
import { startH2Backend } from './lib/backends.mjs';
import { certificate } from './lib/certificate.mjs';
import { adminGet, metric, plaitBin, runPlait, startConfigured, startProxy, writeConfiguration } from './lib/plait.mjs';
import { defer, eventually, run, temporaryDirectory } from './lib/process.mjs';

const ok = (stream) => stream.respond({ ':status': 200 }, { endStream: true });
const secure = (address, cert, key) => `[[listen]]\naddress = "${address}"\ntls = "on"\ncert = "${cert}"\nkey = "${key}"`;
const plain = '[[listen]]\naddress = "127.0.0.1:0"\n[[backend]]\nurl = "h2c://127.0.0.1:1"\n';

// Both refuse with these lines, and nothing else is said.
async function refusedByBoth(file, lines) {
  for (const args of [['check', file], ['-c', file]]) {
    const { code, stdout, stderr } = await runPlait(args);
    assert.deepEqual({ code, stdout, lines: stderr.trim().split('\n') }, { code: 2, stdout: '', lines });
  }
}

test('a log whose folder is missing, or that is a folder, is found before the start', async (t) => {
  const folder = temporaryDirectory(t);
  const missing = path.join(folder, 'no', 'a.log');
  const file = writeConfiguration(t, `${plain}[access_log]\nfile = "${missing}"\n`);
  await refusedByBoth(file, [`${file}:6:8: cannot open the access log ${missing}: there is no folder ${path.dirname(missing)}`]);
  const second = writeConfiguration(t, `${plain}[access_log]\nfile = "${folder}"\n`);
  await refusedByBoth(second, [`${second}:6:8: cannot open the access log ${folder}: Is a directory`]);
  const under = path.join(plaitBin, 'a.log');
  const third = writeConfiguration(t, `${plain}[access_log]\nfile = "${under}"\n`);
  await refusedByBoth(third, [`${third}:6:8: cannot open the access log ${under}: Not a directory`]);
  const log = path.join(folder, 'a.log');
  assert.equal((await runPlait(['check', writeConfiguration(t, `${plain}[access_log]\nfile = "${log}"\n`)])).code, 0);
  assert.ok(!(await run('ls', [folder])).stdout.includes('a.log'), 'a check makes no file');
});

test('a log that this user may not write is found before the start', async (t) => {
  // Not below a temporary directory of ours, which nobody else may enter.
  const folder = mkdtempSync(path.join(os.tmpdir(), 'plait-check-'));
  defer(t, () => rmSync(folder, { recursive: true }));
  chmodSync(folder, 0o755);
  const closed = path.join(folder, 'closed');
  mkdirSync(closed, { mode: 0o555 });
  const log = path.join(folder, 'a.log');
  writeFileSync(log, '', { mode: 0o444 });
  // root may write anywhere.
  const [program, ...under] = [...(process.getuid() === 0 ? ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups'] : []), plaitBin];
  const refusal = (target) => run(program, [...under, 'check', '-b', 'h2c://127.0.0.1:1', '-p', '0', '--access-log', target]).then(() => '', (error) => error.stderr);
  assert.equal(await refusal(path.join(closed, 'a.log')), `plait: --access-log ${closed}/a.log: cannot open the access log ${closed}/a.log: no file can be made in ${closed}: Permission denied\n`);
  assert.equal(await refusal(log), `plait: --access-log ${log}: cannot open the access log ${log}: Permission denied\n`);
});

test('an address that is used twice is a mistake, also beside all addresses and for the admin', async (t) => {
  const { cert, key } = await certificate(t);
  const other = await certificate(t);
  const file = writeConfiguration(t, `
${secure('127.0.0.1:8443', cert, key)}
${secure('127.0.0.1:8443', other.cert, other.key)}
[[listen]]
address = "0.0.0.0:8443"
[[backend]]
url = "h2c://127.0.0.1:1"
[admin]
address = "127.0.0.1:8443"
`);
  await refusedByBoth(file, [
    `${file}:8:11: ${file}:3:11 has this address already, with another certificate: a listener has one, which may be for several names`,
    `${file}:13:11: this is all addresses, of which ${file}:3:11 has one already: 127.0.0.1:8443`,
    `${file}:17:11: ${file}:3:11 has this address already, and a listener cannot share it with [admin]`,
  ]);
});

test('a certificate out of its time is a warning, for clients and for backends', async (t) => {
  const { cert, key } = await certificate(t);
  const old = path.join(temporaryDirectory(t), 'old.pem');
  await run('openssl', ['req', '-new', '-key', key, '-subj', '/CN=localhost', '-out', `${old}.csr`]);
  await run('openssl', ['x509', '-req', '-in', `${old}.csr`, '-signkey', key, '-days', '-1', '-out', old]);
  const toml = `
${secure('127.0.0.1:0', old, key)}
[[backend]]
url = "https://127.0.0.1:1"
ca_file = "${cert}"
client_cert = "${old}"
client_key = "${key}"
`;
  const file = writeConfiguration(t, toml);
  const { code, stdout, stderr } = await runPlait(['check', file]);
  assert.deepEqual([code, stdout], [0, `${file}: ok\n`]);
  const lines = stderr.trim().split('\n');
  assert.equal(lines.length, 2, stderr);
  const expired = `warning: the certificate ${old} has expired: it was valid until 20`;
  assert.ok(lines[0].startsWith(`${file}:5:8: ${expired}`) && lines[1].startsWith(`${file}:10:15: ${expired}`), stderr);
  const plait = await startConfigured(t, toml);
  await eventually(() => /Z warning configuration: \S+:5:8: the certificate \S+ has expired: /.test(plait.stderr()), 'a start says it as well');
});

test('a certificate of a listener that ends soon is a warning and a metric', async (t) => {
  const { cert, key } = await certificate(t);
  const soon = path.join(temporaryDirectory(t), 'soon.pem');
  await run('openssl', ['req', '-x509', '-key', key, '-subj', '/CN=localhost', '-days', '20', '-out', soon]);
  const toml = `${secure('127.0.0.1:0', soon, key)}\n${secure('127.0.0.1:0', cert, key)}\n[[backend]]\nurl = "h2c://127.0.0.1:1"\n[admin]\naddress = "127.0.0.1:0"\n`;
  const file = writeConfiguration(t, toml);
  const { code, stderr } = await runPlait(['check', file]);
  assert.equal(code, 0);
  assert.match(stderr, /^\S+:4:8: warning: the certificate \S+soon\.pem expires in (19|20) days, at 20\S+ \S+ UTC\n$/);
  const plait = await startConfigured(t, toml);
  assert.match(plait.stderr(), /Z warning configuration: \S+:4:8: the certificate \S+soon\.pem expires in /);
  const days = async (certificate_file) => (await metric(plait, 'plait_certificate_not_after_seconds', { certificate: certificate_file }) - Date.now() / 1000) / 86400;
  assert.ok(Math.abs(await days(soon) - 20) < 0.1);
  assert.ok(Math.abs(await days(cert) - 90) < 0.1);
});

test('a key with a passphrase, and files of another kind, are said in words', async (t) => {
  const { cert, key } = await certificate(t);
  const secret = path.join(temporaryDirectory(t), 'secret.key');
  await run('openssl', ['pkey', '-in', key, '-aes128', '-passout', 'pass:secret', '-out', secret]);
  const file = writeConfiguration(t, `
${secure('127.0.0.1:0', cert, secret)}
${secure('127.0.0.1:0', 'plait.toml', key)}
${secure('127.0.0.1:0', key, cert)}
[[backend]]
url = "h2c://127.0.0.1:1"
`);
  await refusedByBoth(file, [
    `${file}:6:7: cannot read the private key ${secret}: it is encrypted with a passphrase, for which plait cannot ask: openssl pkey writes it without one`,
    `${file}:10:8: cannot read the certificate ${file}: it is no PEM file: no part of it begins with -----BEGIN`,
    `${file}:15:8: cannot read the certificate ${key}: it holds no certificate, but a PRIVATE KEY`,
  ]);
});

test('an address that cannot be had is found before the start', async (t) => {
  const file = writeConfiguration(t, '[[listen]]\naddress = "192.0.2.1:8080"\n[[backend]]\nurl = "h2c://127.0.0.1:1"\n');
  await refusedByBoth(file, [`${file}:2:11: cannot listen: Cannot assign requested address; no interface of this machine has the address`]);
  const admin = writeConfiguration(t, `${plain}[admin]\naddress = "192.0.2.1:9100"\n`);
  const { code, stdout, stderr } = await runPlait(['check', admin]);
  assert.deepEqual([code, stdout, stderr], [2, '', `${admin}:6:11: cannot listen: Cannot assign requested address; no interface of this machine has the address\n`]);
});

test('a port that this user may not take is found before the start', { skip: process.getuid() !== 0 && 'needs root, to be somebody else' }, async () => {
  const { stdout: first } = await run('cat', ['/proc/sys/net/ipv4/ip_unprivileged_port_start']);
  if (Number(first) < 2) return;  // anybody may take any
  const args = ['--reuid=65534', '--regid=65534', '--clear-groups', '--inh-caps=-all', '--bounding-set=-all', plaitBin];
  for (const command of [['check'], []]) {
    const refusal = await run('setpriv', [...args, ...command, '-b', 'h2c://127.0.0.1:1', '--listen', '127.0.0.1:1']).then(() => '', (error) => error.stderr);
    assert.match(refusal, /^plait: --listen 127\.0\.0\.1:1: cannot listen: Permission denied; this port needs root, or CAP_NET_BIND_SERVICE$/m);
  }
});

test('a port that is in use is a warning alone, and the plait that has it serves on', async (t) => {
  const backend = await startH2Backend(t, ok);
  const plait = await startProxy(t, [backend], { admin: true });
  const check = async (...args) => {
    const { code, stdout, stderr } = await runPlait(['check', '-b', backend.url, ...args]);
    return [code, stdout, stderr];
  };
  const held = (flag, port) => `plait: warning: --${flag} 127.0.0.1:${port}: cannot listen: Address already in use; if another plait of this user has it, share_port = true or --share-port listens beside it\n`;
  assert.deepEqual(await check('--listen', `127.0.0.1:${plait.port}`, '--admin', `127.0.0.1:${plait.admin}`), [0, 'plait: ok\n', held('listen', plait.port) + held('admin', plait.admin)]);
  assert.deepEqual(await check('--listen', `127.0.0.1:${plait.port}`, '--share-port'), [0, 'plait: ok\n', '']);
  assert.equal(await metric(plait, 'plait_upstream_up', { backend: backend.url }), 1);
});

test('io_uring that is asked for and cannot be had is found before the start', async () => {
  // The ring is the last descriptor that a check opens: with one too few only it is missing.
  let refused;
  for (let few = 32; refused === undefined && few > 3; few -= 1) {
    refused = await run('prlimit', [`--nofile=${few}:${few}`, plaitBin, 'check', '-b', 'h2c://127.0.0.1:1', '--listen', '127.0.0.1:0', '--io', 'uring']).then(() => undefined, (error) => error);
  }
  assert.deepEqual([refused.code, refused.stdout, refused.stderr], [2, '', 'plait: --io: this kernel or its policy does not allow io_uring: use --io epoll (Too many open files)\n']);
});

test('a backend that is named twice is one backend, with one series each in the metrics', async (t) => {
  const backend = await startH2Backend(t, ok);
  const plait = await startProxy(t, [backend, backend, `${backend.url}/`], { admin: true });
  assert.equal(plait.stderr().match(/warning configuration: .*: this is the backend of --backend \S+ once more: it is used once$/mg)?.length, 2);
  assert.equal(await metric(plait, 'plait_upstream_up', { backend: backend.url }), 1);
  const series = (await adminGet(plait, '/metrics')).body.split('\n').filter((line) => line !== '' && !line.startsWith('#')).map((line) => line.replace(/ \S+$/, ''));
  assert.ok(series.length > 100);
  assert.equal(new Set(series).size, series.length);
  const file = writeConfiguration(t, `${plain}[[backend]]\nurl = "h2c://127.0.0.1:1"\nhost = "other"\n`);
  await refusedByBoth(file, [`${file}:6:7: this is the backend of ${file}:4:7 with other settings`]);
});

test('plait check takes the flags of a start', async (t) => {
  const file = writeConfiguration(t, '[[backend]]\nurl = "h2c://127.0.0.1:1"\n');
  const said = async (args) => {
    const { code, stdout, stderr } = await runPlait(args);
    return { code, text: stdout + stderr };
  };
  for (const args of [['check', file, '-p', '8080'], ['-p', '8080', 'check', file], ['-c', file, '-p', '8080', 'check'], ['check', '-p', '8080', '-c', file], ['check', '-b', 'h2c://127.0.0.1:2', file, '-p', '8080']]) {
    assert.deepEqual(await said(args), { code: 0, text: `${file}: ok\n` }, args.join(' '));
  }
  assert.deepEqual(await said(['check', '-b', 'h2c://127.0.0.1:1', '-p', '8080']), { code: 0, text: 'plait: ok\n' });
  assert.deepEqual(await said(['check', '-b', 'h2c://127.0.0.1:1', '-p', '8080', '--listen', '127.0.0.1:8080']), {
    code: 2, text: 'plait: --port 8080: this is all addresses, of which --listen 127.0.0.1:8080 has one already: 127.0.0.1:8080\n',
  });
  assert.deepEqual(await said(['-c', file, 'check', 'other.toml']), { code: 2, text: `plait: two configurations are named, ${file} and other.toml: check looks at one\n` });
});

test('flags of other programs, and slips of the pen, get a hint', async () => {
  const said = async (...args) => {
    const { stdout, stderr } = await runPlait(args);
    return stdout + stderr;
  };
  assert.match(await said('-V'), /^plait \d+\.\d+\.\d+ \(.*clang \d+.*\)\n$/);
  for (const flag of ['-t', '-T', '--test', '--check']) assert.equal(await said(flag, 'plait.toml'), `plait: ${flag} is unknown: to look for mistakes in a configuration use plait check FILE\n`);
  assert.equal(await said('-v'), 'plait: -v is unknown: -V is the version, --verbose says more about memory\n');
  assert.equal(await said('--wrokers=2'), 'plait: --wrokers=2 is unknown, did you mean --workers? (see plait --help)\n');
  assert.equal(await said('chekc', 'plait.toml'), 'plait: chekc is unknown, did you mean check? (see plait --help)\n');
});
