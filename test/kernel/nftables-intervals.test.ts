import { spawnSync } from 'node:child_process';
import fc from 'fast-check';
import { BatchError } from 'netsteer';
import {
  type ElementKey,
  type JsonCommand,
  type NewSet,
  type Nftables,
  Transaction,
  type WireElement,
} from 'netsteer/nftables';
import { describe, expect, test } from 'vitest';
import { freshNamespaces, nft, other, otherNamespaces, there } from '../support/fresh-namespace.ts';
import {
  type Box,
  type Dimension,
  IPV4,
  IPV6,
  last,
  meets,
  PORT,
  type Refusal,
  type Step,
  same,
  sorted,
  after as stateAfter,
  steps,
  textOf,
} from '../support/interval-model.ts';
import { kernelSuite } from '../support/where.ts';

/* Sets of ranges: whatever is added and deleted, the kernel has what a plain list of ranges says, and so it has by nft. */

freshNamespaces();
otherNamespaces();

const T = { family: 'ip', table: 't' } as const;
const S = { ...T, set: 's' } as const;
const KINDS: Record<string, Dimension[]> = {
  addresses: [IPV4],
  ports: [PORT],
  'IPv6 addresses': [IPV6],
  'addresses and ports': [IPV4, PORT],
};
const typeOf = (dimensions: readonly Dimension[]) =>
  dimensions.map(({ type }) => type).join(' . ') as NewSet['key'] & string;

type Form = 'values' | 'json' | 'wire';

const asValue = (box: Box, dimensions: readonly Dimension[]): ElementKey => {
  const parts = box.map(([from, to], i) => {
    const { value } = dimensions[i]!;
    return from === to ? value(from) : { from: value(from), to: value(to) };
  });
  return parts.length === 1 ? parts[0]! : parts;
};

const jsonOf = (box: Box, dimensions: readonly Dimension[]): unknown => {
  const parts = box.map(([from, to], i) => {
    const { value } = dimensions[i]!;
    return from === to ? value(from) : { range: [value(from), value(to)] };
  });
  return parts.length === 1 ? parts[0] : { concat: parts };
};

const hex = (number: bigint, { bits }: Dimension): string => number.toString(16).padStart(bits / 4, '0');

/** In the kernel's own form, the end before its beginning: the order does not count. */
function wireOf(box: Box, dimensions: readonly Dimension[]): WireElement[] {
  const whole = (side: 0 | 1) => box.map((span, i) => hex(span[side], dimensions[i]!).padEnd(8, '0')).join('');
  if (box.length > 1) return [{ key: whole(0), keyEnd: whole(1) }];
  const [[from, to]] = box as [Box[0]];
  const [dimension] = dimensions as [Dimension];
  if (to === last(dimension)) return [{ key: hex(from, dimension), userdataFlags: ['open-interval'] }];
  return [{ key: hex(to + 1n, dimension), flags: ['interval-end'] }, { key: hex(from, dimension) }];
}

function commit(handle: Nftables, transaction: readonly Step[], dimensions: readonly Dimension[], form: Form): void {
  if (form === 'json') {
    const nftables = transaction.map((step): JsonCommand => {
      if (step === 'flush') return { flush: { set: { ...T, name: 's' } } };
      const element = { ...T, name: 's', elem: step.boxes.map(box => jsonOf(box, dimensions)) };
      return { [step.verb]: { element } } as unknown as JsonCommand;
    });
    handle.sync.apply({ nftables });
    return;
  }
  const written = new Transaction();
  for (const step of transaction) {
    if (step === 'flush') {
      written.flush({ set: { ...T, name: 's' } });
      continue;
    }
    if (form === 'values')
      written[step.verb]({ element: { ...S, elements: step.boxes.map(box => asValue(box, dimensions)) } });
    // Marks of ranges that overlap, in one list, say nothing: each has a list of its own.
    else for (const box of step.boxes) written[step.verb]({ element: { ...S, elements: wireOf(box, dimensions) } });
  }
  handle.sync.commit(written);
}

function outcome(run: () => void): Refusal | 'done' {
  try {
    run();
    return 'done';
  } catch (error) {
    const [first] = error instanceof BatchError ? error.failures : [error as { code: string }];
    const { code } = first!;
    const meaning: Record<string, Refusal> = { ERR_OVERLAP: 'overlap', ENOENT: 'missing', EEXIST: 'exists' };
    if (meaning[code] === undefined) throw error;
    return meaning[code];
  }
}

/** What packets match, by the kernel's own marks: the greatest that is not behind a key is a beginning, or it is not in the set. */
function stateOf(elements: readonly WireElement[], dimensions: readonly Dimension[]): Box[] {
  if (dimensions.length > 1) {
    return elements.map(({ key, keyEnd }) => {
      let at = 0;
      return dimensions.map(({ bits }) => {
        const [start, end] = [at, at + bits / 4];
        at += Math.ceil(bits / 32) * 8;
        return [
          BigInt(`0x${(key as string).slice(start, end)}`),
          BigInt(`0x${(keyEnd as string).slice(start, end)}`),
        ] as const;
      });
    });
  }
  const marks = elements
    .map(({ key, flags }) => ({ key: BigInt(`0x${key}`), end: flags !== undefined }))
    .sort((a, b) => (a.key !== b.key ? (a.key < b.key ? -1 : 1) : Number(b.end) - Number(a.end)));
  const found: Box[] = [];
  let begun: bigint | undefined;
  for (const { key, end } of marks) {
    if (begun !== undefined) found.push([[begun, key - 1n]]);
    begun = end ? undefined : key;
  }
  if (begun !== undefined) found.push([[begun, last(dimensions[0]!)]]);
  return found;
}

const elementsOf = (handle: Nftables, table = 't') => handle.sync.elements({ family: 'ip', table, name: 's' });

function made(dimensions: readonly Dimension[], autoMerge: boolean): Transaction {
  return new Transaction()
    .destroy({ table: { family: 'ip', name: 't' } })
    .add({ table: { family: 'ip', name: 't' } })
    .add({ set: { ...T, name: 's', key: typeOf(dimensions), flags: ['interval'], autoMerge } });
}

describe.each(Object.keys(KINDS))('sets of %s', name => {
  const dimensions = KINDS[name]!;
  const kinds = dimensions.length > 1 ? [false] : [false, true];

  for (const merges of kinds) {
    const title = merges ? 'that merge' : 'that keep ranges apart';
    kernelSuite(title, () => {
      test('hold what a list of ranges says after each transaction, and do not change by rejected ones', () => {
        const forms = fc.constantFrom<Form>(
          ...(merges ? (['values', 'json'] as const) : (['values', 'json', 'wire'] as const)),
        );
        const transactions = fc.array(fc.tuple(steps(dimensions, ['add', 'create', 'delete']), forms), {
          maxLength: 8,
        });
        fc.assert(
          fc.property(transactions, list => {
            nft.sync.commit(made(dimensions, merges));
            let state: Box[] = [];
            for (const [transaction, form] of list) {
              const next = stateAfter(state, transaction, merges);
              const found = outcome(() => commit(nft, transaction, dimensions, form));
              // Of several reasons, the element's own comes first.
              if (next === 'exists') expect(['exists', 'overlap']).toContain(found);
              else if (typeof next === 'string') expect(found).toBe(next);
              else {
                expect(found).toBe('done');
                state = next;
              }
              expect(sorted(stateOf(elementsOf(nft), dimensions))).toEqual(sorted(state));
            }
          }),
          { numRuns: 150 },
        );
      });

      test('equal those that nft makes', () => {
        const transactions = fc.array(steps(dimensions, ['add', 'delete']), { minLength: 1, maxLength: 5 });
        fc.assert(
          fc.property(fc.array(transactions, { minLength: 30, maxLength: 30 }), sequences => {
            nft.sync.commit(new Transaction().flush({ ruleset: {} }));
            there.sync.commit(new Transaction().flush({ ruleset: {} }));
            const wanted: { table: string; state: Box[]; text: string }[] = [];
            let text = '';
            const type = typeOf(dimensions);
            const set = `{ type ${type}; flags interval; ${merges ? 'auto-merge; ' : ''}}`;
            for (const [i, sequence] of sequences.entries()) {
              const table = `t${i}`;
              let state: Box[] = [];
              let lines = `add table ip ${table}\nadd set ip ${table} s ${set}\n`;
              for (const transaction of sequence) {
                const next = stateAfter(state, transaction, merges);
                if (!isAsNft(state, transaction, merges)) continue;
                const commands = transaction.map(step =>
                  step === 'flush'
                    ? `flush set ip ${table} s`
                    : `${step.verb} element ip ${table} s { ${step.boxes.map(box => textOf(box, dimensions)).join(', ')} }`,
                );
                lines += `${commands.join('; ')}\n`;
                if (typeof next !== 'string') state = next;
              }
              text += lines;
              wanted.push({ table, state, text: lines });
            }
            other.run(() => spawnSync('nft', ['-i'], { input: text }));
            for (const { table, state, text: lines } of wanted)
              expect(sorted(stateOf(elementsOf(there, table), dimensions)), lines).toEqual(sorted(state));
          }),
          { numRuns: 2, endOnFailure: true },
        );
      });
    });
  }
});

/**
 * What nft 1.0.6 does as the model says: it deletes no part of a range (later versions do), lets a list delete an element twice, and leaves the overlaps
 * of concatenations to the kernel, which does not see all of them.
 */
function isAsNft(state: readonly Box[], transaction: readonly Step[], merges: boolean): boolean {
  let now: Box[] | Refusal = [...state];
  // Of several commands on a set that merges it loses some; that a set is emptied it sees before all else.
  if (transaction.length > 1 && (merges || transaction.includes('flush'))) return false;
  // What comes and goes in one transaction it counts in its own way.
  const named = transaction.flatMap(step => (step === 'flush' ? [] : step.boxes));
  const comesAndGoes = transaction.some(step => step !== 'flush' && step.verb === 'delete') && transaction.length > 1;
  if (comesAndGoes && named.some((box, i) => named.some((other, j) => i < j && meets(box, other)))) return false;
  for (const step of transaction) {
    if (typeof now === 'string') return true;
    const there: Box[] = now;
    now = stateAfter(there, [step], merges);
    if (step === 'flush') continue;
    const { verb, boxes } = step;
    if (boxes[0]!.length > 1 && typeof now === 'string') return false;
    if (verb !== 'delete') continue;
    if (boxes.some((box, i) => boxes.some((other, j) => i < j && meets(box, other)))) return false;
    if (merges && !boxes.every(box => there.some(other => same(other, box)))) return false;
  }
  return true;
}
