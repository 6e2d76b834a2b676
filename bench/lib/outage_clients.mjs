// Clients of bench/outages.mjs: HTTP/1.1 in bytes, because node's own client would be what is measured.
import net from 'node:net';

const giveUp_ms = 30_000;
const mostConnections = 4_000;

// One connection, one request at a time. Every request ends: with a status, or with the reason why it has none.
class Connection {
  constructor(port) {
    this.text = '';
    this.done = null;
    this.over = false;
    this.socket = net.connect({ port, host: '127.0.0.1', noDelay: true });
    this.socket.setEncoding('latin1');
    this.socket.on('data', (chunk) => {
      this.text += chunk;
      this.look();
    });
    this.socket.on('error', () => {});
    this.socket.on('close', () => this.finish('closed', true));
  }

  look() {
    const end = this.text.indexOf('\r\n\r\n');
    if (end < 0) return;
    const head = this.text.slice(0, end).toLowerCase();
    const length = head.match(/\r\ncontent-length: *(\d+)/)?.[1];
    if (length === undefined ? !this.text.endsWith('\r\n0\r\n\r\n') : this.text.length < end + 4 + Number(length)) return;
    this.finish(Number(head.slice(9, 12)), /\r\nconnection: *close/.test(head));
  }

  finish(status, over) {
    this.text = '';
    if (over) {
      this.over = true;
      this.socket.destroy();
    }
    clearTimeout(this.timer);
    const { done } = this;
    this.done = null;
    done?.(status);
  }

  ask(method, id) {
    return new Promise((resolve) => {
      this.done = resolve;
      this.timer = setTimeout(() => this.finish('no answer', true), giveUp_ms);
      const body = method === 'POST' ? 'content-length: 8\r\n\r\n12345678' : '\r\n';
      this.socket.write(`${method} /outage HTTP/1.1\r\nhost: outage\r\nx-id: ${id}\r\n${body}`);
    });
  }
}

let ids = 0;

// Keeps { method, status, begun, ended } of each request, in milliseconds of performance.now().
export class Load {
  constructor(port) {
    this.port = port;
    this.records = [];
    this.idle = [];
    this.connections = 0;
    this.open = 0;
    this.running = true;
    this.loops = [];
  }

  async one() {
    const method = Math.random() < 0.5 ? 'GET' : 'POST';
    const record = { method, status: undefined, begun: performance.now(), ended: Infinity };
    this.records.push(record);
    this.open += 1;
    let connection = this.idle.pop();
    while (connection?.over) {
      this.connections -= 1;
      connection = this.idle.pop();
    }
    if (connection === undefined && this.connections < mostConnections) {
      connection = new Connection(this.port);
      this.connections += 1;
    }
    record.status = connection === undefined ? 'no connection' : await connection.ask(method, ids++);
    record.ended = performance.now();
    this.open -= 1;
    if (connection?.over) this.connections -= 1;
    else if (connection !== undefined) this.idle.push(connection);
  }

  closed(clients) {
    for (let i = 0; i < clients; i += 1) {
      this.loops.push((async () => {
        while (this.running) {
          await this.one();
          // Failures that come at once must not take the machine from everybody else.
          if (this.records.at(-1).status !== 200) await new Promise((resolve) => { setTimeout(resolve, 1); });
        }
      })());
    }
  }

  // Arrivals of a Poisson process, whatever becomes of the ones before.
  openLoop(rate) {
    const begun = performance.now();
    let due_ms = 0;
    const next = () => {
      if (!this.running) return;
      for (const now_ms = performance.now() - begun; due_ms <= now_ms; due_ms += -Math.log(1 - Math.random()) * 1000 / rate) this.one();
      setTimeout(next, 1);
    };
    next();
  }

  async stop() {
    this.running = false;
    for (const end = performance.now() + giveUp_ms + 1_000; this.open > 0 && performance.now() < end;) await new Promise((resolve) => { setTimeout(resolve, 20); });
    for (const connection of this.idle) connection.socket.destroy();
  }

  // 200s for each second that ended within these moments.
  goodput(from, to) {
    return this.records.filter(({ status, ended }) => status === 200 && ended >= from && ended < to).length * 1000 / (to - from);
  }
}
