import { expect, test } from 'vitest';
import { runScript } from '../support/compiled.ts';
import { PATIENCE_MILLISECONDS } from '../support/wait.ts';
import { kernelSuite } from '../support/where.ts';

/** Opens handles in functions that forget them, and lets the garbage collector run until it has found `count`. */
const script = (body: string, count: number) => `
  import fs from 'node:fs';
  import { setImmediate as turn } from 'node:timers/promises';
  import { NetNs } from './netns/index.js';
  import { Nftables } from './nftables/index.js';
  import { Nflog } from './nflog/index.js';
  import { Conntrack } from './conntrack/index.js';
  import { Links } from './rtnetlink/index.js';
  import { NetlinkSocket } from './netlink/index.js';
  import { traceDescriptors } from './ffi/index.js';
  import { setFlagsFromString } from 'node:v8';
  import { runInNewContext } from 'node:vm';
  setFlagsFromString('--expose-gc');
  const gc = runInNewContext('gc');
  const warnings = [];
  // Node has warnings of its own, as of node:ffi.
  process.on('warning', warning => { if (warning.code === 'NETSTEER_LEAK') warnings.push(warning); });
  const home = NetNs.home();
  /* Node opens one for itself when it first prints a warning. */
  const open = () => fs.readdirSync('/proc/self/fd').filter(fd => {
    try { return /^(socket|net):/.test(fs.readlinkSync('/proc/self/fd/' + fd)); } catch { return false; }
  }).length;
  const before = open();
  ${body}
  const end = Date.now() + ${PATIENCE_MILLISECONDS};
  for (let turns = 0; (warnings.length < ${count} || turns < 20) && Date.now() < end; turns++) {
    gc();
    await turn();
  }
  console.log(JSON.stringify({
    warnings: warnings.map(({ name, code, message, detail }) => ({ name, code, message, detail })),
    more: open() - before,
  }));
  process.exit();
`;

interface Result {
  warnings: { name: string; code: string; message: string; detail: string }[];
  more: number;
}

function run(body: string, count: number, env: Record<string, string> = {}): Result {
  const { status, stdout, stderr } = runScript(script(body, count), { env });
  expect(status, stderr).toBe(0);
  return JSON.parse(stdout) as Result;
}

kernelSuite('handles that are never closed', () => {
  test('are closed by the garbage collector, with a warning for each', () => {
    const { warnings, more } = run('(() => { const netns = NetNs.create(); Nftables.open({ netns }); })();', 2);
    expect(warnings).toHaveLength(2);
    expect(warnings.map(({ message }) => message.replace(/\d+/g, 'N')).sort()).toEqual([
      'a netlink socket in namespace N (descriptor N) was never closed; it is closed now that nothing refers to it',
      'a network namespace (descriptor N) was never closed; it is closed now that nothing refers to it',
    ]);
    for (const { name, code, detail } of warnings) {
      expect([name, code]).toEqual(['NetsteerLeakWarning', 'NETSTEER_LEAK']);
      expect(detail).toBe('NODE_DEBUG=netsteer tells who opened it');
    }
    expect(more).toBe(0);
  });

  test('of connections and links are closed, too, and so are monitors that nobody iterates', () => {
    const { warnings, more } = run(
      `(() => {
        const netns = NetNs.create();
        Conntrack.open({ netns });
        Conntrack.open({ netns }).monitor();
        Links.open({ netns }).monitor();
      })();`,
      6,
    );
    expect(warnings.map(({ message }) => message.replace(/ in namespace.*| \(.*/, '')).sort()).toEqual([
      ...Array.from({ length: 5 }, () => 'a netlink socket'),
      'a network namespace',
    ]);
    expect(more).toBe(0);
  });

  test('are reported with the place that opened them where tracing is on', () => {
    const body = 'function forgetful() { NetNs.create(); } forgetful();';
    const { warnings } = run(body, 1, { NODE_DEBUG: 'netsteer' });
    expect(warnings).toHaveLength(1);
    expect(warnings[0]!.detail).toMatch(/at .*NetNs[\s\S]*at forgetful/);
  });

  test('are not reported where they were closed', () => {
    const { warnings, more } = run(
      `await (async () => {
        const netns = NetNs.create();
        for (let i = 0; i < 50; i++) await Nftables.open({ netns })[Symbol.asyncDispose]();
        netns.close();
      })();`,
      0,
    );
    expect(warnings).toEqual([]);
    expect(more).toBe(0);
  });

  test('stay open while something watches them', () => {
    const { warnings, more } = run(
      `(() => {
        const netns = NetNs.create();
        new NetlinkSocket({ netns, protocol: 12 }).watch(() => {});
        Nflog.open({ netns, groups: [5] }).onBatch(() => {});
        netns.close();
      })();`,
      0,
    );
    expect(warnings).toEqual([]);
    // The socket, the log's, and that by which it asks for devices.
    expect(more).toBeGreaterThanOrEqual(3);
  });

  test('are traced to the code that opened them', () => {
    const { warnings } = run(
      `const traced = traceDescriptors();
      function opener() { return NetNs.create(); }
      const netns = opener();
      if (!/at opener/.test(traced.get(netns.descriptor))) process.emitWarning('not traced: ' + [...traced]);
      netns.close();
      if (traced.size > 0) process.emitWarning('still traced');`,
      0,
    );
    expect(warnings).toEqual([]);
  });
});
