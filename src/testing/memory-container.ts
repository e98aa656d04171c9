import { checkObject, formatIPv4, formatIPv6 } from '../codec/index.ts';
import { Container } from '../container/index.ts';
import { rangeError } from '../errors.ts';
import { IPS_ASSURED, IPS_SEEN_REPLY } from '../linux/nf_conntrack_common.ts';
import type { NetNs } from '../netns/index.ts';
import type { ProcessExit } from '../netns/process.ts';
import type { Tracked, Tuple } from './conntrack/state.ts';
import type { LinkOptions } from './devices.ts';
import type { Machine } from './machine/machine.ts';
import type { Namespace } from './machine/state.ts';
import { type Arriving, type Passage, Path, type Sent } from './packets/path.ts';
import { bytesOfPacket, describePacket, linkOfPacket, type PacketInput, type TestPacket } from './test-packet.ts';

/** What a container of a kernel in memory has. */
export interface MemoryContainerOptions {
  /** Its devices besides `lo`, all of them up. None by default. */
  readonly links?: readonly LinkOptions[];
  /**
   * Whether the program has rights in a user namespace of the container only, as the root of an unprivileged container has. The kernel then
   * refuses with EPERM what needs rights on the host. False by default.
   */
  readonly userNamespace?: boolean;
}

/** A rule that matched a packet, or the policy at the end of a base chain. */
export interface PacketStep {
  /** The family of the table. */
  readonly family: 'ip' | 'ip6' | 'inet' | 'arp' | 'bridge' | 'netdev';
  /** The name of the table. */
  readonly table: string;
  /** The name of the chain. */
  readonly chain: string;
  /** The handle of the rule; absent where the step is the policy of the chain. */
  readonly rule?: bigint;
  /** 'accept', 'drop', 'continue', 'return', 'queue', 'stolen', 'jump CHAIN' or 'goto CHAIN'. */
  readonly verdict: string;
}

/** A packet that a rule has logged. */
export interface PacketLog {
  /** The group of NFLOG. */
  readonly group: number;
  /** The rule's prefix; '' where it has none. */
  readonly prefix: string;
  /** The packet as it was when the rule saw it. */
  readonly packet: TestPacket;
}

/** Who sends and who receives: addresses, with ports where the protocol has them. */
export interface PacketEnds {
  /** The sender: '10.10.0.1:40000'. */
  readonly from: string;
  /** The receiver: '10.10.0.100:80'. */
  readonly to: string;
}

/** The connection of a packet, as connection tracking has it. */
export interface PacketConnection {
  /** What connection tracking says of this packet. */
  readonly state: 'new' | 'established' | 'related';
  /** The way that the packet goes. */
  readonly direction: 'original' | 'reply';
  /** The sender and the receiver of the connection's first packet. */
  readonly original: PacketEnds;
  /** The sender and the receiver of the answers: they differ from the original's where addresses are translated. */
  readonly reply: PacketEnds;
  /** The mark of the connection. */
  readonly mark: number;
  /** Packets have gone both ways. */
  readonly seenReply: boolean;
  /** The connection is not given up early when the table is full. */
  readonly assured: boolean;
}

/** A packet that has left besides the one in question. */
export interface PacketSent {
  /** The packet as it leaves. */
  readonly packet: TestPacket;
  /** The name of the device by which it leaves. */
  readonly device: string;
}

/** Where a packet comes in. */
export interface ReceiveOptions {
  /** The name of the device. */
  readonly on: string;
}

/** A rule that has counted the packet, by a counter of its own or one with a name. */
export interface PacketCounter {
  /** The family of the table. */
  readonly family: PacketStep['family'];
  /** The name of the table. */
  readonly table: string;
  /** The name of the chain. */
  readonly chain: string;
  /** The handle of the rule. */
  readonly rule: bigint;
  /** By so many bytes the counter has risen, and by one packet. */
  readonly bytes: number;
}

/** What has become of a packet. */
export interface PacketResult {
  /**
   * 'accept': a process of the container gets it, or it has left. 'forward': it has left by another device. 'drop': it is gone. 'reject': it is
   * gone, and the sender is told. 'queue': a program has to decide.
   */
  readonly verdict: 'accept' | 'drop' | 'reject' | 'forward' | 'queue';
  /** Why it is gone, where no rule says so: no route, a wrong checksum. Where a rule or a policy does, the last step tells which. */
  readonly reason?: string;
  /** The packet at the end of its way, with all that was rewritten. */
  readonly packet: TestPacket;
  /** Each rule that matched and each policy that was reached, in order. */
  readonly steps: readonly PacketStep[];
  /** Each rule that has counted it. */
  readonly counters: readonly PacketCounter[];
  /** What rules have logged to groups of NFLOG, whether or not a program listens to the group. */
  readonly logs: readonly PacketLog[];
  /** What the kernel has answered: ICMP errors and TCP resets. Numbers that a kernel makes up are 0 in them. */
  readonly answers: readonly PacketSent[];
  /** Copies that rules have made. */
  readonly copies: readonly PacketSent[];
  /** The server to which IPVS has sent it. */
  readonly forwardedTo?: {
    /** The address of the destination. */
    readonly address: string;
    /** The port of the destination. */
    readonly port: number;
    /** The forwarding method. */
    readonly method: string;
  };
  /** The connection that it is part of; absent where connection tracking is off in the container, or holds the packet for invalid. */
  readonly connection?: PacketConnection;
  /** The name of the device by which it has left. */
  readonly device?: string;
}

/**
 * A container of a kernel in memory: its handles work as on a real one, and packets can be sent through it.
 * @example
 * const lb = MemoryKernel.create().container('lb', { links: [{ name: 'eth0', addresses: ['10.10.0.100/24'] }] });
 * await lb.ipvs.addService({ protocol: 'tcp', address: '10.10.0.100', port: 80, scheduler: 'rr' });
 */
export class MemoryContainer extends Container {
  /** The name that the kernel in memory knows it by. */
  readonly name: string;
  readonly #machine: Machine;
  readonly #end: () => void;

  /** @internal */
  static of(machine: Machine, name: string, netns: NetNs): MemoryContainer {
    let end = () => {};
    const exited = new Promise<void>(resolve => {
      end = resolve;
    });
    const exit = { pidfd: undefined, exited, ended: false, close() {} };
    return new MemoryContainer(machine, name, netns, exit, () => {
      exit.ended = true;
      end();
    });
  }

  private constructor(machine: Machine, name: string, netns: NetNs, exit: ProcessExit, end: () => void) {
    super(netns, exit, undefined);
    this.name = name;
    this.#machine = machine;
    this.#end = end;
  }

  /**
   * Lets a packet come in by a device, and through the hooks in the kernel's order.
   * @param packet one of `tcp()`, `udp()`, `icmp()` and `frame()`, or the `packet` of a result
   * @param options `on` is the name of the device
   * @throws RangeError ERR_OUT_OF_RANGE the container has no such device
   * @throws UnsupportedError the packet meets what the kernel in memory does not model
   * @example
   * const lb = MemoryKernel.create().container('lb', { links: [{ name: 'eth0', addresses: ['10.10.0.100/24'] }] });
   * const { verdict } = lb.receive(tcp({ from: '10.10.0.1:40000', to: '10.10.0.100:80' }), { on: 'eth0' });
   */
  receive(packet: PacketInput, options: ReceiveOptions): PacketResult {
    checkObject(options, OPTIONS, FIELDS);
    const { on } = options;
    const link = this.#namespace.links.find(({ name }) => name === on);
    if (link === undefined) throw rangeError(['on'], 'the name of a device of the container', on);
    return resultOf(new Path(this.#machine, this.#namespace).receive(arriving(packet), link));
  }

  /**
   * Lets a process of the container send a packet, as root.
   * @param packet one of `tcp()`, `udp()`, `icmp()` and `frame()`, or the `packet` of a result
   * @throws UnsupportedError the packet meets what the kernel in memory does not model
   * @example
   * const lb = MemoryKernel.create().container('lb', { links: [{ name: 'eth0', addresses: ['10.10.0.100/24'] }] });
   * lb.send(udp({ from: '10.10.0.100:40000', to: '10.10.0.1:53' }));
   */
  send(packet: PacketInput): PacketResult {
    return resultOf(new Path(this.#machine, this.#namespace).send(arriving(packet)));
  }

  /**
   * Ends the process of the container: `closed` resolves, and a fleet lets go of it.
   * @example
   * const lb = MemoryKernel.create().container('lb');
   * lb.end();
   * await lb.closed;
   */
  end(): void {
    this.#end();
  }

  get #namespace(): Namespace {
    return this.#machine.namespace(this.netns.inode);
  }
}

const OPTIONS = ['options'];
const FIELDS = ['on'];
const FAMILIES: Record<number, PacketStep['family']> = {
  1: 'inet',
  2: 'ip',
  3: 'arp',
  5: 'netdev',
  7: 'bridge',
  10: 'ip6',
};

function arriving(packet: PacketInput): Arriving {
  const link = linkOfPacket(packet);
  return { bytes: bytesOfPacket(packet), ...(link !== undefined && { link }) };
}

const sent = ({ bytes, device }: Sent): PacketSent => ({ packet: describePacket(bytes), device });

function resultOf(passage: Passage): PacketResult {
  const { verdict, reason, packet, steps, counters, logs, answers, copies, forwardedTo, outDevice } = passage;
  return {
    verdict,
    ...(reason !== undefined && { reason }),
    packet: describePacket(packet.bytes),
    steps: steps.map(({ family, table, chain, rule, verdict: word }) => ({
      family: FAMILIES[family]!,
      table,
      chain,
      ...(rule !== undefined && { rule: BigInt(rule) }),
      verdict: word,
    })),
    counters: counters.map(each => ({ ...each, family: FAMILIES[each.family]!, rule: BigInt(each.rule) })),
    logs: logs.map(({ group, prefix, bytes }) => ({ group, prefix, packet: describePacket(bytes) })),
    answers: answers.map(sent),
    copies: copies.map(sent),
    ...(forwardedTo !== undefined && { forwardedTo }),
    ...(packet.tracked !== undefined && { connection: connectionOf(packet.tracked) }),
    ...(outDevice !== undefined && { device: outDevice }),
  };
}

const WITH_PORTS: readonly number[] = [6, 17, 33, 132, 136];

function connectionOf({ connection, direction, state }: Tracked): PacketConnection {
  const end = (address: Uint8Array, port: number): string => {
    const text = address.length === 4 ? formatIPv4(address) : formatIPv6(address);
    if (!WITH_PORTS.includes(connection.protocol)) return text;
    return `${address.length === 4 ? text : `[${text}]`}:${port}`;
  };
  const ends = ({ source, sourcePort, destination, destinationPort }: Tuple) => ({
    from: end(source, sourcePort),
    to: end(destination, destinationPort),
  });
  return {
    state,
    direction: direction === 0 ? 'original' : 'reply',
    original: ends(connection.original),
    reply: ends(connection.reply),
    mark: connection.mark,
    seenReply: (connection.status & IPS_SEEN_REPLY) !== 0,
    assured: (connection.status & IPS_ASSURED) !== 0,
  };
}
