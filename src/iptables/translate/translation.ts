import type { Statement } from '../../nft/statements/registry.ts';
import type { Shown } from '../list/shown.ts';

/* The parts that translations of matches and targets are made of. */

/** The statements of an extension. A word: the option that nft has no words for. */
export type Translation = (shown: Shown) => Statement[] | string;

export const payload = (protocol: string, field: string) => ({ payload: { protocol, field } });
export const meta = (key: string) => ({ meta: { key } });
export const ct = (key: string, dir?: string) => ({ ct: dir === undefined ? { key } : { key, dir } });
export const exthdr = (name: string, field: string) => ({ exthdr: { name, field } });

export const match = (left: unknown, right: unknown, op: string = '==') =>
  ({ match: { op, left, right } }) as Statement;

/** One value of a list stands by itself. */
export const list = (values: readonly unknown[]): unknown => (values.length === 1 ? values[0] : values);

export const number = (text: string): number | bigint => {
  const big = BigInt(text);
  return big <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(big) : big;
};

/** `1`, `1:9` */
export function span(text: string, separator = ':', read: (part: string) => unknown = number): unknown {
  const [first = '', last] = text.split(separator);
  return last === undefined || last === first ? read(first) : { range: [read(first), read(last)] };
}

export const op = (shown: Shown, option: string): string => (shown.inverted(option) ? '!=' : '==');

/** One option as one comparison. */
export const one =
  (option: string, left: unknown | ((shown: Shown) => unknown), read: (text: string) => unknown = span): Translation =>
  shown => {
    const asked = typeof left === 'function' ? (left as (shown: Shown) => unknown)(shown) : left;
    return shown.has(option) ? [match(asked, read(shown.text(option)), op(shown, option))] : [];
  };

/** Several options, each of which has words or not. */
export function all(parts: Readonly<Record<string, Translation>>): Translation {
  return shown => {
    const found: Statement[] = [];
    for (const name of shown.names) {
      const part = parts[name];
      const statements = part?.(shown) ?? name;
      if (typeof statements === 'string') return statements;
      found.push(...statements);
    }
    return found;
  };
}

export const silent: Translation = () => [];
