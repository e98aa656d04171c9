import { spawnSync } from 'node:child_process';
import { type Forward, Ipvs, Links, type NetNs } from 'netsteer';
import { Lab } from './dataplane-lab.ts';
import type { Program, Sample } from './harness.ts';
import { missing } from './programs.ts';

/*
 *   client 10.1.0.2, .3 ── front ── 10.1.0.1 director 10.2.0.1 ── back ── 10.2.0.2 server
 *          10.3.0.1     ───────────────────── past ───────────────────── 10.3.0.2
 *
 * Servers that are reached by direct routing or a tunnel answer 10.1.0.2 past the director; masqueraded answers to 10.1.0.3 go back by it.
 */
const VIRTUAL = '10.9.0.100';
const CLIENT = '10.1.0.2';
const MASQUERADED = '10.1.0.3';
const DIRECTOR = '10.1.0.1';
const SERVER = '10.2.0.2';
const PORT = 80;
const TUNNEL_DEVICE = 'tunl0';

interface Way {
  readonly name: string;
  readonly forward?: Forward;
  /** Where the connections are served. */
  readonly at: 'server' | 'director';
  readonly source: string;
}

const WAYS: readonly Way[] = [
  { name: 'no IPVS, forwarded', at: 'server', source: MASQUERADED },
  { name: 'masquerade', forward: 'masquerade', at: 'server', source: MASQUERADED },
  { name: 'direct', forward: 'direct', at: 'server', source: CLIENT },
  { name: 'tunnel', forward: 'tunnel', at: 'server', source: CLIENT },
  { name: 'local', forward: 'local', at: 'director', source: CLIENT },
];

/**
 * TCP connections one after the other, by each forwarding method. Not by bypass: what it lets through goes to the packet's own address, so that
 * it needs firewall marks and a cluster of proxies.
 */
export function forwarding(connections: number): Program[] {
  // Each namespace gets the device with the module that makes it.
  spawnSync('modprobe', ['ipip'], { stdio: 'ignore' });
  return WAYS.filter(possible).map(way => ({ name: way.name, run: () => through(way, connections) }));
}

function possible({ forward }: Way): boolean {
  if (forward !== 'tunnel') return true;
  const lab = new Lab();
  const has = hasDevice(lab.namespace(), TUNNEL_DEVICE);
  void lab.close();
  if (!has) missing('tunnel', `this kernel has no ${TUNNEL_DEVICE} (modprobe ipip)`);
  return has;
}

function hasDevice(netns: NetNs, name: string): boolean {
  using links = Links.open({ netns });
  return links.sync.list().some(link => link.name === name);
}

async function through({ forward, at, source }: Way, connections: number): Promise<Sample> {
  const lab = new Lab();
  try {
    const [client, director, server] = [lab.namespace(), lab.namespace(), lab.namespace()];
    lab.connect('front', [client, `${CLIENT}/24`, `${MASQUERADED}/24`], [director, `${DIRECTOR}/24`]);
    lab.connect('back', [director, '10.2.0.1/24'], [server, `${SERVER}/24`]);
    lab.connect('past', [client, '10.3.0.1/24'], [server, '10.3.0.2/24']);
    lab.route(client, '0.0.0.0/0', DIRECTOR);
    lab.route(server, '0.0.0.0/0', '10.2.0.1');
    lab.route(server, `${CLIENT}/32`, '10.3.0.1');
    for (const netns of [director, server]) lab.addAddress(netns, 'lo', `${VIRTUAL}/32`);
    if (forward === 'tunnel') receiveTunnels(server);
    await lab.serve(at === 'server' ? server : director, PORT);
    if (forward !== undefined) balance(director, forward, at === 'server' ? SERVER : DIRECTOR);
    const target = forward === undefined ? SERVER : VIRTUAL;
    return await lab.visit(client, ['tcp', target, String(PORT), String(connections), source]);
  } finally {
    await lab.close();
  }
}

function receiveTunnels(netns: NetNs): void {
  using links = Links.open({ netns });
  links.sync.set(TUNNEL_DEVICE, { up: true });
  netns.sysctl.set(`net.ipv4.conf.${TUNNEL_DEVICE}.rp_filter`, 0);
}

function balance(netns: NetNs, forward: Forward, address: string): void {
  using ipvs = Ipvs.open({ netns });
  const service = { protocol: 'tcp', address: VIRTUAL, port: PORT } as const;
  ipvs.sync.addService({ ...service, scheduler: 'rr' });
  ipvs.sync.addDestination(service, { address, port: PORT, forward });
}
