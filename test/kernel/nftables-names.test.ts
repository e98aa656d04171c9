import { spawnSync } from 'node:child_process';
import fc from 'fast-check';
import {
  compileRule,
  formatRule,
  formatRuleset,
  type Ruleset,
  rulesetJson,
  type Statement,
  Transaction,
} from 'netsteer/nftables';
import { afterAll, expect, it } from 'vitest';
import { settled } from '../conformance/load.ts';
import { Place } from '../conformance/place.ts';
import { isLong, isRoot, kernelSuite } from '../support/where.ts';

/* Names that a container's root has chosen: the text of the listing, loaded by Debian's nft, makes nothing that is not there. */

const RUNS = isLong ? 2000 : 100;
/** `npm run test:long` tries new names each time. */
const SEED = isLong ? {} : { seed: 20261130 };
const AS_DEBIAN = { version: '1.0.6' } as const;

const FRAGMENTS = [
  ';',
  '; add table inet pwn; ',
  '\n}\n}\nadd table inet pwn\n',
  '{',
  '}',
  ' {}',
  '"',
  '" accept; add table inet pwn; "',
  '\\',
  '\\"',
  "'",
  '#',
  '$x',
  '$',
  '*',
  '\\*',
  '@s',
  '\n',
  '\r\n',
  '\t',
  '\u001b[2J',
  '\u202e',
  '\u0001',
  'é',
  '中文',
  ' ',
  'a',
  'web-1',
  '1',
  '.',
  '/',
  ':80',
  ',',
  '-',
  '=',
  '!',
  '&',
  'accept',
  'ip',
  'packets',
  'nh',
  'table',
  'include "/etc/passwd"',
  'pwn',
];
const KEYWORDS = [
  'accept',
  'drop',
  'ip',
  'set',
  'comment',
  'packets',
  'name',
  'nh',
  'll',
  'th',
  'type',
  'last',
  'destroy',
  'filter',
];

const cut = (text: string, bytes: number): string => {
  let short = text;
  while (Buffer.byteLength(short) > bytes) short = short.slice(0, -1);
  // Half of a pair of surrogates is no text.
  return Buffer.from(short).toString();
};

const hostile = (bytes: number) =>
  fc
    .oneof(
      {
        weight: 4,
        arbitrary: fc.array(fc.constantFrom(...FRAGMENTS), { minLength: 1, maxLength: 5 }).map(all => all.join('')),
      },
      { weight: 2, arbitrary: fc.constantFrom(...KEYWORDS) },
      { weight: 1, arbitrary: fc.string({ unit: 'binary', minLength: 1 }) },
      { weight: 1, arbitrary: fc.stringMatching(/^[a-z][a-z0-9_.-]{0,9}$/) },
    )
    .map(text => cut(text.replaceAll('\0', ''), bytes) || 'x');

const names = fc.record({
  table: hostile(60),
  chain: hostile(60),
  set: hostile(60),
  map: hostile(60),
  counter: hostile(60),
  quota: hostile(60),
  comment: hostile(100),
  prefix: hostile(100),
  device: hostile(15),
});
type Names = typeof names extends fc.Arbitrary<infer T> ? T : never;

const IN_SET: Statement = {
  match: { op: '==', left: { payload: { protocol: 'ip', field: 'saddr' } }, right: { set: ['1.1.1.1', '2.2.2.2'] } },
};

/** Every place where a name can stand. */
function everywhere({ table, chain, set, map, counter, quota, comment, prefix, device }: Names): Transaction {
  const at = { family: 'ip', table } as const;
  const rule = (statements: Statement[], said?: string) => ({
    rule: { ...at, chain: 'c', statements, ...(said !== undefined && { comment: said }) },
  });
  const raw = (expressions: object[]) => ({ rule: { ...at, chain: 'c', expressions: expressions as never } });
  const name = Buffer.from(device).toString('hex');
  const key = { payload: { base: 'network', offset: 12, length: 4, register: 1 } };
  return new Transaction()
    .add({ table: { family: 'ip', name: table, comment } })
    .add({ chain: { ...at, name: 'c', type: 'filter', hook: 'input', priority: 0 } })
    .add({ chain: { ...at, name: chain } })
    .add({ counter: { ...at, name: counter, comment } })
    .add({ quota: { ...at, name: quota, bytes: 1000n } })
    .add({ set: { ...at, name: set, key: 'ipv4_addr', comment, flags: ['dynamic'], elements: ['10.0.0.1'] } as never })
    .add({ map: { ...at, name: map, key: 'ipv4_addr', data: 'verdict' } as never })
    .add({ element: { ...at, set: map, elements: [{ key: '0a000001', data: { verdict: 'jump', chain } }] } as never })
    .add(rule([IN_SET, { jump: { target: chain } }], comment))
    .add(rule([{ goto: { target: chain } }]))
    .add(rule([{ log: { prefix, group: 1 } }, { accept: null }]))
    .add(rule([{ counter: null }], comment))
    .add(
      raw([{ meta: { key: 'iifname', register: 1 } }, { cmp: { register: 1, op: 'eq', data: name.padEnd(32, '0') } }]),
    )
    .add(raw([{ meta: { key: 'iifname', register: 1 } }, { cmp: { register: 1, op: 'eq', data: name } }]))
    .add(raw([{ objref: { type: 'counter', name: counter } }]))
    .add(raw([{ objref: { type: 'quota', name: quota } }]))
    .add(raw([key, { lookup: { set, sourceRegister: 1 } }]))
    .add(raw([key, { lookup: { set: map, sourceRegister: 1, register: 0 } }]))
    .add(raw([key, { dynset: { set, op: 'add', keyRegister: 1 } }]));
}

const identities = ({ tables, chains, sets, objects }: Ruleset): string[] =>
  [
    ...tables.map(({ family, name }) => [family, name]),
    ...chains.map(({ family, table, name }) => [family, table, 'chain', name]),
    ...sets
      .filter(({ flags }) => !flags?.includes('anonymous'))
      .map(({ family, table, name }) => [family, table, 'set', name]),
    ...objects.map(({ family, table, type, name }) => [family, table, type, name]),
  ].map(parts => JSON.stringify(parts));

/** Rules as what they do, without what the kernel numbers; comments are compared in the texts. */
const rulesOf = ({ rules }: Ruleset): string[] =>
  rules.map(({ family, table, chain, expressions }) =>
    JSON.stringify([family, table, chain, expressions], (key, value) =>
      key === 'counter' && typeof value === 'object' ? {} : typeof value === 'bigint' ? `${value}` : value,
    ).replace(/__(set|map)\d+/g, '__own'),
  );

/** All that is in the second is in the first, and rules are in their order. */
function isPartOf(made: Ruleset, given: Ruleset): void {
  const known = identities(given);
  expect(identities(made).filter(each => !known.includes(each))).toEqual([]);
  let at = 0;
  const wanted = rulesOf(given);
  for (const rule of rulesOf(made)) {
    at = wanted.indexOf(rule, at);
    expect(at, rule).toBeGreaterThanOrEqual(0);
    at++;
  }
}

const places = isRoot ? { from: new Place(), to: new Place() } : undefined;
afterAll(async () => {
  await places?.from.close();
  await places?.to.close();
});

/** Debian's nft with this input in the second place. */
function load(input: string, ...options: string[]) {
  const { to } = places!;
  to.empty();
  return to.netns.run(() => spawnSync('nft', [...options, '-f', '-'], { encoding: 'utf8', input }));
}

/** What the names make in the first place; undefined where two of them are the same for the kernel. */
function made(given: Names): Ruleset | undefined {
  const { from } = places!;
  from.empty();
  try {
    from.nft.sync.commit(everywhere(given));
  } catch (error) {
    // The chain that has the rules is one of them, or is called like another.
    expect(given.chain === 'c' || given.set === given.map, String(error)).toBe(true);
    return undefined;
  }
  return from.ruleset();
}

kernelSuite('hostile names', () => {
  it('in a text create the named objects or nothing', () => {
    fc.assert(
      fc.property(names, given => {
        const ruleset = made(given);
        if (ruleset === undefined) return;
        const text = formatRuleset(ruleset, AS_DEBIAN);
        const { status, stderr } = load(text);
        expect(stderr, text).toBe('');
        expect(status).toBe(0);
        const after = places!.to.ruleset();
        isPartOf(after, ruleset);
        expect(settled(formatRuleset(after, AS_DEBIAN)), text).toBe(settled(text));
      }),
      { numRuns: RUNS, ...SEED },
    );
  });

  it('in a rule create that rule or nothing', () => {
    fc.assert(
      fc.property(names, given => {
        const ruleset = made(given);
        if (ruleset === undefined) return;
        for (const rule of ruleset.rules) {
          const line = formatRule(rule, { ...AS_DEBIAN, sets: ruleset.sets });
          expect(line).not.toContain('\n');
          load(`table ip only {\n\tchain c {\n\t\t${line}\n\t}\n}\n`);
          const { tables, chains, rules, sets, objects } = places!.to.ruleset();
          expect(tables.filter(({ name }) => name !== 'only')).toEqual([]);
          expect(chains.filter(({ name }) => name !== 'c')).toEqual([]);
          expect(sets.filter(({ flags }) => !flags?.includes('anonymous'))).toEqual([]);
          expect(objects).toEqual([]);
          expect(rules.length).toBeLessThanOrEqual(1);
        }
      }),
      { numRuns: RUNS / 10, ...SEED },
    );
  });

  it('in JSON create the named objects or nothing', () => {
    fc.assert(
      fc.property(names, given => {
        const ruleset = made(given);
        if (ruleset === undefined) return;
        load(JSON.stringify(rulesetJson(ruleset, AS_DEBIAN)), '-j');
        const known = identities(ruleset);
        expect(identities(places!.to.ruleset()).filter(each => !known.includes(each))).toEqual([]);
      }),
      { numRuns: RUNS / 2, ...SEED },
    );
  });

  it('are rejected with ERR_NO_TEXT on request, by name', () => {
    const table = 'a; add table inet pwn; ';
    const from = places!.from;
    from.empty();
    from.nft.sync.commit(new Transaction().add({ table: { family: 'ip', name: table } }));
    const ruleset = from.ruleset();
    expect(formatRuleset(ruleset)).toBe(`# table ip ${table} {\n# }\n`);
    expect(() => formatRuleset(ruleset, { unwritable: 'refuse' })).toThrow(
      expect.objectContaining({ name: 'RangeError', code: 'ERR_NO_TEXT', path: ['table'], value: table }),
    );
    const { expressions } = compileRule({ family: 'ip', statements: [{ log: { prefix: '$x' } }] });
    expect(() => formatRule({ family: 'ip', expressions }, { unwritable: 'refuse' })).toThrow(
      expect.objectContaining({ name: 'RangeError', code: 'ERR_NO_TEXT' }),
    );
  });
});
