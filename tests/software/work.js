// SPDX-License-Identifier: Apache-2.0
/*
 * Work for node.js that is the same in every run: compiled code that is thrown away again,
 * garbage, promises and timers, worker threads with shared and with copied memory, the thread pool
 * (files, hashes, compression) and a server that the program talks to itself. Each round checks
 * itself; the file gets a line a round, and a last one.
 *
 * work.js FILE ROUNDS
 */
'use strict';
const assert = require('assert');
const crypto = require('crypto');
const fs = require('fs');
const http = require('http');
const {promisify} = require('util');
const {Worker, isMainThread, parentPort} = require('worker_threads');
const zlib = require('zlib');

const scrypt = promisify(crypto.scrypt);
const gzip = promisify(zlib.gzip);
const gunzip = promisify(zlib.gunzip);
const THREADS = 2;

function garbage(seed) {
  let kept = [];
  let sum = 0;
  for (let i = 0; i < 20000; i++) {
    const o = {i, text: `object ${i * seed}`, list: new Array(i % 17).fill(i)};
    if (i % 16 === 0) kept.push(o);
    if (kept.length > 500) kept = kept.slice(250);
  }
  for (const o of kept) sum += o.text.length + o.list.length;
  return sum;
}

function shapes(kind, n) {
  // Compiled for integers, then met with something else.
  const add = (a, b) => a + b;
  let sum = kind % 3 === 0 ? 0n : 0;
  for (let i = 0; i < n; i++) sum = add(sum, kind % 3 === 0 ? BigInt(i) : kind % 3 === 1 ? i : i + 0.5);
  return String(sum);
}

function exceptions(depth) {
  if (depth === 0) throw new RangeError('bottom');
  try {
    exceptions(depth - 1);
  } finally {
    depth--;
  }
}

if (!isMainThread) {
  parentPort.on('message', ({shared, n, seed}) => {
    const counts = new Int32Array(shared);
    for (let i = 0; i < n; i++) Atomics.add(counts, 0, 1);
    parentPort.postMessage({sum: garbage(seed), list: Array.from({length: 100}, (_, i) => i * seed)});
  });
} else {
  main().catch((e) => {
    fs.writeSync(2, `${e.stack}\n`);
    process.exit(1);
  });
}

function ask(worker, message) {
  return new Promise((resolve, reject) => {
    worker.once('error', reject);
    worker.once('message', (answer) => {
      worker.off('error', reject);
      resolve(answer);
    });
    worker.postMessage(message);
  });
}

async function threads(workers, r) {
  const shared = new SharedArrayBuffer(4);
  const n = 5000;
  const all = await Promise.all(workers.map((w, i) => ask(w, {shared, n, seed: r + i})));
  // Shared memory does not go back with a twin: more is possible there, but not less.
  assert(new Int32Array(shared)[0] >= n * workers.length);
  all.forEach((a, i) => assert.strictEqual(a.list[99], 99 * (r + i)));
  return all.map((a) => a.sum).join();
}

async function pool(r) {
  const text = Buffer.from(`round ${r} `.repeat(3000));
  const [key, packed] = await Promise.all([scrypt('secret', `salt${r}`, 32, {N: 256}), gzip(text)]);
  assert((await gunzip(packed)).equals(text));
  return key.toString('hex');
}

async function timers() {
  const order = [];
  await Promise.all([3, 1, 2].map((ms) => new Promise((done) => setTimeout(() => {
    order.push(ms);
    done();
  }, ms * 5))));
  for (let i = 0; i < 500; i++) await null;
  await new Promise(setImmediate);
  return order.length;
}

function get(port, path) {
  return new Promise((resolve, reject) => {
    http.get({port, host: '127.0.0.1', path, agent: false}, (res) => {
      const parts = [];
      res.on('data', (d) => parts.push(d));
      res.on('end', () => resolve(Buffer.concat(parts).toString()));
      res.on('error', reject);
    }).on('error', reject);
  });
}

// Both ends of a connection are in this process and go back together; but what was on its way
// between them does not. A connection that breaks is asked anew.
async function talk(port, r) {
  for (let i = 0; i < 5; i++) {
    for (let tries = 0; ; tries++) {
      try {
        const limit = new Promise((_, reject) => setTimeout(reject, 1000, new Error('no answer')).unref());
        assert.strictEqual(await Promise.race([get(port, `/${r * i}`), limit]), `got /${r * i}`);
        break;
      } catch (e) {
        if (tries >= 5 || e instanceof assert.AssertionError) throw e;
      }
    }
  }
}

async function round(r, workers, port) {
  const h = crypto.createHash('sha256');
  h.update(String(garbage(r)));
  h.update(shapes(r, 30000));
  assert.throws(() => exceptions(100), RangeError);
  h.update(await threads(workers, r));
  h.update(await pool(r));
  h.update(String(await timers()));
  await talk(port, r);
  return h.digest('hex');
}

async function main() {
  const [file, rounds] = process.argv.slice(2);
  const out = fs.openSync(file, 'w');
  const workers = Array.from({length: THREADS}, () => new Worker(__filename));
  const server = http.createServer((req, res) => res.end(`got ${req.url}`));
  await new Promise((done) => server.listen(0, '127.0.0.1', done));
  for (let r = 1; r <= Number(rounds); r++)
    fs.writeSync(out, `round ${r} ${await round(r, workers, server.address().port)}\n`);
  fs.writeSync(out, 'end\n');
  fs.closeSync(out);
  server.close();
  await Promise.all(workers.map((w) => w.terminate()));
}
