import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { Ipvs, Links, NetNs } from 'netsteer';
import { Agent, serve, serveDatagrams } from './ipvs-agent.ts';

/*
 *   client 10.20.0.2, .3 ── bridge ── router ── bridge ── director1 10.10.0.1
 *          10.30.0.2                                  ├── director2 10.10.0.2
 *                                                     ├── server1   10.10.0.11
 *                                                     └── server2   10.10.0.12
 *
 * The router sends what is for the virtual addresses (10.99.0.0/24) to a director. Servers answer the client by the router, past the
 * director; only what is for 10.30.0.0/24 goes back by director1, for masquerading. IPv6 the same, 2001:db8:NN::.
 */
export const virtualAddress = (family: 'ipv4' | 'ipv6', host: number): string =>
  family === 'ipv4' ? `10.99.0.${host}` : `2001:db8:99::${host}`;
/** How many of them the directors and servers have. */
const VIRTUAL_HOSTS = 80;
export const SERVERS = {
  ipv4: ['10.10.0.11', '10.10.0.12'],
  ipv6: ['2001:db8:10::11', '2001:db8:10::12'],
} as const;
/** The addresses of the client: two for direct routing and tunnels, one whose answers come back by director1. */
export const CLIENT = {
  ipv4: { near: '10.20.0.2', second: '10.20.0.3', masqueraded: '10.30.0.2' },
  ipv6: { near: '2001:db8:20::2', second: '2001:db8:20::3', masqueraded: '2001:db8:30::2' },
} as const;
export const GUE_PORT = 6080;
/** Masquerading can change the port. */
export const PORTS = { web: 80, masqueraded: 8080 } as const;

const TUNNEL_DEVICES = ['tunl0', 'sit0', 'gre0', 'ip6tnl0', 'ip6gre0'];
const MODULES = ['ip_vs', 'ip_vs_lblc', 'ip_vs_lblcr', 'ipip', 'sit', 'ip_gre', 'fou', 'ip6_tunnel', 'ip6_gre', 'fou6'];

/** 132 is IPPROTO_SCTP. Bound to one address, an end tells the other of no more. */
const SCTP_SERVER = `
  my ($address, $port, $name) = @ARGV;
  socket(my $s, AF_INET, SOCK_STREAM, 132) or die "socket: $!";
  bind($s, sockaddr_in($port, inet_aton($address))) or die "bind: $!";
  listen($s, 5) or die "listen: $!";
  $| = 1;
  print "ready\n";
  while (accept(my $c, $s)) { syswrite($c, "$name\n"); close($c); }`;
const SCTP_CLIENT = `
  my ($address, $port, $own) = @ARGV;
  socket(my $s, AF_INET, SOCK_STREAM, 132) or die "socket: $!";
  bind($s, sockaddr_in(0, inet_aton($own))) or die "bind: $!";
  connect($s, sockaddr_in($port, inet_aton($address))) or die "connect: $!";
  sysread($s, my $name, 100) or die "read: $!";
  print $name;`;

const ended = (child: ChildProcess): Promise<unknown> =>
  child.exitCode !== null || child.signalCode !== null ? Promise.resolve() : once(child, 'exit');

export class IpvsLab {
  readonly #switch: NetNs;
  readonly #router: NetNs;
  readonly #client: NetNs;
  readonly #directors: NetNs[];
  readonly #servers: NetNs[];
  readonly #listening: { close(): void }[] = [];
  readonly director: Ipvs;
  readonly backup: Ipvs;
  readonly agent: Agent;

  constructor() {
    // Devices that receive from any tunnel are made with each namespace, by modules that are there already.
    execFileSync('modprobe', ['-a', ...MODULES]);
    const create = () => NetNs.create();
    [this.#switch, this.#router, this.#client] = [create(), create(), create()];
    this.#directors = [create(), create()];
    this.#servers = [create(), create()];
    this.#wire();
    [this.director, this.backup] = this.#directors.map(netns => Ipvs.open({ netns })) as [Ipvs, Ipvs];
    for (const [i, netns] of this.#servers.entries()) {
      for (const port of Object.values(PORTS)) this.#listening.push(serve(netns, `server${i + 1}`, port));
    }
    this.agent = new Agent(this.#client);
  }

  #wire(): void {
    using bridges = Links.open({ netns: this.#switch });
    for (const name of ['front', 'back']) {
      bridges.sync.createBridge({ name });
      bridges.sync.set(name, { up: true });
    }
    const all = [this.#router, this.#client, ...this.#directors, ...this.#servers];
    for (const netns of all) this.#quiet(netns);
    this.#attach(bridges, this.#client, 'eth0', 'front', [
      ['20', '2'],
      ['20', '3'],
    ]);
    this.#attach(bridges, this.#router, 'eth0', 'front', [['20', 'fe']]);
    this.#attach(bridges, this.#router, 'eth1', 'back', [['10', 'fe']]);
    for (const [i, netns] of this.#directors.entries())
      this.#attach(bridges, netns, 'eth0', 'back', [['10', `${i + 1}`]]);
    for (const [i, netns] of this.#servers.entries())
      this.#attach(bridges, netns, 'eth0', 'back', [['10', `1${i + 1}`]]);

    const routes = (netns: NetNs, ...list: [to: string, via: string][]) => {
      using links = Links.open({ netns });
      for (const [to, via] of list) links.sync.addRoute({ to, via });
    };
    routes(this.#client, ['0.0.0.0/0', '10.20.0.254'], ['::/0', '2001:db8:20::fe']);
    routes(this.#router, ['10.30.0.0/24', '10.20.0.2'], ['2001:db8:30::/64', '2001:db8:20::2']);
    for (const netns of [...this.#directors, ...this.#servers]) {
      routes(netns, ['0.0.0.0/0', '10.10.0.254'], ['::/0', '2001:db8:10::fe']);
      using links = Links.open({ netns });
      for (let host = 1; host <= VIRTUAL_HOSTS; host++) {
        links.sync.addAddress('lo', `${virtualAddress('ipv4', host)}/32`);
        links.sync.addAddress('lo', `${virtualAddress('ipv6', host)}/128`);
      }
    }
    for (const netns of this.#servers) {
      routes(netns, ['10.30.0.0/24', '10.10.0.1'], ['2001:db8:30::/64', '2001:db8:10::1']);
      this.#receiveTunnels(netns);
    }
    using links = Links.open({ netns: this.#client });
    links.sync.addAddress('eth0', `${CLIENT.ipv4.masqueraded}/32`);
    links.sync.addAddress('eth0', `${CLIENT.ipv6.masqueraded}/128`);
    this.routeTo(0);
  }

  /** No delay for duplicate addresses, no check of where packets come from, and forwarding. */
  #quiet(netns: NetNs): void {
    for (const conf of ['all', 'default']) {
      netns.sysctl.set(`net.ipv4.conf.${conf}.rp_filter`, 0);
      netns.sysctl.set(`net.ipv4.conf.${conf}.send_redirects`, 0);
      netns.sysctl.set(`net.ipv6.conf.${conf}.accept_dad`, 0);
    }
    if (netns !== this.#client && !this.#servers.includes(netns)) {
      netns.sysctl.set('net.ipv4.ip_forward', 1);
      netns.sysctl.set('net.ipv6.conf.all.forwarding', 1);
    }
    using links = Links.open({ netns });
    links.sync.set('lo', { up: true });
  }

  #attach(
    bridges: Links,
    netns: NetNs,
    device: string,
    bridge: string,
    hosts: [network: string, host: string][],
  ): void {
    const name = `p${bridges.sync.list().length}`;
    bridges.sync.createVeth({ name, peer: { name: device, netns } });
    bridges.sync.set(name, { up: true, master: bridge });
    using links = Links.open({ netns });
    links.sync.set(device, { up: true });
    netns.sysctl.set(`net.ipv4.conf.${device}.rp_filter`, 0);
    for (const [network, host] of hosts) {
      const last = host === 'fe' ? 254 : host;
      links.sync.addAddress(device, `10.${network}.0.${last}/24`);
      links.sync.addAddress(device, `2001:db8:${network}::${host}/64`);
    }
  }

  #receiveTunnels(netns: NetNs): void {
    using links = Links.open({ netns });
    for (const device of TUNNEL_DEVICES) {
      links.sync.set(device, { up: true });
      netns.sysctl.set(`net.ipv4.conf.${device}.rp_filter`, 0);
    }
    netns.run(() => {
      execFileSync('ip', ['fou', 'add', 'port', `${GUE_PORT}`, 'gue']);
      execFileSync('ip', ['-6', 'fou', 'add', 'port', `${GUE_PORT}`, 'gue']);
      // By itself it takes IPv6 out of IPv6 only.
      execFileSync('ip', ['-6', 'tunnel', 'change', 'ip6tnl0', 'mode', 'any']);
    });
  }

  /** A GRE device takes packets with checksums or without, never both: while `inside` runs the servers take those with. */
  async withGreChecksums(family: 'ipv4' | 'ipv6', inside: () => Promise<void>): Promise<void> {
    const type = family === 'ipv4' ? 'gre' : 'ip6gre';
    const each = (command: (address: string) => string[]) => {
      for (const [i, netns] of this.#servers.entries()) {
        netns.run(() => execFileSync('ip', ['link', ...command(SERVERS[family][i]!)]));
      }
    };
    each(local => ['add', 'checked', 'type', type, 'local', local, 'csum']);
    try {
      for (const netns of this.#servers) {
        using links = Links.open({ netns });
        links.sync.set('checked', { up: true });
        netns.sysctl.set('net.ipv4.conf.checked.rp_filter', 0);
      }
      await inside();
    } finally {
      each(() => ['del', 'checked']);
    }
  }

  /** Sends what is for the virtual addresses to the first or the second director. */
  routeTo(director: 0 | 1): void {
    using links = Links.open({ netns: this.#router });
    const hops = { '10.99.0.0/24': '10.10.0.', '2001:db8:99::/64': '2001:db8:10::' };
    for (const [to, via] of Object.entries(hops)) {
      if (links.sync.routes().some(route => route.to === to)) links.sync.removeRoute({ to });
      links.sync.addRoute({ to, via: `${via}${director + 1}` });
    }
  }

  /** Answers to datagrams at a virtual address, from both servers. */
  serveDatagrams(address: string, port: number): void {
    for (const [i, netns] of this.#servers.entries()) {
      this.#listening.push(serveDatagrams(netns, `server${i + 1}`, address, port));
    }
  }

  /** What a program says in the first director's namespace. */
  onDirector(program: string, parameters: string[], input = ''): string {
    return this.#directors[0]!.run(() => execFileSync(program, parameters, { encoding: 'utf8', input }));
  }

  /** How many packets come to the servers that nftables' rule matches, while `inside` runs. */
  async countAtServers(rule: string, inside: () => Promise<void>): Promise<number> {
    const table = `table inet seen { chain in { type filter hook prerouting priority raw; ${rule} counter; }; }`;
    const nft = (netns: NetNs, ...parameters: string[]) =>
      netns.run(() => execFileSync('nft', parameters, { encoding: 'utf8' }));
    for (const netns of this.#servers) nft(netns, table);
    await inside();
    return this.#servers
      .map(netns => {
        const [, packets] = /counter packets (\d+)/.exec(nft(netns, 'list', 'table', 'inet', 'seen')) ?? [];
        nft(netns, 'delete', 'table', 'inet', 'seen');
        return Number(packets);
      })
      .reduce((sum, packets) => sum + packets, 0);
  }

  /** Servers of SCTP, for which Node has no sockets, at a virtual address; with what asks one of them for its name. */
  async withSctp(address: string, port: number, inside: (ask: () => string) => Promise<void>): Promise<void> {
    const children = this.#servers.map((netns, i) =>
      netns.run(() => spawn('perl', ['-MSocket', '-e', SCTP_SERVER, address, `${port}`, `server${i + 1}`])),
    );
    try {
      await Promise.all(children.map(child => once(child.stdout, 'data')));
      await inside(() =>
        this.#client.run(() =>
          execFileSync('perl', ['-MSocket', '-e', SCTP_CLIENT, address, `${port}`, CLIENT.ipv4.near], {
            encoding: 'utf8',
          }).trim(),
        ),
      );
    } finally {
      for (const child of children) child.kill();
      await Promise.all(children.map(ended));
    }
  }

  async close(): Promise<void> {
    this.agent.stop();
    for (const server of this.#listening) server.close();
    await Promise.all([this.director[Symbol.asyncDispose](), this.backup[Symbol.asyncDispose]()]);
    for (const netns of [this.#switch, this.#router, this.#client, ...this.#directors, ...this.#servers]) netns.close();
  }
}
