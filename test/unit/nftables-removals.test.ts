import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { compileDocument } from '../../src/nftables/commands.ts';
import { decodeMessage, encodeMessage, Transaction } from '../../src/nftables/index.ts';
import { removesTable } from '../support/rule-removals.ts';

/** What is in there with any chance, so that each combination of what names a rule comes up. */
const some = <T>(value: fc.Arbitrary<T>) => fc.option(value, { nil: undefined });
const handle = fc.bigInt({ min: 0n, max: 9n });
const number = fc.nat(9);
const name = fc.constantFrom('a', 'b', '');
const rule = fc.record({
  family: fc.constantFrom('ip', 'inet', 'bridge'),
  table: fc.constant('t'),
  chain: some(name),
  chainId: some(number),
  handle: some(handle),
  position: some(handle),
  positionId: some(number),
  index: some(number),
  id: some(number),
  comment: some(fc.constant('x')),
  expressions: some(fc.constant([{ counter: {} }])),
});
const place = fc.record({ family: fc.constant('ip'), table: some(name), name: some(name), handle: some(handle) });
const subject = fc.oneof(
  rule.map(object => ({ rule: object })),
  place.map(object => ({ chain: object })),
  fc.record({ family: fc.constant('ip'), name: some(name) }).map(object => ({ table: object })),
);
/** Attributes without a field: of the rule itself, and of the nest that its comment is in, whose number 2 is no chain. */
const unknown = fc.array(
  fc.record(
    { type: fc.constantFrom(2, 200), bytes: fc.constant('6100'), in: fc.constant('NFTNL_UDATA_RULE') },
    { requiredKeys: ['type', 'bytes'] },
  ),
  { minLength: 1, maxLength: 2 },
);
const VERBS = ['add', 'create', 'insert', 'replace', 'delete', 'destroy', 'flush', 'rename'] as const;

/** The messages of what could be written of it. */
function messagesOf(operations: readonly (readonly [(typeof VERBS)[number], object])[]): Uint8Array[] {
  const transaction = new Transaction();
  for (const [verb, object] of operations) {
    try {
      (transaction[verb] as (object: object) => void)(object);
    } catch (error) {
      if (!(error instanceof TypeError || error instanceof RangeError)) throw error;
    }
  }
  return bytesOf(transaction);
}

function bytesOf(transaction: Transaction): Uint8Array[] {
  const encoded = transaction.encode();
  return Array.from({ length: encoded.messages.length }, (_, i) => encoded.bytesOf(encoded.messages.at(i)!));
}

describe('messages that remove all rules of a table', () => {
  it('are sent by no other operation than the one for it', () => {
    let removals = 0;
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.constantFrom(...VERBS), subject), { maxLength: 8 }), operations => {
        for (const message of messagesOf(operations)) {
          expect(removesTable(message)).toBe(false);
          const { type, object } = decodeMessage(message);
          if (type !== 'delrule' && type !== 'destroyrule') continue;
          removals++;
          // The whole table, only by a flush of it.
          if (object.chain === undefined)
            expect(operations.some(([verb, each]) => verb === 'flush' && 'table' in each)).toBe(true);
        }
      }),
      { numRuns: 2000 },
    );
    expect(removals).toBeGreaterThan(100);
  });

  it("are sent by no other command of nft's JSON", () => {
    const command = fc.tuple(
      fc.constantFrom('add', 'insert', 'replace', 'create', 'delete', 'destroy', 'flush'),
      subject,
    );
    fc.assert(
      fc.property(fc.array(command, { maxLength: 5 }), commands => {
        const json = commands.map(([verb, object]) => ({
          [verb]: JSON.parse(JSON.stringify(object, (_, value) => (typeof value === 'bigint' ? Number(value) : value))),
        }));
        let transaction: Transaction;
        try {
          ({ transaction } = compileDocument({ nftables: json } as never) as { transaction: Transaction });
        } catch (error) {
          expect(error).toBeInstanceOf(Error);
          return;
        }
        for (const message of bytesOf(transaction)) expect(removesTable(message)).toBe(false);
      }),
      { numRuns: 2000 },
    );
  });

  it('are not encoded from any single object: rejects a missing field with ERR_MISSING', () => {
    fc.assert(
      fc.property(fc.constantFrom('delrule', 'destroyrule'), rule, some(unknown), (type, object, more) => {
        const { family: _, index: __, ...written } = object;
        const rest = { ...written, ...(more !== undefined && { unknown: more }) };
        let bytes: Uint8Array;
        try {
          bytes = encodeMessage({ type: type as 'delrule', family: 'ip', object: rest });
        } catch (error) {
          expect(error).toMatchObject({ code: 'ERR_MISSING', attribute: 'object.chain' });
          expect(rest.chain).toBeUndefined();
          return;
        }
        expect(removesTable(bytes)).toBe(false);
      }),
      { numRuns: 2000 },
    );
  });
});

describe('the ports of redir and masq', () => {
  it('are written with their flag, whatever other flags there are', () => {
    const flag = fc.oneof(
      fc.constantFrom('random', 'persistent', 'fully-random', 'ports-specified', 'map-addresses'),
      fc.integer({ min: 1, max: 0x7f }).map(bits => bits & 0x7f),
    );
    const fields = fc.record({
      portRegister: some(fc.constant(1)),
      flags: some(fc.uniqueArray(flag, { maxLength: 3 })),
    });
    fc.assert(
      fc.property(
        fc.constantFrom('redir', 'masq'),
        fields,
        fc.constantFrom('add', 'insert', 'replace'),
        (kind, given, verb) => {
          const expressions = [{ immediate: { register: 1, data: '1f90' } }, { [kind]: given }];
          const transaction = new Transaction();
          const object = {
            family: 'ip',
            table: 't',
            chain: 'c',
            expressions,
            ...(verb === 'replace' && { handle: 5n }),
          };
          (transaction[verb as 'add'] as (object: object) => void)({ rule: object });
          const [message] = bytesOf(transaction);
          const written = decodeMessage(message!).object.expressions as Record<string, { flags?: string[] }>[];
          const { flags } = written[1]![kind]!;
          // Of redir without flags the kernel says so itself.
          const implied = kind === 'redir' && given.flags === undefined;
          if (given.portRegister !== undefined && !implied) expect(flags).toContain('ports-specified');
          else if (given.flags === undefined) expect(flags).toBeUndefined();
        },
      ),
      { numRuns: 1000 },
    );
  });
});
