import type { NetNs } from 'netsteer';
import { isNotFound, Links } from 'netsteer';

/** A network of containers on one host. */
export interface ContainerNetworkOptions {
  /** The bridge on the host, 1 to 15 bytes. */
  bridge: string;
  /** The bridge's address with the network's prefix length: the containers' router. */
  address: string;
  /** Packets of containers look for their route in this table first, where it is given. */
  table?: number;
}

/** One container in the network. */
export interface Member {
  /** The name of its cable's end on the host, 1 to 15 bytes. */
  name: string;
  /** The container's namespace. */
  netns: NetNs;
  /** Its address with the network's prefix length. */
  address: string;
  /** It reaches the host, and no other member that is isolated. Default false. */
  isolated?: boolean;
}

/**
 * A bridge, and a cable for each container: what scripts of `ip link`, `ip address`, `ip route` and `ip rule` make. Each step is done again
 * where it was done before, so that a program that was stopped in the middle can begin anew.
 */
export class ContainerNetwork {
  readonly #host: Links;
  readonly #options: ContainerNetworkOptions;

  /** @param host a handle in the host's namespace */
  constructor(host: Links, options: ContainerNetworkOptions) {
    this.#host = host;
    this.#options = options;
  }

  /** Makes the bridge, and the rule that leads packets from the network to the table. */
  async make(): Promise<void> {
    const { bridge, address, table } = this.#options;
    if ((await this.#find(bridge)) === undefined)
      await this.#host.createBridge({ name: bridge, alias: 'network of containers', bridge: { stpState: 0 } });
    await this.#host.set(bridge, { up: true });
    const own = await this.#host.addresses({ device: bridge });
    if (!own.some(each => each.address === address)) await this.#host.addAddress(bridge, address);
    if (table === undefined) return;
    const rules = await this.#host.rules({ family: 'ipv4' });
    if (!rules.some(rule => rule.inDevice === bridge && rule.table === table))
      await this.#host.addRule({ inDevice: bridge, table });
  }

  /** Connects a container: its end is eth0, and the bridge is its router. */
  async join({ name, netns, address, isolated = false }: Member): Promise<void> {
    const { bridge } = this.#options;
    const port = { hairpin: true, isolated };
    if ((await this.#find(name)) === undefined)
      await this.#host.createVeth({ name, master: bridge, port, up: true, peer: { name: 'eth0', netns } });
    else await this.#host.set(name, { master: bridge, port, up: true });
    await using inside = Links.open({ netns });
    await inside.set('lo', { up: true });
    await inside.set('eth0', { up: true });
    const own = await inside.addresses({ device: 'eth0' });
    if (!own.some(each => each.address === address)) await inside.addAddress('eth0', address);
    await inside.setRoute({ to: 'default', via: this.#options.address.split('/')[0]! });
  }

  /** Disconnects a container: both ends of its cable go. */
  async leave(name: string): Promise<void> {
    if ((await this.#find(name)) !== undefined) await this.#host.remove(name);
  }

  /** Takes the bridge and the rule away. The cables of members that have not left stay, without a bridge. */
  async remove(): Promise<void> {
    const { bridge, table } = this.#options;
    if (table !== undefined)
      for (const rule of await this.#host.rules())
        if (rule.inDevice === bridge && rule.table === table) await this.#host.removeRule(rule);
    await this.leave(bridge);
  }

  async #find(name: string) {
    try {
      return await this.#host.get(name);
    } catch (error) {
      if (isNotFound(error)) return undefined;
      throw error;
    }
  }
}
