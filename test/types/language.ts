import type { JsonExpression, Nftables, NftDocument, NftQuery, RulesetJson, Statement } from 'netsteer/nftables';
import { proof, type Same } from './assert.ts';

/* nft's JSON as libnftables-json(5) has it: what a TypeScript user writes, and what the compiler refuses. */

/* Fields belong to their protocols. */
export const fields: JsonExpression[] = [
  { payload: { protocol: 'tcp', field: 'dport' } },
  { payload: { protocol: 'ip', field: 'saddr', tunnel: 'vxlan' } },
  { payload: { base: 'th', offset: 16, len: 16 } },
  { exthdr: { name: 'frag', field: 'more-fragments' } },
  { exthdr: { name: 'rt0', field: 'addr[1]', offset: 0 } },
  { 'tcp option': { name: 'maxseg', field: 'size' } },
  { 'tcp option': { base: 42, offset: 16, len: 4 } },
  { 'ip option': { name: 'rr' } },
  { 'sctp chunk': { name: 'init', field: 'init-tag' } },
  { 'dccp option': { type: 3 } },
  { meta: { key: 'iifname' } },
  { rt: { key: 'mtu' } },
  { ct: { key: 'packets', dir: 'original' } },
  { fib: { result: 'oif', flags: ['saddr', 'iif'] } },
  { socket: { key: 'cgroupv2', level: 1 } },
  { osf: { key: 'name', ttl: 'loose' } },
  { ipsec: { key: 'reqid', dir: 'in', spnum: 0 } },
  { numgen: { mode: 'inc', mod: 10, offset: 0 } },
  { jhash: { mod: 16, expr: { payload: { protocol: 'ip', field: 'saddr' } }, seed: 7 } },
  { symhash: { mod: 2 } },
];
// @ts-expect-error ip has no ports
export const noPort: JsonExpression = { payload: { protocol: 'ip', field: 'dport' } };
// @ts-expect-error no such protocol
export const noProtocol: JsonExpression = { payload: { protocol: 'quic', field: 'dport' } };
// @ts-expect-error bits of a packet have a length
export const noLength: JsonExpression = { payload: { base: 'th', offset: 16 } };
// @ts-expect-error the frag header has no addresses
export const noAddress: JsonExpression = { exthdr: { name: 'frag', field: 'saddr' } };
// @ts-expect-error maxseg has a size
export const noCount: JsonExpression = { 'tcp option': { name: 'maxseg', field: 'count' } };
// @ts-expect-error no such key
export const noMeta: JsonExpression = { meta: { key: 'interface' } };
// @ts-expect-error no such direction
export const noDirection: JsonExpression = { ct: { key: 'packets', dir: 'forward' } };
// @ts-expect-error numgen has a modulus
export const noModulus: JsonExpression = { numgen: { mode: 'inc' } };
// @ts-expect-error a range has two ends
export const noEnd: JsonExpression = { range: [1] };

/* Statements. */
export const statements: Statement[] = [
  {
    match: {
      op: '==',
      left: { payload: { protocol: 'tcp', field: 'dport' } },
      right: { set: [22, { range: [80, 90] }] },
    },
  },
  { vmap: { key: { ct: { key: 'state' } }, data: { set: [['established', { accept: null }]] } } },
  { mangle: { key: { meta: { key: 'mark' } }, value: { '|': [{ ct: { key: 'mark' } }, 16] } } },
  { limit: { rate: 10, per: 'minute', burst: 5, inv: true } },
  { quota: { val: 10n, val_unit: 'mbytes' } },
  { log: { prefix: 'a ', group: 5, flags: ['skuid', 'ether'] } },
  { dnat: { family: 'ip', addr: '10.0.0.1', port: { range: [80, 90] }, flags: 'random' } },
  { masquerade: null },
  { reject: { type: 'icmpx', expr: 'admin-prohibited' } },
  { queue: { num: { range: [1, 5] }, flags: ['bypass', 'fanout'] } },
  {
    set: {
      op: 'update',
      set: '@clients',
      elem: { payload: { protocol: 'ip', field: 'saddr' } },
      stmt: [{ counter: null }],
    },
  },
  { tproxy: { family: 'ip', addr: '10.0.0.1', port: 80 } },
  { synproxy: { mss: 1460, wscale: 7, flags: ['timestamp', 'sack-perm'] } },
  { fwd: { dev: 'eth0' } },
  { reset: { 'tcp option': { name: 'sack-perm' } } },
  { counter: 'hits' },
  { jump: { target: 'web' } },
];
// @ts-expect-error an operator of nft is no other language's
export const noOperator: Statement = { match: { op: '===', left: { meta: { key: 'mark' } }, right: 1 } };
// @ts-expect-error a rate is per a unit
export const noUnit: Statement = { limit: { rate: 10 } };
// @ts-expect-error no such unit
export const wrongUnit: Statement = { limit: { rate: 10, per: 'fortnight' } };
// @ts-expect-error a group is a number
export const noGroup: Statement = { log: { group: '5' } };
// @ts-expect-error no such level
export const noLevel: Statement = { log: { level: 'loud' } };
// @ts-expect-error what is matched cannot be written to
export const noTarget: Statement = { mangle: { key: 7, value: 1 } };
// @ts-expect-error what does a jump jump to?
export const nowhere: Statement = { jump: {} };
// @ts-expect-error no such flag
export const noFlag: Statement = { masquerade: { flags: 'sometimes' } };
// @ts-expect-error elements are added, updated and deleted
export const noVerb: Statement = { set: { op: 'insert', set: '@clients', elem: 1 } };

/* Documents. */
const at = { family: 'inet', table: 't' } as const;
export const document: NftDocument = {
  nftables: [
    { metainfo: { json_schema_version: 1 } },
    { table: { family: 'inet', name: 't' } },
    { add: { chain: { ...at, name: 'c', type: 'filter', hook: 'input', prio: 'dstnat + 10', policy: 'drop' } } },
    {
      add: {
        set: {
          ...at,
          name: 's',
          type: ['ipv4_addr', 'inet_service'],
          flags: ['interval'],
          elem: [{ concat: ['10.0.0.1', 80] }],
        },
      },
    },
    { add: { map: { ...at, name: 'm', type: { typeof: { meta: { key: 'mark' } } }, map: 'verdict' } } },
    { add: { element: { ...at, name: 'm', elem: [[1, { drop: null }]] } } },
    { insert: { rule: { ...at, chain: 'c', expr: statements, handle: 5n } } },
    { add: { flowtable: { ...at, name: 'f', hook: 'ingress', prio: 0, dev: ['eth0'] } } },
    { create: { counter: { ...at, name: 'hits' } } },
    { add: { 'ct helper': { ...at, name: 'h', type: 'ftp', protocol: 'tcp' } } },
    { flush: { ruleset: null } },
  ],
};
export const question: NftQuery = {
  nftables: [{ list: { chain: { ...at, name: 'c' } } }, { list: { ruleset: null } }],
};
// @ts-expect-error a rule has a chain
export const unplaced: NftDocument = { nftables: [{ add: { rule: { ...at, expr: [] } } }] };
// @ts-expect-error no such command
export const noCommand: NftDocument = { nftables: [{ append: { table: { family: 'inet', name: 't' } } }] };
// @ts-expect-error a policy is one of two
export const noPolicy: NftDocument = { nftables: [{ chain: { ...at, name: 'c', policy: 'reject' } }] };
// @ts-expect-error elements are asked of a set
export const noQuestion: NftQuery = { nftables: [{ list: { element: { ...at, name: 's' } } }] };

proof<Same<Extract<Statement, { notrack: unknown }>, { notrack: null }>>();

/* What was listed can be applied again; its entries are known by their keys. */
declare const nft: Nftables;
declare const listed: RulesetJson;
void nft.apply(listed);
export const reread: NftDocument = listed;
export const names = listed.nftables.map(entry => entry.table ?? Object.keys(entry)[0]);
// @ts-expect-error no such command
void nft.apply({ nftables: [{ append: { table: { family: 'inet', name: 't' } } }] });
