// A certificate for localhost, made anew for each test; none is kept in the tree, where it would expire.
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { run, temporaryDirectory } from './process.mjs';

export async function certificate(t, name = 'localhost') {
  const dir = temporaryDirectory(t);
  const cert = path.join(dir, 'cert.pem');
  const key = path.join(dir, 'key.pem');
  await run('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '90',
    '-subj', `/CN=${name}`, '-addext', `subjectAltName=DNS:${name},IP:127.0.0.1`, '-keyout', key, '-out', cert]);
  return { cert, key, pem: { cert: readFileSync(cert), key: readFileSync(key) } };
}
