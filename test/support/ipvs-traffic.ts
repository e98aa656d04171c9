import { type Destination, Ipvs, type Service } from '../../src/ipvs/index.ts';
import { tcp, udp } from '../../src/testing/index.ts';
import { type IpvsTwins, SERVERS, VIRTUAL } from './ipvs-twins.ts';

/* Connections through both of two balancers, while their servers come, go and change. */

/** A generator of random numbers with a seed. */
export function randomOf(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return below => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

export interface Traffic {
  scheduler: string;
  flags?: Service['schedulerFlags'];
  family?: 'ipv4' | 'ipv6';
  protocol?: 'tcp' | 'udp';
  persistence?: Service['persistence'];
  forward?: Destination['forward'];
  /** How many new connections. */
  connections: number;
  seed: number;
}

interface Client {
  address: string;
  port: number;
}

/** Compares both after some packets. Each run has a service at a port of its own. */
export class TrafficTwins {
  readonly #twins: IpvsTwins;
  readonly #handles: readonly Ipvs[];
  /** Each run has another: the kernel remembers connections that have ended, and servers that were taken away. */
  #port = 1000;

  constructor(twins: IpvsTwins) {
    this.#twins = twins;
    this.#handles = twins.namespaces.map(netns => Ipvs.open({ netns }));
  }

  #both(call: (ipvs: Ipvs) => void): void {
    for (const ipvs of this.#handles) call(ipvs);
  }

  run(traffic: Traffic): { connections: number; difference: { real: unknown; memory: unknown } | undefined } {
    const { scheduler, family = 'ipv4', protocol = 'tcp', flags, persistence, forward = 'masquerade', seed } = traffic;
    const random = randomOf(seed);
    const port = ++this.#port;
    const key = { protocol, address: VIRTUAL[family], port } as const;
    this.#both(({ sync }) =>
      sync.addService({
        ...key,
        scheduler,
        ...(flags && { schedulerFlags: flags }),
        ...(persistence && { persistence }),
      }),
    );
    const present = new Set<number>();
    const server = (index: number) => ({
      address: SERVERS[index]![family],
      port: forward === 'masquerade' ? 8080 : port,
    });
    const put = (index: number) => {
      const weight = [1, 1, 2, 3, 5, 0, 100][random(7)]!;
      const upperThreshold = random(4) === 0 ? 2 + random(12) : 0;
      const destination = {
        ...server(index),
        forward,
        weight,
        upperThreshold,
        lowerThreshold: random(2) * (upperThreshold >> 1),
      };
      this.#both(({ sync }) => sync.setDestination(key, destination));
      present.add(index);
    };
    for (let i = 0; i < 2 + random(4); i++) put(random(SERVERS.length));
    const clients: Client[] = [];
    for (let sent = 0; sent < traffic.connections; ) {
      const die = random(100);
      if (die < 3) put(random(SERVERS.length));
      else if (die < 4 && present.size > 1) {
        const [index] = [...present].slice(random(present.size));
        this.#both(({ sync }) => sync.removeDestination(key, server(index!)));
        present.delete(index!);
      } else if (die < 15 && clients.length > 0) {
        const client = clients[random(clients.length)]!;
        this.#send(client, key, (['ack', 'ack', 'fin', 'syn'] as const)[random(4)]!);
      } else {
        const host = random(1 << 16);
        const client = {
          address: clientAddress(family, persistence === undefined ? host : host & 0x3ff),
          port: 1024 + random(60_000),
        };
        clients.push(client);
        this.#send(client, key, 'syn');
        sent++;
      }
    }
    const difference = this.#compare(key);
    this.#both(({ sync }) => sync.removeService(key));
    return { connections: traffic.connections, difference };
  }

  #send(
    client: Client,
    { address, port, protocol }: { address: string; port: number; protocol: 'tcp' | 'udp' },
    flag: 'syn' | 'ack' | 'fin',
  ): void {
    const end = (at: string, number: number) => (at.includes(':') ? `[${at}]:${number}` : `${at}:${number}`);
    const ends = { from: end(client.address, client.port), to: end(address, port) };
    const { bytes } =
      protocol === 'udp'
        ? udp({ ...ends, payload: 'x' })
        : tcp({ ...ends, flags: flag === 'syn' ? 'syn' : [flag, 'ack'] });
    this.#twins.send(Buffer.from(bytes, 'hex'));
  }

  #compare(key: {
    protocol: 'tcp' | 'udp';
    address: string;
    port: number;
  }): { real: unknown; memory: unknown } | undefined {
    const digits = key.port.toString(16).toUpperCase().padStart(4, '0');
    const lists = this.#twins.connections(line => line.split(/ +/)[4] === digits);
    const [real, memory] = this.#handles.map(({ sync }, i) => ({
      connections: lists[i]!,
      destinations: sync
        .destinations(key)
        .map(({ address, weight, activeConnections, inactiveConnections, persistentConnections }) =>
          [address, weight, activeConnections, inactiveConnections, persistentConnections].join(' '),
        ),
    }));
    return JSON.stringify(real) === JSON.stringify(memory) ? undefined : { real, memory };
  }

  async close(): Promise<void> {
    await Promise.all(this.#handles.map(ipvs => ipvs[Symbol.asyncDispose]()));
  }
}

function clientAddress(family: 'ipv4' | 'ipv6', host: number): string {
  if (family === 'ipv4') return `10.3.${host >> 8}.${host & 255}`;
  return `fd00:3:${((host * 40_503) & 0xfff) + 1}::${(host + 1).toString(16)}`;
}
