import type { Container, LogRule, Redirect } from '../container/index.ts';
import type { VirtualServer } from '../ipvs/index.ts';
import { ip, ip6, masquerade, meta, type Statement } from '../nftables/index.ts';
import type { DeclaredServer, DeclaredService } from './declared.ts';
import { redirectsOf } from './declared.ts';
import type { TableRules } from './record.ts';

/** An address that a device should have. */
export interface WantedAddress {
  readonly device: string;
  /** With its prefix length. */
  readonly address: string;
  readonly label: string | undefined;
}

/** A tunnel device that should be there and up, with an address. */
export interface WantedDevice {
  readonly name: string;
  /** The kind that it is created as, if it is not there. */
  readonly kind: 'ipip' | 'ip6tnl';
}

/** What one namespace should have. */
export interface SiteState {
  readonly settings: Map<string, string>;
  readonly addresses: WantedAddress[];
  readonly devices: Map<string, WantedDevice>;
  /** The gateway of the default route. */
  route: string | undefined;
  readonly redirects: Redirect[];
  readonly logs: LogRule[];
  readonly marks: { service: DeclaredService; family: 'ipv4' | 'ipv6'; mark: number }[];
  readonly masquerades: { address: string; port: number; protocol: string; family: 'ipv4' | 'ipv6' }[];
  readonly services: VirtualServer[];
}

export const emptyState = (): SiteState => ({
  settings: new Map(),
  addresses: [],
  devices: new Map(),
  route: undefined,
  redirects: [],
  logs: [],
  marks: [],
  masquerades: [],
  services: [],
});

/** What the container of a server needs for a service. */
export function addServer(state: SiteState, service: DeclaredService, server: DeclaredServer): void {
  const { given, family, addresses } = service;
  const { forward, accept } = given;
  state.redirects.push(...redirectsOf(service, server));
  if (server.log !== undefined) state.logs.push(logOf(service, server));
  if (forward === 'direct' && accept === 'alias') {
    for (const each of addresses) state.addresses.push({ device: 'lo', address: whole(each), label: undefined });
    if (family === 'ipv4') {
      // Without these, the server answers for the address, and clients find the way past the balancer.
      state.settings.set('net.ipv4.conf.all.arp_ignore', '1');
      state.settings.set('net.ipv4.conf.all.arp_announce', '2');
    }
  }
  if (forward === 'tunnel') addTunnel(state, service, server);
  if (forward === 'masquerade' && typeof given.replies === 'object') state.route = given.replies.route;
}

function addTunnel(state: SiteState, { family, addresses }: DeclaredService, server: DeclaredServer): void {
  const outer = server.address.includes(':') ? 'ipv6' : 'ipv4';
  // These devices are in each namespace once the kernel's module is loaded, and take packets from everybody.
  const device: WantedDevice = outer === 'ipv4' ? { name: 'tunl0', kind: 'ipip' } : { name: 'ip6tnl0', kind: 'ip6tnl' };
  state.devices.set(device.name, device);
  for (const address of addresses)
    state.addresses.push({
      device: family === 'ipv4' ? device.name : 'lo',
      address: whole(address),
      label: undefined,
    });
  if (family === 'ipv4') {
    state.settings.set(`net.ipv4.conf.${device.name}.rp_filter`, '0');
    // The filter in force is the larger one of this and the device's.
    state.settings.set('net.ipv4.conf.all.rp_filter', '0');
    state.settings.set('net.ipv4.conf.all.arp_ignore', '1');
    state.settings.set('net.ipv4.conf.all.arp_announce', '2');
  }
}

/** The name of the log rules of a load balancer begins so. */
export const logPrefix = (owner: string): string => `balancer${owner === '' ? '' : `-${owner}`}/`;

function logOf({ given, name, marked, addresses }: DeclaredService, server: DeclaredServer): LogRule {
  const { protocol, port, forward } = given;
  const masqueraded = forward === 'masquerade';
  const to = masqueraded ? [server.address] : addresses;
  const daddr = to[0]!.includes(':') ? ip6.daddr : ip.daddr;
  const ports = masqueraded ? (server.port === 0 ? undefined : server.port) : port;
  const right: unknown =
    ports ??
    (marked.length > 0
      ? { set: marked.map(({ from, to: last }) => (from === last ? from : { range: [from, last] })) }
      : undefined);
  const match: Statement[] = [
    to.length === 1 ? daddr.eq(to[0]!) : daddr.in(to),
    right === undefined
      ? meta.l4proto.eq(protocol)
      : ({ match: { op: '==', left: { payload: { protocol, field: 'dport' } }, right } } as Statement),
  ];
  return { hook: 'prerouting', match, ...server.log!, name: `${name}/${server.name}`.slice(0, 64) };
}

/** What a balancer needs for a service, besides its servers in IPVS. */
export function addBalancer(state: SiteState, service: DeclaredService): void {
  const { given, family, key, marked, addresses } = service;
  const { device, label, forward } = given;
  if (device !== undefined)
    for (const address of addresses) state.addresses.push({ device, address: whole(address), label });
  // The kernel ends what is left of the connections of a server that was removed. Otherwise they hang.
  if (service.drain !== undefined || service.check?.onFailure === 'remove')
    state.settings.set('net.ipv4.vs.expire_nodest_conn', '1');
  // Otherwise new connections of known clients go on to a server of weight 0, which never drains.
  if (given.persistence !== undefined) state.settings.set('net.ipv4.vs.expire_quiescent_template', '1');
  // Also an insurance for direct routing: a balancer that has lost the address sends late packets on to the one that has it.
  state.settings.set(family === 'ipv4' ? 'net.ipv4.ip_forward' : 'net.ipv6.conf.all.forwarding', '1');
  if (forward !== 'masquerade') state.settings.set('net.ipv4.conf.all.send_redirects', '0');
  if (marked.length > 0 && 'firewallMark' in key) state.marks.push({ service, family, mark: key.firewallMark });
  if (forward === 'masquerade' && given.replies === 'snat') {
    state.settings.set('net.ipv4.vs.conntrack', '1');
    for (const { address: to, port } of service.servers)
      state.masquerades.push({
        address: to,
        port,
        protocol: given.protocol,
        family: to.includes(':') ? 'ipv6' : 'ipv4',
      });
  }
}

const whole = (address: string): string => `${address}/${address.includes(':') ? 128 : 32}`;

const VERSIONS = [
  { family: 'ipv4', type: 'ipv4_addr', protocol: 'ip', nfproto: 'ipv4' },
  { family: 'ipv6', type: 'ipv6_addr', protocol: 'ip6', nfproto: 'ipv6' },
] as const;

/** The rules of the balancer's own table: one map of marks for each IP version, and one set of masqueraded servers. */
export function tableRules({ marks, masquerades }: SiteState): TableRules {
  const sets: NonNullable<TableRules['sets']>[number][] = [];
  const rules: NonNullable<TableRules['rules']>[number][] = [];
  const chains: NonNullable<TableRules['chains']>[number][] = [];
  for (const { family, type, protocol, nfproto } of VERSIONS) {
    const mine = marks.filter(each => each.family === family);
    const key = {
      concat: [
        { meta: { key: 'l4proto' } },
        { payload: { protocol, field: 'daddr' } },
        { payload: { protocol: 'th', field: 'dport' } },
      ],
    };
    if (mine.length > 0) {
      sets.push({
        name: `marks-${family}`,
        key: `inet_proto . ${type} . inet_service`,
        data: 'mark',
        flags: ['interval'],
        elements: mine.flatMap(({ service, mark }) =>
          service.addresses.flatMap(address =>
            service.marked.map(({ from, to }) => ({
              key: [service.given.protocol, address, from === to ? from : { from, to }] as never,
              data: mark as never,
            })),
          ),
        ),
      });
      const statements = [
        { match: { op: '==', left: { meta: { key: 'nfproto' } }, right: nfproto } },
        { mangle: { key: { meta: { key: 'mark' } }, value: { map: { key, data: `@marks-${family}` } } } },
      ] as unknown as Statement[];
      for (const chain of ['prerouting', 'output'] as const) rules.push({ chain: `mark-${chain}`, statements });
    }
    const servers = masquerades.filter(each => each.family === family);
    if (servers.length > 0) {
      sets.push({
        name: `masqueraded-${family}`,
        key: `inet_proto . ${type} . inet_service`,
        elements: [
          ...new Map(servers.map(each => [`${each.protocol} ${each.address} ${each.port}`, each])).values(),
        ].map(each => [each.protocol, each.address, each.port] as never),
      });
      const statements = [
        { match: { op: '==', left: { meta: { key: 'nfproto' } }, right: nfproto } },
        { match: { op: '==', left: key, right: `@masqueraded-${family}` } },
      ] as unknown as Statement[];
      rules.push({ chain: 'replies', statements: [...statements, masquerade()] });
    }
  }
  // The output chain is for clients on the balancer itself.
  for (const chain of ['prerouting', 'output'] as const)
    if (rules.some(rule => rule.chain === `mark-${chain}`))
      chains.push(
        chain === 'output'
          ? { name: 'mark-output', type: 'route', hook: 'output', priority: -150 }
          : { name: 'mark-prerouting', type: 'filter', hook: 'prerouting', priority: -150 },
      );
  if (rules.some(({ chain }) => chain === 'replies'))
    chains.push({ name: 'replies', type: 'nat', hook: 'postrouting', priority: 100 });
  return { sets, chains, rules };
}

/** The containers of servers, each once. */
export function serverContainers(services: readonly DeclaredService[]): Set<Container> {
  const found = new Set<Container>();
  for (const { servers, fallback } of services)
    for (const { container } of [...servers, ...(fallback === undefined ? [] : [fallback])])
      if (container !== undefined) found.add(container);
  return found;
}
