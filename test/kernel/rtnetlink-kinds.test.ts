import { expect, test } from 'vitest';
import { KINDS } from '../../src/rtnetlink/links/kinds.ts';
import { CASES, testKinds } from '../support/rtnetlink-kinds.ts';
import { kernelSuite } from '../support/where.ts';

kernelSuite('kinds of links, written and read', () => {
  testKinds();
});

test('every kind has a case', () => {
  // The peer of a veth, and the other end of a tun, are not settings: they have tests of their own.
  const without = ['veth', 'tun'];
  const names = KINDS.map(({ name }) => name).filter(name => !without.includes(name));
  expect([...new Set(CASES.map(({ kind }) => kind))].sort()).toEqual(names.sort());
});
