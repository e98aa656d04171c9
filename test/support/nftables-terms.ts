import { compileRule } from '../../src/nft/compile/compile.ts';
import * as extensions from '../../src/nft/data/extensions.ts';
import * as keys from '../../src/nft/data/keys.ts';
import { PROTOCOLS } from '../../src/nft/data/protocols.ts';
import type { Statement } from '../../src/nftables/index.ts';

/* All that nft's language can load from a packet, each as the key of a set of a rule: nft keeps a description with such a set. */

type Term = Record<string, unknown>;

const SADDR: Term = { payload: { protocol: 'ip', field: 'saddr' } };

function fieldsOf(kind: string, table: object): Term[] {
  const headers = Object.entries(table as Record<string, { fields: object }>);
  return headers.flatMap(([name, { fields }]) => Object.keys(fields).map(field => ({ [kind]: { name, field } })));
}

/** From the tables of the language. */
function terms(): Term[] {
  const payloads = Object.entries(PROTOCOLS).flatMap(([protocol, { fields }]) =>
    Object.keys(fields).map(field => ({ protocol, field })),
  );
  const ipsec = Object.keys(keys.IPSEC).flatMap(key =>
    key.endsWith('addr') ? ['ip', 'ip6'].map(family => ({ key, family })) : [{ key }],
  );
  return [
    ...Object.keys(keys.META).map(key => ({ meta: { key } })),
    ...Object.keys(keys.CT).flatMap(key => [{ ct: { key } }, { ct: { key, dir: 'original' } }]),
    ...Object.keys(keys.RT).flatMap(key => [{ rt: { key } }, { rt: { key, family: 'ip6' } }]),
    ...Object.keys(keys.SOCKET).map(key => ({ socket: { key, ...(key === 'cgroupv2' && { level: 1 }) } })),
    ...ipsec.flatMap(fields => ['in', 'out'].map(dir => ({ ipsec: { ...fields, dir, spnum: 0 } }))),
    ...Object.keys(keys.TUNNEL).map(key => ({ tunnel: { key } })),
    { osf: { key: 'name' } },
    { osf: { key: 'version' } },
    { numgen: { mode: 'inc', mod: 3 } },
    { symhash: { mod: 3 } },
    { jhash: { mod: 3, expr: SADDR } },
    ...['oif', 'oifname', 'type', 'check'].map(result => ({ fib: { result, flags: ['saddr', 'iif'] } })),
    ...payloads.flatMap(payload => [{ payload }, { payload: { tunnel: 'vxlan', ...payload } }]),
    ...['ll', 'nh', 'th', 'ih'].map(base => ({ payload: { base, offset: 8, len: 16 } })),
    ...fieldsOf('exthdr', extensions.IPV6_EXTENSIONS),
    ...fieldsOf('tcp option', extensions.TCP_OPTIONS),
    ...fieldsOf('ip option', extensions.IP_OPTIONS),
    ...fieldsOf('sctp chunk', extensions.SCTP_CHUNKS),
  ];
}

/**
 * What nft 1.0.6 dies of in the instructions themselves, or in the types, however a set is described: its own rules of that sort end it, too, or
 * it refuses to make them.
 */
function isDeadly(term: Term, isPart: boolean): boolean {
  const { payload, ct, jhash } = term as Record<string, Record<string, unknown> | undefined>;
  if (payload?.protocol === 'gre') return true;
  if (ct?.dir !== undefined && (ct.key === 'saddr' || ct.key === 'daddr')) return true;
  return jhash !== undefined && isPart;
}

/** Two values of every type: the first pair that the compiler takes is the term's. */
const PAIRS: readonly (readonly unknown[])[] = [
  [1, 2],
  ['10.0.0.1', '10.0.0.2'],
  ['fe80::1', 'fe80::2'],
  ['lo', 'b'],
  ['00:11:22:33:44:55', '00:11:22:33:44:56'],
  ['new', 'established'],
];

/** Rules, each with a set or a map over a term or a concatenation of it with an address. */
export function rulesOverTerms(): Statement[][] {
  const found: Statement[][] = [];
  for (const term of terms()) {
    const pair = PAIRS.find(([one, other]) => compiles(match(term, [one, other])));
    if (pair === undefined || isDeadly(term, false)) continue;
    const [one, other] = pair;
    const concatenated = { concat: [term, SADDR] };
    const values = [one, other].map(value => ({ concat: [value, '10.0.0.1'] }));
    found.push(match(term, [one, other]));
    if (!isDeadly(term, true)) found.push(match(concatenated, values));
    const marks = [one, other].map((value, i) => [value, i]);
    const map = { map: { key: term, data: { set: marks } } };
    found.push([{ mangle: { key: { meta: { key: 'mark' } }, value: map } }] as unknown as Statement[]);
    const verdicts = [one, other].map(value => [value, { accept: null }]);
    found.push([{ vmap: { key: term, data: { set: verdicts } } }] as unknown as Statement[]);
  }
  return found.filter(compiles);
}

const match = (left: Term, set: readonly unknown[]): Statement[] =>
  [{ match: { op: '==', left, right: { set } } }] as unknown as Statement[];

function compiles(statements: Statement[]): boolean {
  try {
    const { sets } = compileRule({ family: 'inet', statements }, { table: 't', interfaces: () => 1 });
    return (sets?.length ?? 0) > 0;
  } catch {
    return false;
  }
}
