import { printable } from '../../errors.ts';
import type { Chain } from '../chain.ts';
import type { Expression } from '../expression.ts';
import type { Ruleset } from '../listing.ts';
import type { RuleEntry } from '../rule.ts';
import { decompileRule, type UncompiledStatement } from './decompile.ts';
import type { LeftSide, Match, RightSide, Statement } from './statement.ts';

/** nft prints a priority by the name that is near: 'dstnat', 'filter + 10'. */
const PRIORITIES: Record<string, number> = {
  raw: -300,
  mangle: -150,
  dstnat: -100,
  filter: 0,
  security: 50,
  srcnat: 100,
};
const BRIDGE_PRIORITIES: Record<string, number> = { dstnat: -300, filter: -200, out: 100, srcnat: 300 };

/**
 * The text of `nft list ruleset`, for people to read. An expression that has no statement here is printed as its object, in brackets, so that
 * nothing is left out. Names may come from a container: control characters are escaped.
 */
export function formatRuleset(ruleset: Ruleset): string {
  const lines: string[] = [];
  for (const table of ruleset.tables) {
    lines.push(`table ${table.family} ${table.name} {`);
    if (table.comment !== undefined) lines.push(`\tcomment ${quote(table.comment)}`);
    const mine = (object: { family: string; table: string }) =>
      object.family === table.family && object.table === table.name;
    for (const [i, chain] of ruleset.chains.filter(mine).entries()) {
      if (i > 0) lines.push('');
      lines.push(`\tchain ${chain.name} {`);
      if (chain.comment !== undefined) lines.push(`\t\tcomment ${quote(chain.comment)}`);
      if (chain.hook !== undefined) lines.push(`\t\t${formatHook(chain)}`);
      for (const rule of ruleset.rules)
        if (mine(rule) && rule.chain === chain.name) lines.push(`\t\t${formatRule(rule)}`);
      lines.push('\t}');
    }
    lines.push('}');
  }
  return lines.length === 0 ? '' : `${lines.map(printableLine).join('\n')}\n`;
}

/** One rule as nft prints it. */
export function formatRule(rule: Pick<RuleEntry, 'family' | 'expressions' | 'comment'>): string {
  const parts = decompileRule(rule).map(formatStatement);
  if (rule.comment !== undefined) parts.push(`comment ${quote(rule.comment)}`);
  return parts.join(' ');
}

function formatHook({ type, hook, priority, policy, device, devices, family }: Chain): string {
  const list = devices ?? (device === undefined ? [] : [device]);
  const on =
    list.length === 0
      ? ''
      : list.length === 1
        ? ` device "${list[0]}"`
        : ` devices = { ${list.map(d => `"${d}"`).join(', ')} }`;
  const names = family === 'bridge' ? BRIDGE_PRIORITIES : PRIORITIES;
  const near = Object.keys(names).find(
    name =>
      Math.abs(Number(priority) - names[name]!) <= 10 &&
      !(name === 'dstnat' && hook === 'output' && family !== 'bridge'),
  );
  const distance = near === undefined ? 0 : Number(priority) - names[near]!;
  const shown =
    near === undefined
      ? String(priority)
      : `${near}${distance === 0 ? '' : distance > 0 ? ` + ${distance}` : ` - ${-distance}`}`;
  return `type ${type} hook ${hook}${on} priority ${shown}; policy ${policy ?? 'accept'};`;
}

function formatStatement(statement: Statement | UncompiledStatement): string {
  if ('expression' in statement) return `[ ${formatExpression(statement.expression)} ]`;
  if ('match' in statement) return formatMatch(statement.match);
  if ('counter' in statement)
    return `counter packets ${statement.counter?.packets ?? 0} bytes ${statement.counter?.bytes ?? 0}`;
  if ('log' in statement) {
    const { prefix, group, snaplen, 'queue-threshold': threshold } = statement.log ?? {};
    const parts = ['log'];
    if (prefix !== undefined) parts.push(`prefix ${quote(prefix)}`);
    if (group !== undefined) parts.push(`group ${group}`);
    if (snaplen !== undefined) parts.push(`snaplen ${snaplen}`);
    if (threshold !== undefined) parts.push(`queue-threshold ${threshold}`);
    return parts.join(' ');
  }
  if ('redirect' in statement) {
    const { port, flags = [] } = statement.redirect ?? {};
    const to = port === undefined ? '' : ` to :${typeof port === 'number' ? port : port.range.join('-')}`;
    const list = typeof flags === 'string' ? [flags] : flags;
    return `redirect${to}${list.length > 0 ? ` ${list.join(',')}` : ''}`;
  }
  if ('jump' in statement) return `jump ${statement.jump.target}`;
  if ('goto' in statement) return `goto ${statement.goto.target}`;
  return Object.keys(statement)[0]!;
}

function formatMatch({ op, left, right }: Match): string {
  return `${formatLeft(left)} ${op === '==' ? '' : `${op} `}${formatRight(left, right)}`;
}

function formatLeft(left: LeftSide): string {
  if ('payload' in left) return `${left.payload.protocol} ${left.payload.field}`;
  // nft needs the word only where the key alone would mean something else.
  const { key } = left.meta;
  return ['iif', 'oif', 'iifname', 'oifname', 'skuid', 'skgid'].includes(key) && !key.startsWith('sk')
    ? key
    : `meta ${key}`;
}

function formatRight(left: LeftSide, right: RightSide): string {
  if (typeof right === 'object') {
    if ('prefix' in right) return `${right.prefix.addr}/${right.prefix.len}`;
    return right.range.join('-');
  }
  if ('meta' in left && left.meta.key.endsWith('ifname')) return quote(String(right));
  return 'meta' in left && left.meta.key === 'mark'
    ? `0x${Number(right).toString(16).padStart(8, '0')}`
    : String(right);
}

function formatExpression(expression: Expression): string {
  return JSON.stringify(expression, (_key, value) => (typeof value === 'bigint' ? `${value}` : value));
}

const quote = (text: string): string => `"${text}"`;

/** Tabs of ours stay, control characters of others do not. */
function printableLine(line: string): string {
  const indent = /^\t*/.exec(line)![0];
  return indent + printable(line.slice(indent.length));
}
