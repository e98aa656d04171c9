import { Cluster, type ClusterService } from '../../src/cluster/index.ts';
import { Links } from '../../src/rtnetlink/index.ts';
import { type MemoryContainer, MemoryKernel } from '../../src/testing/index.ts';

/** A host with a kernel of its own, whose clock goes with ours. */
export class Host {
  readonly kernel = MemoryKernel.create();
  readonly lvs: MemoryContainer;
  readonly web: MemoryContainer;
  readonly #clock: NodeJS.Timeout;
  readonly name: string;
  readonly number: number;
  cluster!: Cluster;

  constructor(number: number) {
    this.number = number;
    this.name = `host${number}`;
    this.lvs = this.kernel.container('lvs', {
      links: [
        { name: 'eth0', addresses: [`10.10.0.${number}/24`] },
        { name: 'eth1', addresses: [`192.168.0.${number}/24`] },
      ],
    });
    this.web = this.kernel.container('web', { links: [{ name: 'eth0', addresses: [`192.168.0.${50 + number}/24`] }] });
    let last = performance.now();
    this.#clock = setInterval(() => {
      const now = performance.now();
      this.kernel.advance(Math.floor(now - last));
      last += Math.floor(now - last);
    }, 20);
  }

  async join({ endpoint }: { endpoint: string }, prefix: string): Promise<Cluster> {
    this.cluster = await Cluster.join({
      etcd: { endpoints: [endpoint] },
      host: this.name,
      prefix,
      ttlSeconds: 4,
      containers: name =>
        name === `lvs${this.number}` ? this.lvs : name === `web${this.number}` ? this.web : undefined,
    });
    return this.cluster;
  }

  async hasAddress(): Promise<boolean> {
    await using links = Links.open({ netns: this.lvs.netns });
    return (await links.addresses()).some(({ address }) => address === '10.10.0.100/32');
  }

  async weights(): Promise<Record<string, number | undefined>> {
    const [service] = await this.lvs.ipvs.services({ destinations: true });
    return Object.fromEntries((service?.destinations ?? []).map(({ address, weight }) => [address, weight]));
  }

  close(): void {
    clearInterval(this.#clock);
  }
}

/** A service over the servers of three hosts, with a balancer on each. */
export const web: ClusterService = {
  name: 'web',
  protocol: 'tcp',
  address: '10.10.0.100',
  port: 80,
  scheduler: 'rr',
  forward: 'direct',
  device: 'eth0',
  balancers: ['lvs1', 'lvs2', 'lvs3'],
  servers: [1, 2, 3].map(i => ({
    host: `host${i}`,
    container: `web${i}`,
    name: `web${i}`,
    address: `192.168.0.${50 + i}`,
    toPort: 8080,
  })),
};
