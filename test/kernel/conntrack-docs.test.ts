import { NetNs } from 'netsteer';
import { Conntrack } from 'netsteer/conntrack';
import { expect, test } from 'vitest';
import { AsyncFunction, SnippetsOf } from '../support/snippets.ts';

const page = new SnippetsOf('test/kernel/conntrack-docs.test.ts');

test("docs/conntrack.md's first example deletes the connections that it names and lists the others", async () => {
  const body = page.take('ct.flush').code.replace(/^import .*$/m, '');
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

test("docs/conntrack.md's second example prints the present state and then what begins and ends", async () => {
  const netns = NetNs.create();
  const ct = Conntrack.open({ netns });
  const original = { source: '10.0.0.1', sourcePort: 4000, destination: '10.10.0.100', destinationPort: 53 };
  const printed: unknown[][] = [];
  const log = (...values: unknown[]) => {
    printed.push(values);
    // The loop goes on until the handle is closed.
    if (printed.length === 1) void ct.create({ protocol: 'udp', timeoutSeconds: 30, original });
    else ct.close();
  };
  await new AsyncFunction('ct', 'console', page.take('ct.monitor').code)(ct, { log });
  expect(printed).toEqual([
    ['initial', 0],
    ['new', '10.10.0.100'],
  ]);
  netns.close();
});

test('every example of docs/conntrack.md has run', () => {
  expect(page.left).toEqual([]);
});
