import { printable } from '../../errors.ts';
import type { TransactionOperation } from '../write/transaction.ts';
import { type Fields, textOf } from './content.ts';

const SIGNS: Partial<Record<TransactionOperation['verb'], string>> = {
  delete: '-',
  destroy: '-',
  flush: '-',
  replace: '~',
};
/** What a line says of an object besides its name. */
const SHOWN = ['type', 'hook', 'priority', 'policy', 'flags', 'comment'] as const;
const MANY = 8;

/**
 * Prints a plan as text for people, one operation a line: `+` adds, `~` changes, `-` removes.
 *
 *     + chain ip web prerouting type nat hook prerouting priority -100
 *     - rule ip web prerouting handle 7
 *     + rule ip web prerouting before handle 9: payload cmp counter redir
 * @example
 * console.log(formatPlan(await nft.plan({ tables: [] }, { comment: 'ours' })));
 */
export function formatPlan({ operations }: { operations: readonly TransactionOperation[] }): string {
  return operations.map(operation => `${printable(line(operation))}\n`).join('');
}

function line({ verb, kind, subject }: TransactionOperation): string {
  const object = (subject as Record<string, Fields>)[kind]!;
  const { family, table, chain, chainId, set, name, id, handle, position, expressions, elements } = object;
  // Adding a chain or table that is there changes it.
  const sign =
    SIGNS[verb] ?? (verb === 'add' && (kind === 'chain' || kind === 'table') && id === undefined ? '~' : '+');
  const parts = [sign, verb === 'flush' ? `rules of ${kind}` : kind, family, table];
  parts.push(
    chain ?? (chainId === undefined ? undefined : `#${chainId}`),
    set,
    name ?? (id === undefined ? undefined : `#${id}`),
  );
  if (verb !== 'delete' && kind !== 'rule' && kind !== 'element') {
    for (const field of SHOWN)
      if (object[field] !== undefined) parts.push(field, [object[field]].flat().map(plain).join(',') || 'none');
  }
  if (position !== undefined) parts.push('before handle', position);
  if (handle !== undefined) parts.push('handle', handle);
  let text = parts.filter(part => part !== undefined).join(' ');
  if (Array.isArray(expressions)) text += `: ${expressions.flatMap(one => Object.keys(one as object)).join(' ')}`;
  if (Array.isArray(elements)) text += `: ${shortList(elements)}`;
  return text;
}

function shortList(elements: readonly unknown[]): string {
  const shown = elements.slice(0, MANY).map(element => {
    const { key, data } = (
      typeof element === 'object' && element !== null && 'key' in element ? element : { key: element }
    ) as Fields;
    return data === undefined ? plain(key) : `${plain(key)} : ${plain(data)}`;
  });
  return elements.length > MANY ? `${shown.join(', ')}, ... (${elements.length})` : shown.join(', ');
}

function plain(value: unknown): string {
  if (typeof value === 'string') return value;
  if (Array.isArray(value)) return value.map(plain).join(' . ');
  const { from, to } = (value ?? {}) as Fields;
  return from !== undefined && to !== undefined ? `${plain(from)}-${plain(to)}` : textOf(value);
}
