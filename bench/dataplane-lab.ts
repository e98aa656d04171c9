import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { Links, NetNs } from 'netsteer';
import type { Sample } from './harness.ts';
import { compiled, finished } from './programs.ts';

/** Namespaces and the cables between them, for one run: what connections leave behind in the kernel goes with them. */
export class Lab {
  readonly #namespaces: NetNs[] = [];
  readonly #servers: ChildProcess[] = [];

  namespace(): NetNs {
    const netns = NetNs.create();
    this.#namespaces.push(netns);
    for (const conf of ['all', 'default']) {
      netns.sysctl.set(`net.ipv4.conf.${conf}.rp_filter`, 0);
      netns.sysctl.set(`net.ipv4.conf.${conf}.send_redirects`, 0);
    }
    netns.sysctl.set('net.ipv4.ip_forward', 1);
    netns.sysctl.set('net.ipv4.ip_local_port_range', '1024 65535');
    using links = Links.open({ netns });
    links.sync.set('lo', { up: true });
    return netns;
  }

  /** A cable; each end with its addresses, the first of which name the device. */
  connect(name: string, ...ends: readonly [netns: NetNs, ...addresses: string[]][]): void {
    const [[netns], [peer]] = ends as unknown as [[NetNs], [NetNs]];
    using links = Links.open({ netns });
    links.sync.createVeth({ name, peer: { name, netns: peer } });
    for (const [inside, ...addresses] of ends) {
      using own = Links.open({ netns: inside });
      own.sync.set(name, { up: true });
      inside.sysctl.set(`net.ipv4.conf.${name}.rp_filter`, 0);
      for (const address of addresses) own.sync.addAddress(name, address);
    }
  }

  route(netns: NetNs, to: string, via: string): void {
    using links = Links.open({ netns });
    links.sync.addRoute({ to, via });
  }

  addAddress(netns: NetNs, device: string, address: string): void {
    using links = Links.open({ netns });
    links.sync.addAddress(device, address);
  }

  /** native/visit.c answers at a port. */
  async serve(netns: NetNs, port: number): Promise<void> {
    const program = compiled('visit');
    if (program === undefined) throw new Error('the traffic needs a C compiler');
    const server = netns.run(() => spawn(program, ['serve', String(port)], { stdio: ['pipe', 'pipe', 'inherit'] }));
    this.#servers.push(server);
    await once(server.stdout, 'data');
  }

  /** Round trips, one after the other. */
  async visit(netns: NetNs, parameters: readonly string[]): Promise<Sample> {
    const program = compiled('visit')!;
    const { stdout } = await finished(program, parameters, { program, parameters, netns }, true);
    const { nanoseconds, p50, p99 } = JSON.parse(stdout) as { nanoseconds: number; p50: number; p99: number };
    return { seconds: nanoseconds / 1e9, latencyMicroseconds: { p50, p99 } };
  }

  async close(): Promise<void> {
    for (const server of this.#servers) {
      server.stdin?.end();
      if (server.exitCode === null) await once(server, 'exit');
    }
    for (const netns of this.#namespaces) netns.close();
  }
}
