import type { BatchError, NetlinkError, StateError } from 'netsteer';
import type { Destination, Service, ServiceKey } from 'netsteer/ipvs';
import type { NetNs, NetNsReference } from 'netsteer/netns';
import type { Expression, Rule, Statement } from 'netsteer/nftables';
import { Nftables, Transaction } from 'netsteer/nftables';
import { proof, type Same } from './assert.ts';

/* A service is one of a protocol, address and port, or one of a firewall mark. */
export const services: Service[] = [
  { protocol: 'tcp', address: '10.10.0.100', port: 80, scheduler: 'lc' },
  { protocol: 47, address: '10.10.0.100', port: 80, scheduler: 'a scheduler of a later kernel' },
  { firewallMark: 7, family: 'ipv6', scheduler: 'wrr', persistence: { timeoutSeconds: 60, netmask: 64 } },
];
// @ts-expect-error a service has a scheduler
export const unscheduled: Service = { protocol: 'tcp', address: '10.10.0.100', port: 80 };
// @ts-expect-error a firewall mark has a family
export const unmarked: Service = { firewallMark: 7, scheduler: 'lc' };
// @ts-expect-error a protocol without a name is a number
export const unknownProtocol: Service = { protocol: 'tpc', address: '10.10.0.100', port: 80, scheduler: 'lc' };
// @ts-expect-error a port is a number
export const textualPort: ServiceKey = { protocol: 'tcp', address: '10.10.0.100', port: '80' };
// @ts-expect-error no such way to reach a server
export const wrongForward: Destination = { address: '192.168.0.50', port: 80, forward: 'dr' };

export function kindOf(key: ServiceKey): string {
  // The key tells which of both it is.
  if ('firewallMark' in key) {
    proof<Same<typeof key.family, 'ipv4' | 'ipv6'>>();
    return `mark ${key.firewallMark}`;
  }
  proof<Same<typeof key.address, string>>();
  return `${key.address}:${key.port}`;
}

/* A rule has statements or expressions. */
const place = { family: 'ip', table: 't', chain: 'c' } as const;
export const rules: Rule[] = [
  { ...place, statements: [{ counter: null }, { redirect: { port: 8080 } }] },
  { ...place, expressions: [{ payload: { base: 'network', offset: 16, length: 4, register: 1 } }], handle: 5n },
];
// @ts-expect-error it cannot have both
export const both: Rule = { ...place, statements: [], expressions: [] };
// @ts-expect-error nor neither
export const neither: Rule = { ...place };
// @ts-expect-error a handle is a bigint
export const numbered: Rule = { ...place, statements: [], handle: 5 };
// @ts-expect-error no such family
export const familyless: Rule = { ...place, family: 'ipv4', statements: [] };

/* An expression is an object with the name of one. */
export const unknownExpression: Expression = { unknown: { name: 'later', bytes: '00' } };
// @ts-expect-error no such expression
export const misspelt: Expression = { paylaod: { base: 'network', offset: 16, length: 4, register: 1 } };
// @ts-expect-error no such base
export const baseless: Expression = { payload: { base: 'ip', offset: 16, length: 4, register: 1 } };

export function portOf(statement: Statement): unknown {
  if ('redirect' in statement) return statement.redirect?.port;
  if ('match' in statement) return statement.match.right;
  return undefined;
}
// @ts-expect-error no such statement
export const noStatement: Statement = { redierct: { port: 80 } };

/* A transaction's verbs take what they can be used on. */
export function verbs(): Transaction {
  const transaction = new Transaction();
  transaction.replace({ rule: { ...place, statements: [], handle: 5n } });
  // @ts-expect-error a rule is replaced by its handle
  transaction.replace({ rule: { ...place, statements: [] } });
  // @ts-expect-error rules are inserted, tables are not
  transaction.insert({ table: { family: 'ip', name: 't' } });
  return transaction.add({ table: { family: 'inet', name: 't' } });
}

/* A namespace is named in one way. */
export const references: NetNsReference[] = [
  { pid: 1 },
  { pidfd: 3 },
  { path: '/run/netns/a' },
  { name: 'a' },
  { fd: 3 },
];
// @ts-expect-error not in none
export const nowhere: NetNsReference = {};

export function wherever(netns: NetNs | undefined): void {
  // @ts-expect-error a namespace that may be undefined is not taken: the host would be programmed by a typing error
  Nftables.open({ netns });
  if (netns !== undefined) Nftables.open({ netns });
  Nftables.open();
}

/* What errors carry. */
export function explain(error: BatchError | NetlinkError | StateError): string {
  if ('failures' in error) {
    proof<Same<typeof error.outcome, 'none' | 'partial' | 'all' | 'unknown'>>();
    return error.failures.map(({ index, code, attribute }) => `${index} ${code} ${attribute}`).join();
  }
  return error.code;
}
