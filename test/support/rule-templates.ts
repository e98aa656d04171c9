import { formatIPv4, formatIPv6, parseIPv4, parseIPv6 } from '../../src/codec/index.ts';
import { isArgumentError } from '../../src/errors.ts';
import {
  type CompileContext,
  compileRule,
  type Family,
  type Statement,
  Transaction,
} from '../../src/nftables/index.ts';

/* Compares rules that are copies of a template with the same rules as the compiler makes them. */

/** Returns the statements with other constants. `next` returns a number from 0 to 2^32 - 1; one in `stays` constants stays as it is. */
export function withOtherConstants(json: unknown, next: () => number, stays = 4): unknown {
  if (Array.isArray(json)) return json.map(each => withOtherConstants(each, next, stays));
  if (typeof json === 'number') return isKept(next, stays) ? json : otherNumber(json, next);
  if (typeof json === 'string') return isKept(next, stays) ? json : otherText(json, next);
  if (typeof json !== 'object' || json === null) return json;
  return Object.fromEntries(Object.entries(json).map(([key, value]) => [key, withOtherConstants(value, next, stays)]));
}

const isKept = (next: () => number, stays: number): boolean => next() % stays === 0;

/** Numbers that something may depend on, and any others. */
const NUMBERS = [0, 1, 6, 17, 24, 32, 80, 255, 256, 0x800, 0x86dd, 65_535, 65_536, 0x7fffffff, 0x80000000, 0xffffffff];

function otherNumber(number: number, next: () => number): number {
  switch (next() % 4) {
    case 0:
      return NUMBERS[next() % NUMBERS.length]!;
    case 1:
      return next();
    case 2:
      return next() & 0xffff;
    default:
      return number + 1;
  }
}

const byte = (next: () => number): number => [0, 1, 127, 255, next() & 255][next() % 5]!;

function otherText(text: string, next: () => number): string {
  if (parseIPv4(text) !== undefined) return formatIPv4(Uint8Array.from({ length: 4 }, () => byte(next)));
  if (text.includes(':') && parseIPv6(text) !== undefined)
    return formatIPv6(Uint8Array.from({ length: 16 }, () => byte(next)));
  return text;
}

/** What differs between rules that one transaction encodes and the same rules alone; undefined if nothing does. */
export function templateDifference(
  rules: readonly Statement[][],
  family: Family,
  version: '1.1.6' | '1.0.6' = '1.1.6',
): string | undefined {
  const all = new Transaction();
  all.surround({ version });
  for (const statements of rules) {
    const alone = outcome(() => aloneOf(statements, family, { version }));
    if (alone === undefined) continue;
    const before = all.length;
    const together = outcome(() => {
      all.add({ rule: { family, table: 't', chain: 'c', statements } });
      return lastOf(all, before);
    });
    if (alone !== together) return `${JSON.stringify(statements)}\n  alone    ${alone}\n  together ${together}`;
  }
  return undefined;
}

function outcome(work: () => string | undefined): string | undefined {
  try {
    return work();
  } catch (error) {
    if (isArgumentError(error)) return error.message.replace(/^(rule\.)?statements/, '');
    throw error;
  }
}

/** The message of a rule whose expressions the compiler made. Undefined if it brings sets with it, or asks for the namespace's. */
function aloneOf(statements: Statement[], family: Family, context: CompileContext): string | undefined {
  let asks = false;
  const ask = () => {
    asks = true;
    return undefined;
  };
  try {
    const { expressions, sets } = compileRule({ family, statements }, { ...context, sets: ask, interfaces: ask });
    if (sets !== undefined) return undefined;
    const transaction = new Transaction().add({ rule: { family, table: 't', chain: 'c', expressions } });
    return lastOf(transaction, 0);
  } catch (error) {
    if (asks) return undefined;
    throw error;
  }
}

/** The message of an operation, but for its number. */
function lastOf(transaction: Transaction, operation: number): string {
  const encoded = transaction.encode();
  const bytes = Buffer.from(encoded.bytesOf(encoded.messages.at(operation)!));
  bytes.fill(0, 6, 12);
  return bytes.toString('hex');
}
