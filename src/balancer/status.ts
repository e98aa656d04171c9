import { printable } from '../errors.ts';
import type { DestinationEntry, ServiceEntry } from '../ipvs/index.ts';
import { serviceText } from './change.ts';
import { placeOf, type ServerCondition } from './live.ts';
import { MetricsText } from './metrics.ts';
import type { BalancerPart } from './part.ts';

/** A server at one balancer. */
export interface ServerStatus {
  /** Its name. */
  name: string;
  /** Its address. */
  address: string;
  /** The port by which the balancer reaches it. */
  port: number;
  /** What it is like; 'leaving' is a server that is no longer declared and still has connections. */
  condition: ServerCondition | 'fallback' | 'leaving';
  /** Why the last check has failed. */
  reason?: string;
  /** Its weight in the kernel; undefined if it is not there. */
  weight?: number;
  /** Its connections, as IPVS counts them. */
  connections: {
    /** Those that are established. */
    active: number;
    /** Those that have ended, or have not begun, and still have an entry. */
    inactive: number;
  };
}

/** A service at one balancer. */
export interface ServiceStatus {
  /** Its name. */
  name: string;
  /** Protocol, address and port, or the mark. */
  key: string;
  /** Whether the weights of healthy servers reach the quorum. */
  quorum: boolean;
  /** Whether so many servers failed at once that the checks are not believed. */
  panic: boolean;
  /** Its servers. */
  servers: ServerStatus[];
}

/** What a load balancer's services are like. */
export interface BalancerStatus {
  /** Each balancer. */
  balancers: {
    /** The container's id, or the number of its namespace. */
    name: string;
    /** Its services. */
    services: ServiceStatus[];
  }[];
}

type Entry = ServiceEntry & { destinations?: DestinationEntry[] };

async function entriesOf(part: BalancerPart): Promise<Map<string, Entry>> {
  const services: Entry[] = await part.site.container.ipvs.services({ destinations: true });
  return new Map(services.map(service => [serviceText(service), service]));
}

/** @internal */
export async function statusOf(part: BalancerPart): Promise<BalancerStatus['balancers'][number]> {
  const entries = await entriesOf(part);
  const services = [...part.services.values()].map((live): ServiceStatus => {
    const { declared } = live;
    const key = serviceText(declared.key);
    const left = new Map((entries.get(key)?.destinations ?? []).map(entry => [placeOf(entry), entry]));
    const take = (place: string) => {
      const entry = left.get(place);
      left.delete(place);
      return entry === undefined ? { connections: { active: 0, inactive: 0 } } : numbersOf(entry);
    };
    const servers = [...live.servers.values()].map(
      ({ declared: each, condition, reason }): ServerStatus => ({
        name: each.name,
        address: each.address,
        port: each.port,
        condition,
        ...(reason !== undefined && { reason }),
        ...take(placeOf(each)),
      }),
    );
    const { fallback } = declared;
    if (fallback !== undefined && left.has(placeOf(fallback)))
      servers.push({
        name: fallback.name,
        address: fallback.address,
        port: fallback.port,
        condition: 'fallback',
        ...take(placeOf(fallback)),
      });
    for (const { address, port } of [...left.values()])
      servers.push({
        name: `${address}:${port}`,
        address,
        port,
        condition: 'leaving',
        ...take(placeOf({ address, port })),
      });
    return { name: declared.name, key, quorum: live.hasQuorum, panic: live.panicking, servers };
  });
  return { name: part.name, services };
}

const numbersOf = ({ weight = 1, activeConnections, inactiveConnections }: DestinationEntry) => ({
  weight,
  connections: { active: activeConnections, inactive: inactiveConnections },
});

/**
 * A status as a table for people.
 * @param status what `lb.status()` gives
 * @example
 * console.log(formatBalancerStatus(await lb.status()));
 */
export function formatBalancerStatus({ balancers }: BalancerStatus): string {
  const lines: string[] = [];
  for (const { name, services } of balancers) {
    lines.push(`balancer ${name}`);
    for (const { name: service, key, quorum, panic, servers } of services) {
      lines.push(
        `  ${service}  ${key}${quorum ? '' : '  no quorum'}${panic ? '  all failed at once: checks not believed' : ''}`,
      );
      const rows = servers.map(({ name: server, address, port, condition, weight, connections, reason }) => [
        server,
        `${address}:${port}`,
        condition,
        weight === undefined ? '-' : String(weight),
        `${connections.active}/${connections.inactive}`,
        reason ?? '',
      ]);
      const table = [['server', 'address', 'condition', 'weight', 'active/inactive', 'reason'], ...rows];
      const widths = table[0]!.map((_, i) => Math.max(...table.map(row => row[i]!.length)));
      for (const row of table)
        lines.push(
          `    ${row
            .map((cell, i) => cell.padEnd(widths[i]!))
            .join('  ')
            .trimEnd()}`,
        );
    }
  }
  return `${lines.map(line => printable(line)).join('\n')}\n`;
}

/** @internal */
export async function metricsOf(parts: readonly BalancerPart[]): Promise<string> {
  const text = new MetricsText();
  for (const part of parts) {
    const entries = await entriesOf(part);
    const { made, failed, lastMs } = part.reconciliations;
    const whole = { balancer: part.name };
    const help = 'How often IPVS was brought in line with the declaration and the checks.';
    text.counter('netsteer_reconciliations', help, { ...whole, result: 'good' }, made);
    text.counter('netsteer_reconciliations', help, { ...whole, result: 'bad' }, failed);
    text.gauge(
      'netsteer_last_reconciliation_timestamp_seconds',
      'When that last succeeded, since 1970.',
      whole,
      lastMs / 1000,
    );
    for (const live of part.services.values()) {
      const { declared } = live;
      const labels = { balancer: part.name, service: declared.name };
      text.gauge(
        'netsteer_service_quorum',
        'Whether the healthy servers reach the quorum.',
        labels,
        live.hasQuorum ? 1 : 0,
      );
      const entry = entries.get(serviceText(declared.key));
      if (entry !== undefined) {
        const { connections, inPackets, outPackets, inBytes, outBytes } = entry.stats;
        text.counter('netsteer_service_connections', 'Connections that IPVS has balanced.', labels, connections);
        text.counter('netsteer_service_incoming_packets', 'Packets from clients.', labels, inPackets);
        text.counter(
          'netsteer_service_outgoing_packets',
          'Packets to clients; 0 with direct routing.',
          labels,
          outPackets,
        );
        text.counter('netsteer_service_incoming_bytes', 'Bytes from clients.', labels, inBytes);
        text.counter('netsteer_service_outgoing_bytes', 'Bytes to clients; 0 with direct routing.', labels, outBytes);
      }
      for (const { declared: server, up, drained } of live.servers.values()) {
        const mine = { ...labels, server: server.name };
        text.gauge('netsteer_server_up', 'Whether the checks say that the server is healthy.', mine, up ? 1 : 0);
        text.gauge('netsteer_server_drained', 'Whether somebody has drained the server.', mine, drained ? 1 : 0);
        const destination = entry?.destinations?.find(each => placeOf(each) === placeOf(server));
        if (destination !== undefined) {
          text.gauge('netsteer_server_weight', 'The weight in the kernel.', mine, destination.weight ?? 1);
          text.gauge(
            'netsteer_server_active_connections',
            'Connections that are established or being made.',
            mine,
            destination.activeConnections,
          );
          text.gauge(
            'netsteer_server_inactive_connections',
            'Connections that have ended lately, and UDP.',
            mine,
            destination.inactiveConnections,
          );
          text.counter(
            'netsteer_server_connections',
            'Connections that IPVS has given to the server.',
            mine,
            destination.stats.connections,
          );
          text.counter(
            'netsteer_server_incoming_bytes',
            'Bytes from clients to the server.',
            mine,
            destination.stats.inBytes,
          );
        }
        const counts = part.counts.get(`${declared.name}/${server.name}`);
        if (counts === undefined) continue;
        text.counter('netsteer_checks', 'Health checks by their result.', { ...mine, result: 'good' }, counts.good);
        text.counter('netsteer_checks', 'Health checks by their result.', { ...mine, result: 'bad' }, counts.bad);
        text.histogram('netsteer_check_duration_seconds', 'How long health checks took.', mine, counts.seconds);
      }
    }
  }
  return text.toString();
}
