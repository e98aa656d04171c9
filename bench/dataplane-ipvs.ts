import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { type Destination, Ipvs, Links, type NetNs } from 'netsteer';
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
const GUE_PORT = 6080;

interface Way {
  readonly name: string;
  readonly how?: Pick<Destination, 'forward' | 'tunnel'>;
  /** Where the connections are served. */
  readonly at: 'server' | 'director';
  readonly source: string;
  /** The device that takes a tunnel's packets at the server; each namespace gets one with the module of that name. */
  readonly device?: { readonly name: string; readonly module: string };
}

const IPIP = { name: 'tunl0', module: 'ipip' };
const GRE = { name: 'gre0', module: 'ip_gre' };
const AT_SERVER = { at: 'server', source: CLIENT } as const;

const WAYS: readonly Way[] = [
  { name: 'no IPVS, forwarded', at: 'server', source: MASQUERADED },
  { name: 'masquerade', how: { forward: 'masquerade' }, at: 'server', source: MASQUERADED },
  { name: 'direct', how: { forward: 'direct' }, ...AT_SERVER },
  { name: 'tunnel, ipip', how: { forward: 'tunnel', tunnel: { type: 'ipip' } }, device: IPIP, ...AT_SERVER },
  {
    name: 'tunnel, gue',
    how: { forward: 'tunnel', tunnel: { type: 'gue', port: GUE_PORT } },
    device: IPIP,
    ...AT_SERVER,
  },
  { name: 'tunnel, gre', how: { forward: 'tunnel', tunnel: { type: 'gre' } }, device: GRE, ...AT_SERVER },
  { name: 'local', how: { forward: 'local' }, at: 'director', source: CLIENT },
];

/**
 * TCP connections one after the other, by each forwarding method. Not by bypass: what it lets through goes to the packet's own address, so that
 * it needs firewall marks and a cluster of proxies.
 */
export async function forwarding(connections: number): Promise<Program[]> {
  for (const name of ['ipip', 'ip_gre', 'fou']) loadModule(name);
  const programs: Program[] = [];
  for (const way of WAYS) {
    if (await possible(way)) programs.push({ name: way.name, run: () => through(way, connections) });
  }
  return programs;
}

/** By the program that the kernel itself starts: in User-mode Linux it is one that knows where this kernel's modules are. */
function loadModule(name: string): void {
  spawnSync(readFileSync('/proc/sys/kernel/modprobe', 'utf8').trim(), [name], { stdio: 'ignore' });
}

async function possible({ name, how, device }: Way): Promise<boolean> {
  if (device === undefined) return true;
  const lab = new Lab();
  try {
    const netns = lab.namespace();
    if (!hasDevice(netns, device.name)) {
      missing(name, `this kernel has no ${device.name} (modprobe ${device.module})`);
      return false;
    }
    if (how?.tunnel?.type === 'gue' && !listenGue(netns)) {
      missing(name, 'GUE cannot be received here (modprobe fou; apt-get install iproute2)');
      return false;
    }
    return true;
  } finally {
    await lab.close();
  }
}

function hasDevice(netns: NetNs, name: string): boolean {
  using links = Links.open({ netns });
  return links.sync.list().some(link => link.name === name);
}

async function through({ how, at, source, device }: Way, connections: number): Promise<Sample> {
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
    if (device !== undefined) receiveFrom(device.name, server);
    if (how?.tunnel?.type === 'gue') listenGue(server);
    await lab.serve(at === 'server' ? server : director, PORT);
    if (how !== undefined) balance(director, how, at === 'server' ? SERVER : DIRECTOR);
    const target = how === undefined ? SERVER : VIRTUAL;
    return await lab.visit(client, ['tcp', target, String(PORT), String(connections), source]);
  } finally {
    await lab.close();
  }
}

function receiveFrom(device: string, netns: NetNs): void {
  using links = Links.open({ netns });
  links.sync.set(device, { up: true });
  netns.sysctl.set(`net.ipv4.conf.${device}.rp_filter`, 0);
}

/** What comes in UDP is handed to the device of IPIP. */
function listenGue(netns: NetNs): boolean {
  return (
    netns.run(() => spawnSync('ip', ['fou', 'add', 'port', String(GUE_PORT), 'gue'], { stdio: 'ignore' })).status === 0
  );
}

function balance(netns: NetNs, how: Pick<Destination, 'forward' | 'tunnel'>, address: string): void {
  using ipvs = Ipvs.open({ netns });
  const service = { protocol: 'tcp', address: VIRTUAL, port: PORT } as const;
  ipvs.sync.addService({ ...service, scheduler: 'rr' });
  ipvs.sync.addDestination(service, { ...how, address, port: PORT });
}
