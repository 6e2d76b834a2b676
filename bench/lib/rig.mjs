// Origins and proxies as the workloads ask for them, each made when it is first needed and kept until the end.
import { responseFields, startOrigin, makeFiles } from './origins.mjs';
import { makeCertificate, makeDirectory, stop } from './processes.mjs';
import { startProxy } from './proxies.mjs';

export class Rig {
  constructor({ binary, pgo, io, files = {} }) {
    this.binary = binary;
    this.pgo = pgo;
    this.io = io;
    this.dir = makeDirectory();
    this.certificate = makeCertificate(this.dir);
    this.root = makeFiles(this.dir, files);
    this.made = new Map();
  }

  once(key, make) {
    if (!this.made.has(key)) this.made.set(key, make());
    return this.made.get(key);
  }

  // kind: 'h2c', 'h2 over TLS', 'h2c, more fields', and the same of HTTP/1.1.
  origin(kind, options = {}) {
    const fields = kind.endsWith('more fields') ? responseFields : [];
    return this.once(`origin ${kind} ${JSON.stringify(options)}`, () =>
      startOrigin({ dir: this.dir, root: this.root, certificate: this.certificate, kind: kind.replace(', more fields', ''), fields, ...options }));
  }

  async origins(kind) {
    return { origins: [await this.origin(kind)], h1Origins: [await this.origin(kind.replace(/^h2c/, 'HTTP/1.1').replace(/^h2/, 'HTTP/1.1'))] };
  }

  // The proxy in front of the origins of that kind.
  proxy(name, kind) {
    return this.once(`proxy ${name} ${kind}`, () => this.freshProxy(name, kind));
  }

  async freshProxy(name, kind, options = {}) {
    return startProxy(name, { dir: this.dir, certificate: this.certificate, binary: this.binary, pgo: this.pgo, io: this.io, ...await this.origins(kind), ...options });
  }

  async stopAll() {
    const made = await Promise.all(this.made.values());
    this.made.clear();
    await Promise.all(made.map(({ child }) => stop(child)));
  }
}
