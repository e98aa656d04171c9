import fc from 'fast-check';
import { type Expression, encodeMessage, type RuleEntry } from 'netsteer/nftables';
import { describe, expect, it } from 'vitest';
import { sourceOf } from '../../src/codec/index.ts';
import { type Message, messagesIn } from '../../src/netlink/index.ts';
import { readObject } from '../../src/nf_tables/message.ts';
import { RulesetMemory } from '../../src/nftables/read/dump-memory.ts';

interface Told {
  handle: number;
  comment: string;
  packets: number;
  rate: number;
}

const message = ({ handle, comment, packets, rate }: Told): Message => {
  const expressions: Expression[] = [
    { counter: { packets: BigInt(packets), bytes: 60n * BigInt(packets) } },
    { limit: { rate: BigInt(rate), unitSeconds: 1n } },
  ];
  const rule = { table: 't', chain: 'c', handle: BigInt(handle), comment, expressions };
  const bytes = encodeMessage({ type: 'newrule', family: 'ip', object: rule });
  return [...messagesIn(sourceOf(bytes))][0]!;
};

/** What a memory gives for one dump, and how many messages it decoded. */
function read(memory: RulesetMemory, dump: readonly Told[]): { rules: RuleEntry[]; decoded: number; isSame: boolean } {
  const { rule } = memory.kinds;
  let decoded = 0;
  rule.begin();
  const rules = dump.map(told =>
    rule.read(message(told), each => {
      decoded++;
      return readObject('newrule', each, undefined);
    }),
  ) as RuleEntry[];
  return { rules, decoded, isSame: rule.end() };
}

const fresh = (told: Told) => readObject('newrule', message(told), undefined);
const rule = (handle: number, more: Partial<Told> = {}): Told => ({
  handle,
  comment: 'a',
  packets: 1,
  rate: 1,
  ...more,
});

describe('the memory of a dump', () => {
  it('gives the same objects for the same messages, and decodes none of them', () => {
    const memory = new RulesetMemory();
    const dump = [rule(1), rule(2), rule(3)];
    const first = read(memory, dump);
    const second = read(memory, dump);
    expect([first.decoded, second.decoded]).toEqual([3, 0]);
    expect([first.isSame, second.isSame]).toEqual([false, true]);
    for (const [i, each] of second.rules.entries()) expect(each).toBe(first.rules[i]);
  });

  it('knows a rule whose counter has counted, and none of which anything else has changed', () => {
    const memory = new RulesetMemory();
    const { rules } = read(memory, [rule(1), rule(2)]);
    const counted = read(memory, [rule(1, { packets: 2 ** 40 }), rule(2, { packets: 0 })]);
    expect(counted.decoded).toBe(0);
    expect(counted.rules[0]).toBe(rules[0]);
    expect(read(memory, [rule(1, { rate: 2 }), rule(2)]).decoded).toBe(1);
    expect(read(memory, [rule(1, { rate: 2 }), rule(2, { comment: 'b' })]).decoded).toBe(1);
    expect(read(memory, [rule(1, { rate: 2 }), rule(2, { comment: 'bb' })]).decoded).toBe(1);
  });

  it('decodes one rule for each that came between the others, and at most one behind each that went', () => {
    const memory = new RulesetMemory();
    const dump = Array.from({ length: 100 }, (_, i) => rule(i));
    read(memory, dump);
    expect(read(memory, [...dump.slice(0, 50), rule(200), ...dump.slice(50)]).decoded).toBe(1);
    expect(read(memory, [...dump.slice(0, 20), ...dump.slice(60)]).decoded).toBe(1);
    expect(read(memory, [...dump.slice(60), ...dump.slice(0, 20)]).decoded).toBeLessThanOrEqual(2);
  });

  it('gives what a reading without it gives, whatever happens in between', () => {
    const told = fc.record({
      handle: fc.nat(9),
      comment: fc.constantFrom('a', 'b', 'cc'),
      packets: fc.nat(3),
      rate: fc.integer({ min: 1, max: 2 }),
    });
    const dumps = fc.array(fc.uniqueArray(told, { selector: each => each.handle, maxLength: 8 }), {
      minLength: 2,
      maxLength: 6,
    });
    const withoutCounters = (each: object) =>
      JSON.stringify(each, (key, value: unknown) =>
        key === 'counter' ? undefined : typeof value === 'bigint' ? `${value}` : value,
      );
    fc.assert(
      fc.property(dumps, all => {
        const memory = new RulesetMemory();
        for (const dump of all)
          expect(read(memory, dump).rules.map(withoutCounters)).toEqual(dump.map(fresh).map(withoutCounters));
      }),
    );
  });

  it('forgets a dump that was given up', () => {
    const memory = new RulesetMemory();
    read(memory, [rule(1), rule(2)]);
    memory.kinds.rule.begin();
    memory.kinds.rule.read(message(rule(3)), each => readObject('newrule', each, undefined));
    expect(read(memory, [rule(1), rule(2)])).toMatchObject({ decoded: 0, isSame: true });
  });
});
