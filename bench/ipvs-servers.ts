import type { IpvsOperation, VirtualServer } from 'netsteer';

/** Of each service. */
export const SERVERS = 4;

export function virtualServers(count: number): VirtualServer[] {
  return Array.from({ length: count }, (_, i) => virtualServer(i));
}

function virtualServer(index: number): VirtualServer {
  return {
    protocol: 'tcp',
    address: `10.20.${index >> 8}.${index & 0xff}`,
    port: 80,
    scheduler: 'wlc',
    destinations: Array.from({ length: SERVERS }, (_, i) => ({
      address: `192.168.${i}.${1 + (index % 250)}`,
      port: 8080,
      forward: 'masquerade',
      weight: 1 + i,
    })),
  };
}

/** What adds them, as data. */
export function operationsFor(servers: readonly VirtualServer[]): IpvsOperation[] {
  return servers.flatMap(({ destinations, ...service }): IpvsOperation[] => [
    { op: 'addService', service },
    ...destinations.map((destination): IpvsOperation => ({ op: 'addDestination', key: service, destination })),
  ]);
}
