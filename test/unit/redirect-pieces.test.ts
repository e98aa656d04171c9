import { afterEach, expect, test, vi } from 'vitest';
import type { Redirect } from '../../src/container/index.ts';
import { PortMap } from '../../src/container/redirects/port-map.ts';
import {
  besides,
  changeRedirects,
  differencesOf,
  keysOf,
  listOf,
  namedIn,
  RedirectSet,
  withoutNamed,
  withPresent,
} from '../../src/container/redirects/set.ts';
import type { Operation } from '../../src/netlink/index.ts';
import { Transaction } from '../../src/nftables/index.ts';

/* A container's root may put any number of elements into our maps. Work on them is divided: this counts the pieces, and needs no clock. */

const MANY = 20_000;
/** Calls to a map between two points at which the event loop may run. Each takes some ten nanoseconds. */
const MOST_CALLS = 2048;

const redirectOf = (i: number): Redirect => ({
  protocol: 'tcp',
  address: `10.${i >> 16}.${(i >> 8) & 255}.${i & 255}`,
  port: 80,
  toPort: 8080,
});
const theirs = new RedirectSet([
  ...Array.from({ length: MANY }, (_, i) => redirectOf(i)),
  { protocol: 'tcp', address: '192.168.1.0/24', port: 90, toPort: 1 },
]);
const mine = new RedirectSet([redirectOf(MANY), { ...redirectOf(3), toPort: 9 }]);
/** Port 90 is led there already: what is left is one address and one port, which is looked for among all that is there. */
const cut = new RedirectSet([{ protocol: 'tcp', address: '192.168.1.1', port: { from: 90, to: 91 }, toPort: 1 }]);
const named = keysOf([redirectOf(5)]);

afterEach(() => {
  vi.restoreAllMocks();
});

/** The most calls to maps between two yields. */
function longestPiece(start: () => Operation<unknown>): { calls: number; pieces: number } {
  let calls = 0;
  for (const method of ['portAt', 'push', 'add', 'copy', 'take', 'find'] as const) {
    const original = PortMap.prototype[method] as (...parameters: unknown[]) => unknown;
    vi.spyOn(PortMap.prototype, method as 'portAt').mockImplementation(function (this: PortMap, ...parameters) {
      calls++;
      return original.apply(this, parameters) as number;
    });
  }
  let most = 0;
  let pieces = 1;
  const work = start();
  for (let state = work.next(0); !state.done; state = work.next(state.value.now())) {
    most = Math.max(most, calls);
    calls = 0;
    pieces++;
  }
  return { calls: Math.max(most, calls), pieces };
}

test.each<[string, () => Operation<unknown>]>([
  ['set', () => changeRedirects(new Transaction(), mine, theirs, true)],
  ['add', () => changeRedirects(new Transaction(), mine, theirs, false)],
  ['set of very many', () => changeRedirects(new Transaction(), theirs, mine, true)],
  ['add of ranges that are cut', () => besides(cut, theirs)],
  ['a table that is made anew', () => withPresent(mine, theirs.ports)],
  ['remove', () => namedIn(theirs, named)],
  ['remove in a table that is made anew', () => withoutNamed(theirs, named)],
  ['list and adopt', () => listOf(theirs)],
  ['differences', () => differencesOf(mine, theirs)],
  ['differences of very many', () => differencesOf(theirs, mine)],
])('%s is divided into small pieces', (_, start) => {
  const { calls, pieces } = longestPiece(start);
  expect(calls).toBeLessThanOrEqual(MOST_CALLS);
  expect(pieces).toBeGreaterThan(MANY / MOST_CALLS);
});
