import { execFileSync } from 'node:child_process';
import { Ipvs, Links, NetNs } from 'netsteer';
import type { Via } from 'netsteer/ipvs';
import { afterEach, beforeAll, beforeEach } from 'vitest';

/** The namespace of the test that runs, whose loopback is up, and its IPVS. */
export let netns: NetNs;
export let ipvs: Ipvs;

/** Gives each test of the suite around it, or of the file, a namespace of its own. */
export function freshIpvsNamespaces(via?: Via): void {
  beforeAll(loadIpvs);
  beforeEach(() => {
    netns = withLoopback();
    ipvs = Ipvs.open(via === undefined ? { netns } : { netns, via });
  });
  afterEach(async () => {
    await ipvs[Symbol.asyncDispose]();
    netns.close();
  });
}

/** Loads IPVS, and the two schedulers that make the kernel wait for ever if they are loaded while a namespace that used IPVS ends: see docs/ipvs.md. */
export function loadIpvs(): void {
  execFileSync('modprobe', ['-a', 'ip_vs', 'ip_vs_lblc', 'ip_vs_lblcr']);
}

/** A new namespace. Its loopback is up: without a local routing table the kernel takes no IPv4 server at all. */
export function withLoopback(): NetNs {
  const made = NetNs.create();
  using links = Links.open({ netns: made });
  links.sync.set('lo', { up: true });
  return made;
}

/** Runs ipvsadm in a namespace, and gives what it prints. */
export const ipvsadm = (inside: NetNs, parameters: readonly string[], input = ''): string =>
  inside.run(() => execFileSync('ipvsadm', parameters, { encoding: 'utf8', input, maxBuffer: 1 << 26 }));

/** What ipvsadm says of a namespace, without order. */
export const savedByIpvsadm = (inside: NetNs): string[] => ipvsadm(inside, ['-Sn']).split('\n').filter(Boolean).sort();
