import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { build } from 'vite';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { PATIENCE_MILLISECONDS } from '../support/wait.ts';
import { kernelSuite } from '../support/where.ts';

const root = new URL('../..', import.meta.url).pathname;
const RULES = `table inet test {
chain output {
type filter hook output priority 0
udp dport 9999 log prefix "web1 " group 5
}
}
`;

/* The library is bundled into one file that programs of their own import: only a whole process shows whether it ends. */
kernelSuite('a process with a log', () => {
  let directory: string;
  beforeEach(async () => {
    directory = fs.mkdtempSync(path.join(os.tmpdir(), 'nflog-'));
    const entry = path.join(directory, 'entry.ts');
    fs.writeFileSync(
      entry,
      `export { Nflog } from '${root}src/nflog/index.ts'; export { NetNs } from '${root}src/netns/index.ts';`,
    );
    await build({
      configFile: false,
      logLevel: 'silent',
      root: directory,
      build: {
        ssr: entry,
        outDir: directory,
        emptyOutDir: false,
        rollupOptions: { output: { entryFileNames: 'entry.mjs' } },
      },
    });
  });
  afterEach(() => fs.rmSync(directory, { recursive: true }));

  const run = (body: string) => {
    const file = path.join(directory, 'main.mjs');
    const prelude = `
        import { execFileSync } from 'node:child_process';
        import fs from 'node:fs';
        import { Nflog, NetNs } from './entry.mjs';
        const ns = NetNs.create();
        ns.run(() => {
          execFileSync('ip', ['link', 'set', 'lo', 'up']);
          execFileSync('nft', ['-f', '-'], { input: ${JSON.stringify(RULES)} });
        });
        const send = () => ns.run(() => execFileSync(process.execPath, ['-e', ${JSON.stringify(
          "const s = require('node:dgram').createSocket('udp4'); s.send('x', 9999, '127.0.0.1', () => s.close());",
        )}]));
        const log = Nflog.open({ netns: ns, groups: [5] });
      `;
    fs.writeFileSync(file, prelude + body);
    const env = { ...process.env, NODE_PATH: `${root}node_modules` };
    return execFileSync(process.execPath, [file], {
      env,
      cwd: directory,
      timeout: PATIENCE_MILLISECONDS,
      encoding: 'utf8',
    }).trim();
  };

  it('is told which permission it lacks', () => {
    const output = run(`ns.run(() => {
        process.seteuid(65534);
        try { Nflog.open({ netns: ns, groups: [9] }); } catch (error) { console.log(error.code, error.hint); }
        process.seteuid(0);
      });`);
    expect(output).toMatch(/^EPERM NFLOG needs CAP_NET_ADMIN /);
  });

  it('writes its records with pino when no logger is given, and ends when its log is closed', () => {
    const output = run(`
      const records = log.to(undefined, { fields: ['container', 'group', 'prefix', 'destinationPort'] });
      send();
      send();
      const waiting = setInterval(() => {
        if (records.packets < 2) return;
        clearInterval(waiting);
        log.close();
        records.finished.then(() => console.log('end'));
      }, 10);`);
    const lines = output.split('\n');
    expect(lines.pop()).toBe('end');
    const record = { level: 30, group: 5, prefix: 'web1 ', destinationPort: 9999, msg: 'packet' };
    expect(lines.map(line => JSON.parse(line))).toEqual([
      expect.objectContaining({ ...record, pid: expect.any(Number) }),
      expect.objectContaining(record),
    ]);
  });

  it.each([
    ['nobody takes packets', "console.log('end');", 'end'],
    ['its loop was left', 'send(); for await (const p of log) { console.log(p.prefix); break; }', 'web1'],
    ['its log is closed', 'log.onBatch(packets => { console.log(packets.length); log.close(); }); send();', '1'],
    [
      'its log is closed while a loop waits',
      "setImmediate(() => log.close()); for await (const p of log); console.log('end');",
      'end',
    ],
    ['its log is unreferenced', "log.unref(); log.onBatch(() => {}); console.log('end');", 'end'],
    ['it exits while it receives', 'log.onBatch(() => process.exit(0)); send();', ''],
    [
      'it exits while it writes a file',
      "log.toPcapng(fs.createWriteStream('/dev/null')); log.onBatch(() => process.exit(0)); send();",
      '',
    ],
    [
      'its log is closed while a file is written, which is whole then',
      `const capture = log.toPcap(fs.createWriteStream('whole.pcap'));
       log.onBatch(() => log.close());
       send();
       await capture.finished;
       console.log(fs.statSync('whole.pcap').size === capture.bytes, capture.packets);`,
      'true 1',
    ],
    [
      'a file cannot be written and nobody looks',
      "process.on('uncaughtException', error => { console.log(error.code); log.close(); }); log.toPcap(fs.createWriteStream('/dev/full')); send();",
      'ENOSPC',
    ],
    [
      'a handler throws',
      "process.on('uncaughtException', error => { console.log(error.message); log.close(); }); log.onBatch(() => { throw new Error('mine'); }); send();",
      'mine',
    ],
  ])('ends when %s', (_, body, output) => {
    expect(run(body)).toBe(output);
  });

  it('continues to receive after only its own watch refers to the log, however often garbage is collected', () => {
    const output = run(`
      import { setImmediate as turn } from 'node:timers/promises';
      import { setFlagsFromString } from 'node:v8';
      import { runInNewContext } from 'node:vm';
      setFlagsFromString('--expose-gc');
      const gc = runInNewContext('gc');
      process.on('warning', ({ message }) => console.log(message));
      await log[Symbol.asyncDispose]();
      let received = 0;
      let other;
      (() => {
        other = new WeakRef({});
        Nflog.open({ netns: ns, groups: [5] }).onBatch(packets => { received += packets.length; });
      })();
      for (let sent = 1; sent <= 3; sent++) {
        // Each turn lets finalizers run.
        for (let i = 0; i < 20; i++) { gc(); await turn(); }
        send();
        while (received < sent) { gc(); await turn(); }
      }
      console.log(received, other.deref());
      process.exit();
    `);
    expect(output).toBe('3 undefined');
  });
});
