import { parseIPv4, parseIPv6, toHex } from '../codec/index.ts';
import { Container } from '../container/index.ts';
import { describeErrno, rangeError, typeError } from '../errors.ts';
import { formatRules, Ipvs } from '../ipvs/index.ts';
import { NetNs } from '../netns/index.ts';
import type { ProcessExit } from '../netns/process.ts';
import { formatRuleset, Nftables, type Ruleset, transactionOf } from '../nftables/index.ts';
import { planOf } from '../nftables/plan/plan.ts';
import { expire as expireConnections } from './conntrack/table.ts';
import { generic } from './generic.ts';
import { expire as expireBalanced } from './ipvs/connections.ts';
import { ipvsOptions } from './ipvs/sockopt.ts';
import { MemoryAccess } from './machine/access.ts';
import { MemoryCalls } from './machine/calls.ts';
import { Machine } from './machine/machine.ts';
import type { Link, MachineState, Namespace } from './machine/state.ts';
import { netfilter } from './netfilter.ts';
import { expire as expireLogs } from './nflog/log.ts';
import type { PacketBytes } from './packets/build.ts';
import { type Passage, Path } from './packets/path.ts';
import { routing } from './rtnetlink/routing.ts';

/** A device of a namespace. */
export interface LinkOptions {
  /** Its name: at most 15 bytes. */
  readonly name: string;
  /** Addresses with the lengths of their prefixes: '192.168.0.50/24'. */
  readonly addresses?: readonly string[];
}

/** What a container of a kernel in memory has. */
export interface MemoryContainerOptions {
  /** Its devices, besides the loopback device. */
  readonly links?: readonly LinkOptions[];
  /** A user namespace of its own owns it, as that of an unprivileged container does. */
  readonly userNamespace?: boolean;
}

/** What has become of a packet. */
export interface PacketResult {
  readonly verdict: Passage['verdict'];
  /** The packet as it leaves, or as it is delivered: hexadecimal digits from the network header on. */
  readonly packet: string;
  /** Each rule that matched, and the policies of the chains. */
  readonly steps: Passage['steps'];
  /** What rules have logged to groups of NFLOG. */
  readonly logs: readonly { readonly group: number; readonly prefix: string; readonly packet: string }[];
  /** The server to which IPVS has sent it. */
  readonly forwardedTo?: NonNullable<Passage['forwardedTo']>;
  /** The device by which it leaves. */
  readonly device?: string;
}

/** A container of a kernel in memory: its handles work as on a real one, and packets can be sent through it. */
export class MemoryContainer extends Container {
  readonly #machine: Machine;
  readonly #end: () => void;

  /** @internal */
  static of(machine: Machine, netns: NetNs): MemoryContainer {
    let end = () => {};
    const exited = new Promise<void>(resolve => {
      end = resolve;
    });
    const exit = { pidfd: undefined, exited, ended: false, close() {} };
    return new MemoryContainer(machine, netns, exit, () => {
      exit.ended = true;
      end();
    });
  }

  private constructor(machine: Machine, netns: NetNs, exit: ProcessExit, end: () => void) {
    super(netns, exit, undefined);
    this.#machine = machine;
    this.#end = end;
  }

  /**
   * Lets a packet come in by a device.
   * @param packet such as one of `tcp()`
   * @param options the device
   * @example
   * web1.receive(tcp({ from: '10.10.0.1:40000', to: '10.10.0.100:80' }), { on: 'eth0' });
   */
  receive(packet: PacketBytes, { on }: { on: string }): PacketResult {
    const link = this.#namespace.links.find(({ name }) => name === on);
    if (link === undefined) throw rangeError(['on'], 'the name of a device of the container', on);
    return resultOf(new Path(this.#machine, this.#namespace).receive(packet.bytes, link));
  }

  /**
   * Lets a process of the container send a packet.
   * @param packet such as one of `udp()`
   * @example
   * web1.send(udp({ from: '192.168.0.50:40000', to: '192.168.0.1:53' }));
   */
  send(packet: PacketBytes): PacketResult {
    return resultOf(new Path(this.#machine, this.#namespace).send(packet.bytes));
  }

  /**
   * Ends the process of the container: `closed` resolves.
   * @example
   * web1.end();
   */
  end(): void {
    this.#end();
  }

  get #namespace(): Namespace {
    return this.#machine.namespace(this.netns.inode);
  }
}

function resultOf({ verdict, packet, steps, logs, forwardedTo, outDevice }: Passage): PacketResult {
  return {
    verdict,
    packet: toHex(packet.bytes),
    steps,
    logs: logs.map(({ group, prefix, bytes }) => ({ group, prefix, packet: toHex(bytes) })),
    ...(forwardedTo !== undefined && { forwardedTo }),
    ...(outDevice !== undefined && { device: outDevice }),
  };
}

/** What a kernel in memory is made with. */
export interface MemoryKernelOptions {
  /** The release of Linux: '6.1', '6.12' or '6.18'; '6.12' by default. */
  readonly release?: string;
  /** The modules that it has: those that are asked for and missing here cannot be loaded. All by default. */
  readonly modules?: readonly string[];
}

/** What is made to fail. */
export interface FaultOptions {
  /** The system call: 'socket', 'sendto' or 'recvmsg'. */
  readonly syscall: 'socket' | 'sendto' | 'recvmsg';
  /** The name of the errno: 'ENOBUFS'. */
  readonly errno: string;
  /** How often; once by default. */
  readonly times?: number;
}

/** The state of a kernel in memory at a moment. */
export interface MemorySnapshot {
  readonly state: MachineState;
}

/**
 * A kernel in memory, for tests without root: IPVS, nf_tables, connection tracking, packet logs, links and routes of any number of
 * containers. Handles talk to it in the same bytes as to a real one.
 * @example
 * const kernel = MemoryKernel.create();
 * const web1 = kernel.container('web1', { links: [{ name: 'eth0', addresses: ['192.168.0.50/24'] }] });
 * await web1.redirects.set([{ protocol: 'tcp', address: '10.10.0.100', port: 80, toPort: 8080 }]);
 * console.log(web1.receive(tcp({ from: '10.10.0.1:40000', to: '10.10.0.100:80' }), { on: 'eth0' }).verdict);
 */
export class MemoryKernel {
  readonly #machine: Machine;
  readonly #calls: MemoryCalls;

  private constructor(machine: Machine) {
    this.#machine = machine;
    this.#calls = new MemoryCalls(machine);
  }

  static create(options: MemoryKernelOptions = {}): MemoryKernel {
    const { release = '6.12' } = options;
    const version = /^(\d+)\.(\d+)$/.exec(release);
    if (version === null) throw rangeError(['release'], "a release such as '6.12'", release);
    const modules = options.modules && new Set(options.modules);
    const numbers = [Number(version[1]), Number(version[2])] as const;
    return new MemoryKernel(new Machine({ version: numbers, modules }, [netfilter, generic, routing], [ipvsOptions]));
  }

  netns(name: string, options: MemoryContainerOptions = {}): NetNs {
    const namespace = this.#machine.createNamespace(name, options.userNamespace ?? false);
    for (const link of options.links ?? []) addLink(namespace, link);
    return NetNs.over(new MemoryAccess(this.#machine, this.#calls, this.#calls.openNamespace(namespace.inode)));
  }

  container(name: string, options: MemoryContainerOptions = {}): MemoryContainer {
    return MemoryContainer.of(this.#machine, this.netns(name, options));
  }

  fail({ syscall, errno, times = 1 }: FaultOptions): void {
    this.#machine.faults.push({ syscall, errno: numberOf(errno), left: times });
  }

  advance(milliseconds: number): void {
    if (!Number.isInteger(milliseconds) || milliseconds < 0)
      throw rangeError(['milliseconds'], 'an integer from 0', milliseconds);
    const { state } = this.#machine;
    state.now += BigInt(milliseconds);
    for (const namespace of state.namespaces.values()) {
      expireLogs(this.#machine, namespace);
      expireConnections(this.#machine, namespace);
      expireBalanced(namespace, Number(state.now));
    }
  }

  snapshot(): MemorySnapshot {
    return { state: structuredClone(this.#machine.state) };
  }

  restore({ state }: MemorySnapshot): void {
    this.#machine.state = structuredClone(state);
  }

  /** All of it, as `nft list ruleset` and `ipvsadm -Sn` print it. */
  text(): string {
    const parts: string[] = [];
    for (const { inode, name } of this.#machine.state.namespaces.values()) {
      const netns = NetNs.over(new MemoryAccess(this.#machine, this.#calls, this.#calls.openNamespace(inode)));
      const nft = Nftables.open({ netns });
      const ipvs = Ipvs.open({ netns, via: 'netlink' });
      const rules = formatRuleset(nft.sync.ruleset({ elements: true }));
      const services = formatRules(ipvs.sync.snapshot().servers);
      parts.push(`# ${name}\n${rules}${services}`);
      nft.close();
      ipvs.close();
      netns.close();
    }
    return parts.join('\n');
  }
}

/**
 * One packet through a ruleset, as if it came in by a device.
 * @example
 * simulate(await nft.ruleset({ elements: true }), tcp({ from: '10.0.0.1:1', to: '10.0.0.2:22' }));
 */
export function simulate(
  ruleset: Ruleset,
  packet: PacketBytes,
  options: { on?: string; links?: readonly LinkOptions[] } = {},
): PacketResult {
  const { on = 'eth0', links = [{ name: on, addresses: [`${destinationOf(packet)}/32`] }] } = options;
  const kernel = MemoryKernel.create({ release: '6.18' });
  const container = kernel.container('simulated', { links });
  container.nftables.sync.commit(
    transactionOf(planOf(container.nftables.sync.ruleset({ elements: true }), ruleset, { prefix: '' })),
  );
  return container.receive(packet, { on });
}

function destinationOf({ bytes }: PacketBytes): string {
  return bytes[0]! >> 4 === 4
    ? [...bytes.subarray(16, 20)].join('.')
    : (toHex(bytes.subarray(24, 40)).match(/.{4}/g) ?? []).join(':');
}

/** The number of an errno. */
function numberOf(name: string): number {
  for (let errno = -1; errno > -134; errno--) if (describeErrno(errno).code === name) return errno;
  throw typeError(['errno'], "the name of an errno, such as 'ENOBUFS'", name);
}

function addLink(namespace: Namespace, { name, addresses = [] }: LinkOptions): void {
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
}
