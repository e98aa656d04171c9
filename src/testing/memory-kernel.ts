import { parseIPv4, parseIPv6 } from '../codec/index.ts';
import { Container } from '../container/index.ts';
import { rangeError } from '../errors.ts';
import { NetNs } from '../netns/index.ts';
import { generic } from './generic.ts';
import { MemoryAccess } from './machine/access.ts';
import { MemoryCalls } from './machine/calls.ts';
import { Machine } from './machine/machine.ts';
import type { Link, Namespace } from './machine/state.ts';
import { netfilter } from './netfilter.ts';
import { Network, type Passage } from './network.ts';
import { expire } from './nflog.ts';
import type { PacketBytes } from './packets/build.ts';
import { routing } from './routing.ts';

/** A device of a namespace. */
export interface LinkOptions {
  readonly name: string;
  /** Addresses with their prefix length: '192.168.0.50/24'. */
  readonly addresses?: readonly string[];
}

/** A kernel in memory. */
export class MemoryKernel {
  readonly #machine: Machine;
  readonly #calls: MemoryCalls;

  private constructor(machine: Machine) {
    this.#machine = machine;
    this.#calls = new MemoryCalls(machine);
  }

  static create(options: { release?: string; modules?: readonly string[] } = {}): MemoryKernel {
    const [major = 6, minor = 12] = (options.release ?? '6.12').split('.').map(Number);
    const modules = options.modules && new Set(options.modules);
    return new MemoryKernel(new Machine({ version: [major, minor], modules }, [netfilter, generic, routing]));
  }

  netns(name: string, links: readonly LinkOptions[] = []): NetNs {
    const namespace = this.#machine.createNamespace(name, false);
    for (const link of links) addLink(namespace, link);
    return NetNs.over(new MemoryAccess(this.#machine, this.#calls, this.#calls.openNamespace(namespace.inode)));
  }

  container(name: string, options: { links?: readonly LinkOptions[] } = {}): Container {
    return Container.open({ netns: this.netns(name, options.links) });
  }

  receive(netns: NetNs, { bytes }: PacketBytes, on: string): Passage {
    const namespace = this.#machine.namespace(netns.inode);
    const link = namespace.links.find(({ name }) => name === on);
    if (link === undefined) throw rangeError(['on'], 'the name of a device of the container', on);
    return new Network(this.#machine, namespace).receive(bytes, link);
  }

  send(netns: NetNs, { bytes }: PacketBytes): Passage {
    return new Network(this.#machine, this.#machine.namespace(netns.inode)).send(bytes);
  }

  sysctl(netns: NetNs, name: string, value: string): void {
    this.#machine.namespace(netns.inode).sysctls.set(name, value);
  }

  advance(milliseconds: number): void {
    this.#machine.state.now += BigInt(milliseconds);
    for (const namespace of this.#machine.state.namespaces.values()) expire(this.#machine, namespace);
  }
}

function addLink(namespace: Namespace, { name, addresses = [] }: LinkOptions): Link {
  const index = ++namespace.lastIndex;
  const link: Link = {
    index,
    name,
    up: true,
    mtu: 1500,
    group: 0,
    kind: 'veth',
    hardwareAddress: Uint8Array.of(2, 0, 0, 0, 0, index),
    loopback: false,
    addresses: addresses.map(text => {
      const [address = '', prefix] = text.split('/');
      const bytes = address.includes(':') ? parseIPv6(address) : parseIPv4(address);
      if (bytes === undefined) throw rangeError(['addresses'], 'addresses such as 192.168.0.50/24', text);
      return { family: bytes.length === 4 ? 2 : 10, bytes, prefix: Number(prefix ?? bytes.length * 8) };
    }),
  };
  namespace.links.push(link);
  return link;
}
