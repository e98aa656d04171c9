import fc from 'fast-check';
import { expect, test } from 'vitest';
import { EventLoopBudget } from '../../src/netlink/index.ts';
import { runNow } from '../../src/netlink/operation.ts';
import type { DesiredRuleset, Ruleset } from '../../src/nftables/index.ts';
import { Settled } from '../../src/nftables/plan/settled.ts';

const budget = new EventLoopBudget();
const place = { family: 'ip', table: 't' } as const;

function desiredOf(): DesiredRuleset {
  return {
    tables: [{ family: 'ip', name: 't' }],
    chains: [{ ...place, name: 'c', hook: 'input', priority: 0, type: 'filter' }],
    sets: [{ ...place, name: 's', key: 'ipv4_addr', elements: ['10.0.0.1', { key: '10.0.0.2', comment: 'two' }] }],
    rules: [
      { ...place, chain: 'c', expressions: [{ cmp: { register: 1, op: 'eq', data: '0a000001' } }, { counter: {} }] },
      {
        ...place,
        chain: 'c',
        expressions: [{ immediate: { register: 0, data: { verdict: 'accept' } } }],
        comment: 'x',
      },
    ],
  };
}

function presentOf(): Ruleset {
  const chain = { ...place, name: 'c', handle: 1n };
  return {
    generation: 4,
    tables: [{ family: 'ip', name: 't' }],
    chains: [chain],
    sets: [],
    rules: [{ ...place, chain: 'c', handle: 2n, expressions: [] }],
    objects: [],
    flowtables: [],
  };
}

const settledOf = (present: Ruleset, desired: DesiredRuleset, port?: number) =>
  runNow(Settled.of(present, desired, port, budget));
const holds = (settled: Settled | undefined, present: Ruleset, desired: DesiredRuleset, port?: number) =>
  settled !== undefined && runNow(settled.holds(present, desired, port, budget));

test('a plan that had nothing to do holds for the same objects that were read, and for equal desired ones', () => {
  const present = presentOf();
  const settled = settledOf(present, desiredOf());
  expect(holds(settled, present, desiredOf())).toBe(true);
  expect(holds(settled, { ...present, generation: 9, rules: [...present.rules] }, desiredOf())).toBe(true);
});

test('it holds for no other object that was read, no other order, and no other port', () => {
  const present = presentOf();
  const settled = settledOf(present, desiredOf(), 7);
  expect(holds(settled, present, desiredOf(), 8)).toBe(false);
  expect(holds(settled, present, desiredOf(), 7)).toBe(true);
  for (const kind of ['tables', 'chains', 'rules'] as const) {
    expect(holds(settled, { ...present, [kind]: structuredClone(present[kind]) }, desiredOf(), 7)).toBe(false);
    expect(holds(settled, { ...present, [kind]: [] }, desiredOf(), 7)).toBe(false);
  }
  const { rules = [], ...others } = desiredOf();
  expect(holds(settled, present, { ...others, rules: [...rules].reverse() }, 7)).toBe(false);
});

/** All places in plain data, as paths. */
function placesIn(value: unknown, path: (string | number)[] = []): (string | number)[][] {
  if (typeof value !== 'object' || value === null) return [path];
  const inside = Object.entries(value).flatMap(([key, each]) =>
    placesIn(each, [...path, Array.isArray(value) ? Number(key) : key]),
  );
  return [path, ...inside];
}

test('it holds no more when anything in the desired ruleset was changed in place', () => {
  const places = placesIn(desiredOf()).filter(path => path.length > 0);
  const others = fc.constantFrom<unknown[]>('other', 17, 3n, null, undefined, -0, [], {}, { key: 1 }, Uint8Array.of(1));
  const property = fc.property(fc.constantFrom(...places), others, fc.boolean(), (path, other, isRemoved) => {
    const present = presentOf();
    const desired = desiredOf();
    const settled = settledOf(present, desired);
    expect(holds(settled, present, desired)).toBe(true);
    let at = desired as unknown as Record<string | number, unknown>;
    for (const key of path.slice(0, -1)) at = at[key] as Record<string | number, unknown>;
    const last = path.at(-1)!;
    const before = structuredClone(at[last]);
    if (isRemoved && Array.isArray(at)) at.splice(Number(last), 1);
    else if (isRemoved) delete at[last];
    else at[last] = other;
    const isSame =
      !isRemoved && typeof other === 'object' && other !== null && JSON.stringify(other) === JSON.stringify(before);
    expect(holds(settled, present, desired)).toBe(isSame);
  });
  fc.assert(property, { numRuns: 500 });
});

test('a field more is another ruleset, and objects of a class are not compared', () => {
  const present = presentOf();
  const settled = settledOf(present, desiredOf());
  const more = desiredOf();
  Object.assign(more.rules![0]!, { comment: undefined });
  expect(holds(settled, present, more)).toBe(false);
  const strange = desiredOf();
  Object.assign(strange.sets![0]!, { elements: new (class Elements {})() });
  expect(settledOf(present, strange)).toBeUndefined();
  expect(holds(settled, present, { ...desiredOf(), other: [] } as DesiredRuleset)).toBe(false);
});
