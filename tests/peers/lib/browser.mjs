// Chromium as a user has it, without a window. It trusts the one certificate that it is given as it would trust any other,
// so that it caches and preloads; what it is shown is looked at by code that runs in its pages.
import { X509Certificate, createHash } from 'node:crypto';
import { chromium } from 'playwright-core';
import { defer, within } from './process.mjs';

// A sanitizer makes plait some times slower, and other tests run beside this one.
export const patienceMs = 60_000;

export async function startBrowser(t, { pem }) {
  const publicKey = new X509Certificate(pem.cert).publicKey.export({ type: 'spki', format: 'der' });
  const browser = await chromium.launch({
    executablePath: '/usr/bin/chromium',
    timeout: patienceMs,
    args: [
      '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update',
      '--disable-sync', '--no-proxy-server', '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1',
      `--ignore-certificate-errors-spki-list=${createHash('sha256').update(publicKey).digest('base64')}`,
    ],
  });
  defer(t, () => within(patienceMs, browser.close(), 'the browser ends'));
  return browser;
}

// A page of a user who has never been here: no cookie, no cache, no connection. `url` is opened in it.
export async function openPage(t, browser, url) {
  const context = await browser.newContext();
  defer(t, () => within(patienceMs, context.close(), 'the pages close'));
  await context.addInitScript(() => {
    const hex = (bytes) => Array.from(new Uint8Array(bytes), (byte) => byte.toString(16).padStart(2, '0')).join('');
    globalThis.sha256 = async (bytes) => hex(await crypto.subtle.digest('SHA-256', bytes));
    // What a fetch comes to, as plain values: whoever awaits it must not fail.
    globalThis.outcome = (promise) => promise.then(async (response) => ({ status: response.status, text: await response.text() })).catch((error) => ({ error: error.name }));
  });
  const page = await context.newPage();
  page.setDefaultTimeout(patienceMs);
  if (url) await page.goto(url);
  return page;
}

// Runs a function in the page.
export const inPage = (page, run, argument) => within(patienceMs, page.evaluate(run, argument), `the page is done: ${run.toString().slice(0, 200)}`);
