import type { DestinationPatch, Ipvs, IpvsOperation, ServiceKey, ServicePatch } from 'netsteer/ipvs';
import { type Nftables, RulesetMirror, table } from 'netsteer/nftables';
import { proof, type Same } from './assert.ts';

/* Patches: what may be left out may be undefined, which takes it away (exactOptionalPropertyTypes); what must be there may not. */
declare const ipvs: Ipvs;
declare const key: ServiceKey;
const server = { address: '10.1.0.1', port: 80 };

void ipvs.editService(key, { persistence: undefined });
void ipvs.editService(key, { schedulerFlags: undefined, onePacket: undefined });
void ipvs.editService(key, { persistence: { timeoutSeconds: 60 } });
void ipvs.editService(key, { persistence: { netmask: undefined, engine: undefined } });
void ipvs.editDestination(key, server, { tunnel: undefined, weight: undefined, upperThreshold: undefined });
void ipvs.editDestination(key, server, { tunnel: { checksum: undefined } });
void ipvs.editDestination(key, server, { tunnel: { type: 'gre' } });
void ipvs.batch(b =>
  b.editService(key, { persistence: undefined }).editDestination(key, server, { tunnel: undefined }),
);
export const operations: IpvsOperation[] = [
  { op: 'editService', key, patch: { persistence: undefined } },
  { op: 'editDestination', key, destinationKey: server, patch: { tunnel: { port: undefined } } },
];

/* Draining: one policy, by protocol, or a function. */
void ipvs.reconcile([], { drain: { timeoutMs: 1000 } });
void ipvs.reconcile([], { drain: { until: 'all', timeoutMs: 1000, pollMs: 10 } });
void ipvs.reconcile([], { drain: { until: 'none' } });
void ipvs.reconcile([], { drain: { tcp: { timeoutMs: 1000 }, udp: { until: 'none' } } });
void ipvs.reconcile([], {
  drain: service => ('port' in service && service.port === 443 ? { timeoutMs: 60_000 } : undefined),
});
ipvs.sync.reconcile([], { signal: new AbortController().signal });
void ipvs.restore('', { replace: true });

export function misuse(): void {
  // @ts-expect-error a scheduler must be there
  const scheduler: ServicePatch = { scheduler: undefined };
  // @ts-expect-error a key cannot be changed
  const port: ServicePatch = { port: 81 };
  // @ts-expect-error a way of forwarding must be there
  const forward: DestinationPatch = { forward: undefined };
  // @ts-expect-error persistence has a timeout, always
  const timeout: ServicePatch = { persistence: { timeoutSeconds: undefined } };
  // @ts-expect-error without a time there is no end
  void ipvs.reconcile([], { drain: { until: 'active' } });
  void [scheduler, port, forward, timeout];
}

/* One shape of reconcile in IPVS and nf_tables: what is desired, and then all options. */
declare const nft: Nftables;
const { signal } = new AbortController();
const web = table('inet', 'web');
void ipvs.reconcile([], { prune: true, drain: { until: 'none' }, onProgress: () => {}, signal });
void ipvs.plan([], { prune: true, signal });
void nft.reconcile({ tables: [] }, { comment: 'mine', signal });
void nft.plan({ tables: [] }, { prefix: 'mine-', only: [web, web.chain('c'), web.set('s'), web.map('m')], signal });
void nft.plan(
  { tables: [] },
  { flag: true, mirror: new RulesetMirror(), only: [{ set: { family: 'ip', table: 't', name: 's' } }] },
);
proof<Same<Parameters<Nftables['plan']>, Parameters<Nftables['reconcile']>>>();
proof<Same<Parameters<Nftables['reconcile']>, Parameters<Nftables['sync']['reconcile']>>>();
proof<Same<Parameters<Ipvs['reconcile']>, Parameters<Ipvs['sync']['reconcile']>>>();
// @ts-expect-error somebody owns the tables
void nft.reconcile({ tables: [] }, { signal });
// @ts-expect-error there is one owner
void nft.reconcile({ tables: [] }, { comment: 'mine', prefix: 'mine-' });
// @ts-expect-error rules are compared with their chains
void nft.plan({ tables: [] }, { comment: 'mine', only: [web.rule('c', [])] });
// @ts-expect-error no such option
void nft.plan({ tables: [] }, { comment: 'mine', prune: true });
