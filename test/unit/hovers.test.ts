import { expect, test } from 'vitest';
import { hovers } from '../support/hovers.ts';

/* The declarations as they are built and shipped: `npm run build` comes first. */

const all = hovers();

test('an editor shows documentation for every public function, class, method in both forms, and property', () => {
  expect(all.length).toBeGreaterThan(4000);
  expect(all.filter(({ text }) => text === '').map(({ name }) => name)).toEqual([]);
});

test('names that had none are among those that are asked for', () => {
  const names = new Set(all.map(({ name }) => name));
  for (const name of ['commit', 'ruleset', 'elements', 'apply', 'sync.commit', 'sync.tables'])
    expect(names).toContain(`netsteer/nftables Nftables.${name}`);
  for (const name of ['numgen', 'jhash', 'Selector.eq', 'tcp.dport'])
    expect(names).toContain(`netsteer/nftables ${name}`);
  for (const name of [
    'netsteer/container Fleet.open',
    'netsteer/ipvs Ipvs.sync.addService',
    'netsteer/rtnetlink Link.mtu',
  ])
    expect(names).toContain(name);
});
