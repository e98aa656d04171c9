import {
  accept,
  type ChainPlace,
  compileRule,
  counter,
  type DesiredRuleset,
  type Nftables,
  prepare,
  redirect,
  type SetPlace,
  Transaction,
  table,
  tcp,
} from 'netsteer/nftables';
import { proof, type Same } from './assert.ts';

/* Places need no `as const`, and are what transactions, plans and readings take. */
declare const nft: Nftables;
const web = table('inet', 'web', { comment: 'ours' });
const input = web.chain('input', { type: 'filter', hook: 'input', priority: 'filter', policy: 'drop' });
const ports = web.set('ports', { key: 'inet_service', elements: [80] });
const services = web.map('services', { key: 'inet_service', data: 'verdict' });

export const transaction = new Transaction()
  .create(web)
  .add(input)
  .add(ports)
  .add(services)
  .add(ports.elements([80, { from: 8000, to: 8080 }]))
  .add(services.elements([{ key: 22, data: { verdict: 'accept' } }]))
  .add(input.rule([tcp.dport.in(ports.reference), counter(), accept()], { comment: 'web' }))
  .insert(input.rule([counter()], { index: 1 }))
  .add({ rule: { ...input.place, expressions: [{ counter: {} }] } })
  .replace(input.rule([accept()], { handle: 5n }))
  .add(web.rule('input', [tcp.dport.eq(80), redirect({ to: 8080 })]))
  .add(web.flowtable('fast', { hook: 'ingress', priority: 0, devices: ['eth0'] }))
  .add(web.object('counter', 'hits'))
  .add(web.object('ctHelper', 'ftp', { helper: 'ftp', l4protocol: 'tcp' }))
  .delete(ports.elements([443]))
  .delete({ rule: { ...input.place, handle: 5n } })
  .flush(input)
  .flush(ports)
  .destroy(services)
  .delete(web);
transaction.anonymousSet({ ...web.place, key: 'ipv4_addr' });

export const desired: DesiredRuleset = {
  tables: [web.table],
  chains: [input.chain],
  sets: [ports.set, services.map],
  rules: [input.rule([accept()]).rule],
};
export const readings = [
  nft.table(web.table),
  nft.chain(input.chain),
  nft.rules(input.place),
  nft.chains(web.place),
  nft.set(ports.set),
  nft.elements(ports.set),
];
export const compiled = compileRule(input.rule([accept()]).rule);
export const prepared = prepare(({ port }) => input.rule([tcp.dport.eq(port), accept()]), { port: 'port' });
proof<Same<typeof input, ChainPlace>>();
proof<Same<typeof ports, SetPlace>>();

/* Without a place, literals in a call need no `as const` either. */
new Transaction().add({
  chain: { family: 'ip', table: 'web', name: 'c', type: 'nat', hook: 'output', priority: 'dstnat' },
});

// @ts-expect-error no such family
export const family = table('ipv4', 'web');
// @ts-expect-error no such type
export const chainType = web.chain('c', { type: 'natt', hook: 'output', priority: 0 });
// @ts-expect-error no such field
export const field = web.chain('c', { typ: 'nat' });
// @ts-expect-error the place of a chain is that of its table
export const placed = web.chain('c', { family: 'ip' });
// @ts-expect-error no such type of keys
export const key = web.set('s', { key: 'ip_addr' });
// @ts-expect-error a set has no values
export const valued = web.set('s', { key: 'ipv4_addr', data: 'verdict' });
// @ts-expect-error no such kind of objects
export const kind = web.object('counters', 'hits');
// @ts-expect-error a helper has a name in the kernel
export const helper = web.object('ctHelper', 'ftp');
// @ts-expect-error a statement is an object
export const content = input.rule(['accept']);
// @ts-expect-error a handle is a bigint
export const handle = input.rule([accept()], { handle: 5 });
// @ts-expect-error a rule is replaced by its handle, or by its index
new Transaction().replace(input.rule([accept()]));
