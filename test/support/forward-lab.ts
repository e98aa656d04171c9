import { Links, type NetNs } from 'netsteer';
import { FrameSender, ip, Opened } from './nflog-lab.ts';

export const MACS = { outside: '02:00:00:00:00:01', inside: '02:00:00:00:00:02', third: '02:00:00:00:00:03' } as const;

/*
 *   outside: o0 ── i0 :inside: i1 ── o1 :outside         10.1.0.0/24 and fd00:1::/64 at i0, 10.2.0.0/24 and fd00:2::/64 at i1
 *            o2 ── b0 :inside: b1 ── o3                  br0
 *
 * Inside forwards between i0 and i1, and br0 bridges b0 and b1. Outside there is nobody: frames are sent as a test wants them, and everybody's
 * address is MACS.third.
 */
export class ForwardLab {
  readonly opened = new Opened();
  readonly outside: NetNs;
  readonly inside: NetNs;

  constructor() {
    const [outside, inside] = [this.opened.namespace(), this.opened.namespace()];
    this.outside = outside;
    this.inside = inside;
    for (const name of ['all', 'default']) outside.sysctl.set(`net.ipv6.conf.${name}.disable_ipv6`, '1');
    ip(
      inside,
      'link add br0 type bridge',
      ...['i0 o0', 'i1 o1', 'b0 o2', 'b1 o3'].map(pair => `link add ${pair.replace(' ', ' type veth peer name ')}`),
      ...['i0', 'i1'].map(name => `link set ${name} address ${MACS.inside}`),
      ...['b0', 'b1'].map(name => `link set ${name} master br0`),
    );
    const links = Links.open({ netns: inside });
    for (const name of ['o0', 'o1', 'o2', 'o3']) links.sync.set(name, { netns: outside });
    links.close();
    ip(outside, ...['o0', 'o1', 'o2', 'o3'].map(name => `link set ${name} up`));
    ip(
      inside,
      ...['i0', 'i1', 'b0', 'b1', 'br0'].map(name => `link set ${name} up`),
      'addr add 10.1.0.2/24 dev i0',
      'addr add 10.2.0.1/24 dev i1',
      'addr add fd00:1::2/64 dev i0 nodad',
      'addr add fd00:2::1/64 dev i1 nodad',
      ...['10.1.0.1', 'fd00:1::1'].map(address => `neigh add ${address} lladdr ${MACS.third} dev i0`),
      ...['10.2.0.2', 'fd00:2::2'].map(address => `neigh add ${address} lladdr ${MACS.third} dev i1`),
    );
    inside.sysctl.set('net.ipv4.ip_forward', '1');
    inside.sysctl.set('net.ipv6.conf.all.forwarding', '1');
    for (const name of ['all', 'i0', 'i1']) inside.sysctl.set(`net.ipv4.conf.${name}.rp_filter`, '0');
  }

  from(device: string): FrameSender {
    return this.opened.add(new FrameSender(this.outside, device));
  }

  close(): void {
    this.opened.close();
  }
}
