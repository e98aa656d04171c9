import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import fc from 'fast-check';
import { formatRuleset, type Statement, Transaction } from 'netsteer/nftables';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CORPUS, corpusExists, filesLike, readLines } from '../conformance/corpus.ts';
import { loadableFiles, loadFile, settled } from '../conformance/load.ts';
import { loadTexts } from '../conformance/nft.ts';
import { Place } from '../conformance/place.ts';
import { isLong, isRoot, kernelSuite } from '../support/where.ts';

/* All that is printed for nft 1.0.6, Debian's nft loads, and it is the same again. `npm run conformance -- load` tries all of it. */

const AS_DEBIAN = { version: '1.0.6' } as const;
const EVERY = isLong ? 1 : 12;
const RUNS = isLong ? 400 : 25;

let from: Place;
let to: Place;
if (isRoot) {
  beforeAll(() => {
    from = new Place();
    to = new Place();
  });
  afterAll(async () => {
    await from.close();
    await to.close();
  });
}

const recorded = corpusExists() ? loadableFiles() : [];
if (recorded.length === 0) console.log(`no recordings at ${CORPUS} (NETSTEER_CORPUS): none are loaded`);

kernelSuite('texts of recorded rulesets', () => {
  it.each(recorded.length > 0 ? recorded : ['none'])('are loaded by nft: %s', file => {
    if (file === 'none') {
      expect(existsSync(CORPUS)).toBe(false);
      return;
    }
    const { total, failures } = loadFile(from, to, file, EVERY);
    expect(total).toBeGreaterThan(0);
    expect(failures).toEqual([]);
  });
});

interface Recorded {
  family: string;
  json?: Statement[];
}

/** Statements that nft has listed, by family. */
function statementsOf(family: string): Statement[][] {
  if (!corpusExists()) return [[{ counter: null }], [{ accept: null }]];
  return filesLike(/^nft-.*-rules\.jsonl\.gz$/)
    .flatMap(file => readLines<Recorded>(file))
    .filter(one => one.family === family && one.json !== undefined)
    .map(({ json }) => json!);
}

kernelSuite('texts of generated rulesets', () => {
  it.each(['inet', 'ip', 'ip6'] as const)('are loaded by nft: %s', family => {
    const statements = statementsOf(family);
    const rule = fc.array(fc.nat(statements.length - 1), { minLength: 1, maxLength: 2 });
    const chain = fc.record({
      hook: fc.constantFrom('input', 'output', 'forward', 'prerouting', 'postrouting'),
      priority: fc.oneof(
        fc.integer({ min: -420, max: 420 }),
        fc.constantFrom(-300, -150, -100, -95, 0, 50, 90, 100, 110),
      ),
      policy: fc.constantFrom('accept', 'drop'),
      rules: fc.array(rule, { maxLength: 6 }),
    });
    let rules = 0;
    fc.assert(
      fc.property(fc.array(chain, { minLength: 1, maxLength: 4 }), chains => {
        from.empty();
        const at = { family, table: 't' } as const;
        const base = new Transaction().add({ table: { family, name: 't' } });
        for (const [i, { hook, priority, policy }] of chains.entries())
          base.add({ chain: { ...at, name: `c${i}`, type: 'filter', hook, priority, policy } as never });
        from.nft.sync.commit(base);
        for (const [i, { rules: wanted }] of chains.entries()) {
          for (const parts of wanted) {
            // Most joined ones contradict themselves, or are not for this hook.
            try {
              const joined = parts.flatMap(part => statements[part]!);
              from.nft.sync.commit(new Transaction().add({ rule: { ...at, chain: `c${i}`, statements: joined } }));
              rules++;
            } catch {}
          }
        }
        const ruleset = from.ruleset();
        const text = formatRuleset(ruleset, AS_DEBIAN);
        const [refusal] = loadTexts(to, [text]);
        if (refusal !== undefined) {
          // nft reads not all that it lists, and dies of some that it cannot list.
          const own = from.text();
          if (own !== '') expect(loadTexts(to, [own])[0], `${refusal}\n${text}`).toBeDefined();
          return;
        }
        const again = formatRuleset(to.ruleset(), AS_DEBIAN);
        if (settled(again) === settled(text)) return;
        const own = from.text();
        if (own === '') return;
        loadTexts(to, [own]);
        expect(settled(to.text()), `${text}\nbecame\n${again}`).not.toBe(settled(own));
      }),
      { numRuns: RUNS, ...(isLong ? {} : { seed: 20261130 }) },
    );
    expect(rules).toBeGreaterThan(RUNS);
  });
});

kernelSuite('reserved words of nft as names', () => {
  /** Every word in the project's own tables, and in nft's library: each as the name of everything. */
  const words = readFileSync(new URL('../../src/nft/data/reserved.ts', import.meta.url), 'utf8').match(
    /[a-z][a-z0-9-]*/g,
  )!;
  const candidates = [...new Set([...words, 'filter', 'nat', 'lo', 'eth0', '8021q', 'version', 'hash', 'vni', 'last'])];

  it('are printed so that nft loads the text, and unquoted wherever nft accepts them', () => {
    const texts = candidates.map((name, i) => {
      from.empty();
      const at = { family: 'ip', table: `t${i}` } as const;
      const add = (operation: object) => from.nft.sync.commit(new Transaction().add(operation as never));
      add({ table: { family: 'ip', name: `t${i}` } });
      add({ chain: { ...at, name: 'jumps' } });
      add({ chain: { ...at, name } });
      add({ set: { ...at, name, key: 'ipv4_addr' } });
      for (const object of ['counter', 'quota', 'limit', 'synproxy']) {
        const data = { counter: {}, quota: { bytes: 5n }, limit: { rate: 1n, unitSeconds: 1n }, synproxy: SYNPROXY }[
          object
        ]!;
        add({ [object]: { ...at, name, ...data } });
      }
      add({ rule: { ...at, chain: 'jumps', statements: [{ goto: { target: name } }] } });
      const load = { payload: { base: 'network', offset: 12, length: 4, register: 1 } };
      add({ rule: { ...at, chain: 'jumps', expressions: [load, { lookup: { set: name, sourceRegister: 1 } }] } });
      add({ rule: { ...at, chain: 'jumps', expressions: [{ objref: { type: 'quota', name } }] } });
      return formatRuleset(from.ruleset(), AS_DEBIAN);
    });
    expect(loadTexts(to, texts)).toEqual(texts.map(() => undefined));
    // What is a comment there, nft does not take bare.
    const bare = texts.map(text => text.replace(/^(\t*)# /gm, '$1'));
    const taken = loadTexts(to, bare);
    for (const [i, text] of texts.entries()) expect(taken[i] === undefined, text).toBe(!text.includes('# '));
  });

  it('are listed completely here', () => {
    const { stdout } = spawnSync('strings', ['-n', '2', '/usr/lib/x86_64-linux-gnu/libnftables.so.1'], {
      encoding: 'utf8',
    });
    const tokens = [...new Set([...stdout.matchAll(/^"([a-z][a-z0-9-]*)"$/gm)].map(([, word]) => word!))];
    const texts = tokens.map((name, i) => {
      from.empty();
      const at = { family: 'ip', table: `t${i}` } as const;
      const transaction = new Transaction().add({ table: { family: 'ip', name: `t${i}` } });
      transaction.add({ chain: { ...at, name } }).add({ counter: { ...at, name } });
      from.nft.sync.commit(transaction.add({ set: { ...at, name, key: 'ipv4_addr' } }));
      return formatRuleset(from.ruleset(), AS_DEBIAN);
    });
    expect(loadTexts(to, texts)).toEqual(texts.map(() => undefined));
  });
});

kernelSuite('a boolean', () => {
  /* nft writes four bytes of it up to 1.0.6 and one since; other programs write either, and masks. */
  it('of fib is printed without a prefix, which no nft reads, however many bytes are compared', () => {
    from.empty();
    const at = { family: 'ip', table: 't' } as const;
    const fib = { fib: { result: 'oif', flags: ['saddr', 'iif', 'present'], register: 1 } } as const;
    const rules = ['00', '01', '0000', '00000000', '01000000'].flatMap(data =>
      ['', 'ff', 'f0', '01', 'ff000000', '000000ff'].flatMap(mask => {
        const length = mask.length / 2;
        const masked = { bitwise: { sourceRegister: 1, register: 1, length, mask, xor: '00'.repeat(length) } };
        return { expressions: [fib, ...(mask === '' ? [] : [masked]), { cmp: { op: 'eq', register: 1, data } }] };
      }),
    );
    const transaction = new Transaction()
      .add({ table: { family: 'ip', name: 't' } })
      .add({ chain: { ...at, name: 'c', type: 'filter', hook: 'prerouting', priority: 0 } });
    for (const rule of rules) transaction.add({ rule: { ...at, chain: 'c', ...rule } as never });
    from.nft.sync.commit(transaction);
    const text = formatRuleset(from.ruleset(), AS_DEBIAN);
    expect(text.match(/fib saddr \. iif oif/g)).toHaveLength(rules.length);
    expect(text).not.toContain('/');
    // Bits of it can only be told: nft has no words for that.
    expect(text.match(/^\t\tfib saddr/gm)).toHaveLength(5);
    expect(text.match(/^\t\t# fib saddr .* & /gm)).toHaveLength(rules.length - 5);
    expect(loadTexts(to, [text])).toEqual([undefined]);
  });
});

const SYNPROXY = { maximumSegmentSize: 1460, windowScale: 7, flags: ['maximum-segment-size', 'window-scale'] };

describe('priorities', () => {
  it('have names for nft 1.0.6 only where it knows them', () => {
    const at = { family: 'ip', table: 't', type: 'nat', policy: 'accept' } as const;
    const chains = [
      { ...at, name: 'out', hook: 'output', priority: -100 },
      { ...at, name: 'in', hook: 'input', priority: 100 },
      { ...at, name: 'pre', hook: 'prerouting', priority: -95 },
      { ...at, name: 'post', hook: 'postrouting', priority: 100 },
    ];
    const ruleset = { tables: [{ family: 'ip', name: 't' }], chains } as never;
    const named = (version: '1.0.6' | '1.1.6') =>
      [...formatRuleset(ruleset, { version }).matchAll(/priority ([^;]+);/g)].map(([, priority]) => priority);
    expect(named('1.0.6')).toEqual(['-100', '100', 'dstnat + 5', 'srcnat']);
    expect(named('1.1.6')).toEqual(['dstnat', 'srcnat', 'dstnat + 5', 'srcnat']);
  });
});
