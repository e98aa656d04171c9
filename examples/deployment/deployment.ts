/*
 * The classic LVS deployment, programmed by netsteer alone: a balancer spreads 10.10.0.100:80 over web containers by direct routing. Each
 * container accepts that address by a redirect rule of its own, and logs its packets to NFLOG.
 */
import type { Container, TransportKey } from 'netsteer';
import { ip, log, redirect, Transaction, table, tcp } from 'netsteer/nftables';

/** The service that clients connect to. */
export const SERVICE: TransportKey = { protocol: 'tcp', address: '10.10.0.100', port: 80 };

/** The port that the HTTP server of each container listens on. */
export const LOCAL_PORT = 8080;

/** Programs the balancer: one virtual service, and a destination for each container. */
export async function balance(balancer: Container, servers: readonly string[]): Promise<void> {
  await balancer.ipvs.addService({ ...SERVICE, scheduler: 'lc' });
  for (const address of servers) {
    await balancer.ipvs.addDestination(SERVICE, { address, port: SERVICE.port, forward: 'direct' });
  }
}

/** Programs a web container, in one atomic commit: packets for the service are logged and sent to the local server. */
export async function accept(web: Container, name: string, group: number): Promise<void> {
  const rules = table('ip', 'web');
  const service = rules.chain('service', { type: 'nat', hook: 'prerouting', priority: 'dstnat' });
  const isForService = [ip.daddr.eq(SERVICE.address), tcp.dport.eq(SERVICE.port)];
  const accepting = service.rule([...isForService, log({ group, prefix: `${name} ` }), redirect({ to: LOCAL_PORT })]);
  await web.nftables.commit(new Transaction().add(rules).add(service).add(accepting));
}

/** Prints the packet log of one container, a line for each packet, until the log is closed. */
export async function follow(web: Container, group: number, onPacket: (line: string) => void): Promise<void> {
  for await (const packet of web.nflog({ groups: [group] })) onPacket(packet.summary());
}
