// Certificates of sites, and clients of OpenSSL that look at them.
import { once } from 'node:events';
import path from 'node:path';
import tls from 'node:tls';
import { run, within } from './process.mjs';

// A certificate that signs itself, for these names.
export async function issue(directory, name, names, kind = 'ec', days = 90) {
  const cert = path.join(directory, `${name}.pem`);
  const key = path.join(directory, `${name}.key`);
  const algorithm = kind === 'rsa' ? ['rsa:2048'] : ['ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1'];
  await run('openssl', ['req', '-x509', '-newkey', ...algorithm, '-nodes', '-days', String(days), '-subj', `/CN=${name}`,
    '-addext', `subjectAltName=${names.map((one) => `DNS:${one}`).join()}`, '-keyout', key, '-out', cert]);
  return { cert, key, toml: `[[certificate]]\ncert = "${cert}"\nkey = "${key}"\n` };
}

// The certificate that a client is shown, and the answer to a request with these further fields.
export async function ask(port, servername, { fields = '', ...options } = {}) {
  const socket = tls.connect({ port, host: '127.0.0.1', servername, rejectUnauthorized: false, ALPNProtocols: ['http/1.1'], ...options });
  let ticket;
  socket.on('session', (session) => { ticket = session; });
  await within(20_000, once(socket, 'secureConnect'), `a connection to ${servername}`);
  const shown = socket.getPeerCertificate();
  const resumed = socket.isSessionReused();
  socket.write(`GET / HTTP/1.1\r\nHost: ${servername || 'localhost'}\r\nConnection: close\r\n${fields}\r\n`);
  let answer = '';
  socket.on('data', (chunk) => { answer += chunk; });
  await within(20_000, Promise.race([once(socket, 'end'), once(socket, 'error').then(([error]) => { throw error; })]), 'the answer');
  socket.destroy();
  return { name: shown.subject?.CN, kind: shown.asn1Curve ? 'ec' : 'rsa', answer, resumed, ticket };
}
