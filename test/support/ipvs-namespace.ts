import { execFileSync } from 'node:child_process';
import { Ipvs, Links, NetNs } from 'netsteer';
import { afterEach, beforeAll, beforeEach } from 'vitest';

/** Gives each test of the suite around it a namespace of its own, whose loopback is up, and IPVS in it. */
export function ipvsNamespaceEach(give: (made: { netns: NetNs; ipvs: Ipvs }) => void): void {
  let made: { netns: NetNs; ipvs: Ipvs };
  beforeAll(() => {
    // Loaded while a namespace that used IPVS ends, these two make the kernel wait for ever: see docs/ipvs.md.
    execFileSync('modprobe', ['-a', 'ip_vs', 'ip_vs_lblc', 'ip_vs_lblcr']);
  });
  beforeEach(() => {
    const netns = NetNs.create();
    using links = Links.open({ netns });
    links.sync.set('lo', { up: true });
    made = { netns, ipvs: Ipvs.open({ netns }) };
    give(made);
  });
  afterEach(async () => {
    await made.ipvs[Symbol.asyncDispose]();
    made.netns.close();
  });
}

/** What the field's own tool says of a namespace, without order. */
export function savedByIpvsadm(netns: NetNs): string[] {
  const text = netns.run(() => execFileSync('ipvsadm', ['-Sn'], { encoding: 'utf8', maxBuffer: 1 << 26 }));
  return text.split('\n').filter(Boolean).sort();
}
