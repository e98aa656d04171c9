import fs from 'node:fs';
import { NetNs } from 'netsteer';
import { Conntrack } from 'netsteer/conntrack';
import { expect, test } from 'vitest';

const AsyncFunction = (async () => {}).constructor as new (
  ...parameters: string[]
) => (...values: unknown[]) => Promise<void>;

test("docs/conntrack.md's first example ends what it says, and lists what is left", async () => {
  const [, code] = /```ts\n(.*?)```/s.exec(fs.readFileSync('docs/conntrack.md', 'utf8'))!;
  const body = code!.replace(/^import .*$/m, '');
  const netns = NetNs.create();
  const ct = Conntrack.open({ netns });
  const original = { source: '10.0.0.1', sourcePort: 4000, destination: '10.10.0.100', destinationPort: 53 };
  const nat = { destination: { address: '10.0.0.7', port: 53 } };
  await ct.create({ protocol: 'udp', timeoutSeconds: 30, original, nat });
  await ct.create({ protocol: 'udp', timeoutSeconds: 30, original: { ...original, sourcePort: 4001 } });
  await ct.create({
    protocol: 'tcp',
    timeoutSeconds: 300,
    original: { ...original, destination: '10.1.2.3' },
    status: ['seen-reply', 'assured'],
    tcp: { state: 'established' },
  });
  const printed: unknown[][] = [];
  await new AsyncFunction('Conntrack', 'netns', 'console', body)(Conntrack, netns, {
    log: (...values: unknown[]) => printed.push(values),
  });
  expect(printed).toEqual([
    ['10.0.0.1', 'established', expect.any(Number)],
    [1, 2],
  ]);
  await ct[Symbol.asyncDispose]();
  netns.close();
});
