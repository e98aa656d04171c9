import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { NetNs } from 'netsteer';
import * as iptables from 'netsteer/iptables';
import { expect, it } from 'vitest';
import { AsyncFunction, SnippetsOf } from '../support/snippets.ts';
import { kernelSuite } from '../support/where.ts';

const page = new SnippetsOf('test/kernel/iptables-docs.test.ts');
const body = (words: string): string => page.take(words).code.replace(/^import .*$/gm, '');

kernelSuite('docs/iptables.md', () => {
  it('restores a file and prints what iptables-save prints', async () => {
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'netsteer-iptables-'));
    const file = path.join(folder, 'rules.v4');
    fs.writeFileSync(file, '*filter\n-A INPUT -p tcp --dport 22 -j ACCEPT\nCOMMIT\n');
    const netns = NetNs.create();
    const printed: unknown[] = [];
    try {
      const code = body('ipt.restore').replace('/etc/iptables/rules.v4', file);
      await new AsyncFunction('fs', 'Iptables', 'netns', 'console', code)(fs, iptables.Iptables, netns, {
        log: (value: unknown) => printed.push(value),
      });
    } finally {
      netns.close();
      fs.rmSync(folder, { recursive: true });
    }
    expect(printed).toEqual([expect.stringContaining('[0:0] -A INPUT -p tcp -m tcp --dport 22 -j ACCEPT\n')]);
  });

  it('reads a text as data and prints it', async () => {
    const printed: unknown[][] = [];
    await new AsyncFunction('parseIptables', 'formatIptables', 'console', body('parseIptables('))(
      iptables.parseIptables,
      iptables.formatIptables,
      { log: (...values: unknown[]) => printed.push(values) },
    );
    expect(printed).toEqual([
      [{ number: 6 }, [{ name: 'tcp', revision: 0, info: { destinationPorts: [22, 22] } }]],
      [expect.stringContaining('-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT\n')],
    ]);
  });

  it('runs single commands', async () => {
    const netns = NetNs.create();
    const printed: unknown[][] = [];
    try {
      await new AsyncFunction('Iptables', 'IptablesError', 'netns', 'console', body('ipt.run'))(
        iptables.Iptables,
        iptables.IptablesError,
        netns,
        { log: (...values: unknown[]) => printed.push(values) },
      );
    } finally {
      netns.close();
    }
    expect(printed).toEqual([
      [expect.stringMatching(/^REDIRECT +(tcp|6) .* 10\.10\.0\.100 +tcp dpt:80$/m)],
      [2, '--dport', expect.stringContaining('unknown option "--dport"')],
    ]);
  });

  it('has no other examples', () => {
    expect(page.left).toEqual([]);
  });
});
