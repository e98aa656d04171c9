import { Container, Links, NetNs } from 'netsteer';
import { LOCAL_PORT } from './deployment.ts';
import { RuncContainer } from './runc.ts';

/** One web container of the lab. */
export interface Web {
  readonly name: string;
  /** The pid of its first process. */
  readonly pid: number;
  readonly address: string;
  readonly container: Container;
}

/*
 *   client ── bridge 10.10.0.0/24 ── balancer (eth0 with the alias 10.10.0.100, eth1)
 *                  │                     │
 *                router ────────── bridge 192.168.0.0/24 ── web1, web2
 *
 * With direct routing, replies must not pass the balancer, whose kernel would drop packets from its own address. So a router takes them to
 * the client. The bridges are in a namespace of their own, so that the host's network is not touched.
 */
const FRONT = 'front';
const BACK = 'back';
const ROUTER = '192.168.0.1';

/** The hosts and networks of the demo: namespaces, two bridges, and unprivileged containers. */
export class Lab {
  readonly client = NetNs.create();
  readonly balancer = Container.open({ netns: NetNs.create() });
  readonly webs: Web[] = [];
  readonly #router = NetNs.create();
  readonly #bridges = NetNs.create();
  readonly #runc: RuncContainer[] = [];

  /** Builds the lab and reports each step. Close it also if this fails. */
  async build(say: (text: string) => void): Promise<void> {
    say('two bridges, a client, a router and the balancer, each in a network namespace of its own');
    using bridges = Links.open({ netns: this.#bridges });
    for (const name of [FRONT, BACK]) {
      await bridges.createBridge({ name });
      await bridges.set(name, { up: true });
    }
    await this.#attach(bridges, this.client, 'eth0', FRONT, '10.10.0.1/24');
    await this.#attach(bridges, this.#router, 'eth0', FRONT, '10.10.0.254/24');
    await this.#attach(bridges, this.#router, 'eth1', BACK, `${ROUTER}/24`);
    await this.#attach(bridges, this.balancer.netns, 'eth0', FRONT, '10.10.0.10/24');
    await this.#attach(bridges, this.balancer.netns, 'eth1', BACK, '192.168.0.10/24');
    using links = Links.open({ netns: this.balancer.netns });
    await links.addAddress('eth0', '10.10.0.100/32', { label: 'eth0:100' });
    for (const netns of [this.#router, this.balancer.netns]) {
      netns.sysctl.set('net.ipv4.ip_forward', true);
      // Replies from 10.10.0.100 arrive at the router on a side where reverse path filtering would drop them.
      for (const device of ['all', 'default', 'eth0', 'eth1']) netns.sysctl.set(`net.ipv4.conf.${device}.rp_filter`, 0);
    }

    const names = ['web1', 'web2'];
    say(
      `the unprivileged containers ${names.join(' and ')} (runc, own user namespace, mapped ids), an HTTP server in each`,
    );
    const started = await Promise.allSettled(names.map(name => RuncContainer.start(name, server(name))));
    for (const result of started) if (result.status === 'fulfilled') this.#runc.push(result.value);
    for (const result of started) if (result.status === 'rejected') throw result.reason;
    for (const [i, { name, pid }] of this.#runc.entries()) {
      const address = `192.168.0.${50 + i}`;
      const container = Container.open({ pid });
      this.webs.push({ name, pid, address, container });
      await this.#attach(bridges, container.netns, 'eth0', BACK, `${address}/24`);
      using inside = Links.open({ netns: container.netns });
      await inside.addRoute({ to: 'default', via: ROUTER });
    }
  }

  /** Connects a bridge with a namespace by a veth pair. The end in the namespace gets a name and an address. */
  async #attach(bridges: Links, netns: NetNs, device: string, bridge: string, address: string): Promise<void> {
    const name = `p${(await bridges.list()).length}`;
    await bridges.createVeth({ name, peer: { name: device, netns } });
    await bridges.set(name, { up: true, master: bridge });
    using links = Links.open({ netns });
    await links.set('lo', { up: true });
    await links.set(device, { up: true });
    await links.addAddress(device, address);
  }

  /** Stops the containers. The namespaces end with their last process or descriptor, and with them everything that was programmed. */
  async close(): Promise<void> {
    const { balancer, client } = this;
    const netns = [client, this.#router, this.#bridges, balancer.netns];
    await Promise.all(
      [...this.webs.map(({ container }) => container), balancer, ...netns].map(each => each[Symbol.asyncDispose]()),
    );
    for (const container of this.#runc.splice(0)) container.stop();
  }
}

/** The program of a web container. */
function server(name: string): string {
  return `require('node:http').createServer((_, reply) => reply.end('HELLO,This is ${name}\\n')).listen(${LOCAL_PORT}, () => console.log('ready'))`;
}
