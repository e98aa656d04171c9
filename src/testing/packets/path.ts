import { formatIPv4, formatIPv6 } from '../../codec/address.ts';
import { ETH_P_ARP, ETH_P_IP, ETH_P_IPV6 } from '../../linux/if_ether.ts';
import { PACKET_BROADCAST, PACKET_HOST, PACKET_MULTICAST, PACKET_OTHERHOST } from '../../linux/if_packet.ts';
import { NF_ACCEPT, NF_DROP, NF_QUEUE, NFPROTO_ARP } from '../../linux/netfilter.ts';
import { AF_INET } from '../../linux/socket.ts';
import { connectionHooks } from '../conntrack/hooks.ts';
import { ipvsHooks } from '../ipvs/hooks.ts';
import type { Context, Forwarded } from '../ipvs/transmit.ts';
import type { Machine } from '../machine/machine.ts';
import { isSince, type Link, type Namespace } from '../machine/state.ts';
import { engineOf } from '../nf_tables/engine.ts';
import type { Engine, Outcome, Run } from '../nf_tables/expressions/type.ts';
import type { Chain, Expression, Rule, Verdict } from '../nf_tables/state.ts';
import { log } from '../nflog/log.ts';
import { ownAddress, route, sourceTowards, typeOfAddress } from '../routes.ts';
import { icmpError, reset, unreachable } from './answers.ts';
import type { Step } from './chain.ts';
import {
  type BuiltIn,
  EGRESS,
  FORWARD,
  type HookPath,
  INGRESS,
  INPUT,
  NETDEV,
  OUTPUT,
  POSTROUTING,
  PREROUTING,
  runDeviceHook,
  runHook,
} from './hooks.ts';
import { admit, lowerHops } from './internet.ts';
import { destinationOf, familyOf, newPacket, type Packet, parse, sourceOf, u16 } from './packet.ts';
import { isHeard, type Traced, type TraceKind, tellStep } from './trace.ts';

const ETHERNET = 14;
const VLAN_TAGS: ReadonlySet<number> = new Set([0x8100, 0x88a8]);
const MULTICAST_BIT = 1;
const WITHOUT_DCCP = [6, 17] as const;
/** pkt_type */

/** A packet that comes: its bytes from the network header on. */
export interface Arriving {
  readonly bytes: Uint8Array;
  /** Its Ethernet header; one from a made-up neighbour to the device's own address where there is none. */
  readonly link?: Uint8Array;
}

/** A packet that a rule has logged to a group. */
export interface Logged {
  readonly group: number;
  readonly prefix: string;
  readonly bytes: Uint8Array;
}

/** A packet that leaves besides the one that came: an answer, or a copy. */
export interface Sent {
  readonly bytes: Uint8Array;
  /** The device by which it leaves. */
  readonly device: string;
}

/** A rule that has counted a packet, by a counter of its own or one with a name. */
export interface Counted {
  readonly family: number;
  readonly table: string;
  readonly chain: string;
  readonly rule: number;
  readonly bytes: number;
}

/** What has become of a packet. */
export interface Passage {
  readonly verdict: 'accept' | 'drop' | 'reject' | 'forward' | 'queue';
  /** Why it is dropped, where no rule has done it. */
  readonly reason: string | undefined;
  readonly packet: Packet;
  readonly steps: readonly Step[];
  readonly counters: readonly Counted[];
  readonly logs: readonly Logged[];
  readonly outDevice: string | undefined;
  /** The server to which IPVS has sent it. */
  readonly forwardedTo: { readonly address: string; readonly port: number; readonly method: string } | undefined;
  /** ICMP errors and TCP resets to the sender. */
  readonly answers: readonly Sent[];
  /** Copies that rules have made. */
  readonly copies: readonly Sent[];
}

const textOf = (address: Uint8Array): string => (address.length === 4 ? formatIPv4(address) : formatIPv6(address));

/** The way of packets through the hooks of one namespace. */
export class Path implements HookPath {
  readonly kernel: Machine;
  readonly namespace: Namespace;
  readonly engine: Engine;
  readonly isTraced: boolean;
  readonly steps: Step[] = [];
  readonly #counters: Counted[] = [];
  readonly #logs: Logged[] = [];
  readonly #answers: Sent[] = [];
  readonly #copies: Sent[] = [];
  #rejected = false;
  #forwarded: Forwarded | undefined;
  /** Where a packet goes out that IPVS has taken. */
  #sentBy: Link | undefined;
  readonly balancing: Context;
  /** Where a rule has sent the packet on from a device. */
  #redirected: Link | undefined;
  #isCopying = false;

  constructor(machine: Machine, namespace: Namespace) {
    this.kernel = machine;
    this.namespace = namespace;
    this.engine = engineOf(machine);
    this.isTraced = isHeard(machine, namespace);
    this.balancing = {
      machine,
      namespace,
      now: Number(machine.state.now),
      host: {
        route: address => route(namespace, address),
        sourceFor: ({ addresses }, address) => ownAddress(addresses, address),
        refuse: (packet, reason) => {
          this.#rejected = true;
          const [type, code] = REFUSALS[reason][packet.protocol === ETH_P_IP ? 'four' : 'six'];
          this.#error(packet, type, code);
        },
        forwarded: (to, device) => {
          this.#forwarded = to;
          this.#sentBy = device;
        },
      },
    };
  }

  trace(traced: Traced, kind: TraceKind, chain: Chain, rule: Rule | undefined, verdict: Verdict): void {
    tellStep(this.kernel, this.namespace, traced, { kind, chain, rule, verdict });
  }

  counted({ chain, rule, packet }: Run): void {
    const { table, name } = chain;
    const bytes = packet.bytes.length;
    this.#counters.push({ family: table.family, table: table.name, chain: name, rule: rule!.handle, bytes });
  }

  log({ values }: Expression, { packet, point }: Run): void {
    const rule = {
      group: values.group as number,
      prefix: (values.prefix as string | undefined) ?? '',
      copyLength: values.copyLength as number | undefined,
      threshold: values.threshold as number | undefined,
    };
    this.#logs.push({ group: rule.group, prefix: rule.prefix, bytes: packet.bytes.slice() });
    log(this.kernel, this.namespace, packet, point, rule);
  }

  /** Answers with an ICMP error, or with a reset where there is no code, and drops the packet. */
  reject(code: number | undefined, { packet, point }: Run): Outcome {
    this.#rejected = true;
    if (point.family === NETDEV || point.hook > POSTROUTING)
      return this.kernel.notModelled('reject: the answers that go straight to a device');
    const answer =
      code === undefined
        ? reset(packet)
        : unreachable(packet, this.#own(packet), code, !isSince(this.kernel.release, WITHOUT_DCCP));
    if (answer !== undefined) this.#answer(packet, answer, code === undefined);
    return { code: NF_DROP };
  }

  /** The address of this host with which it answers a packet: that which the packet was for, or one towards its sender. */
  #own(packet: Packet): Uint8Array | undefined {
    const destination = destinationOf(packet);
    if (typeOfAddress(this.namespace, destination) === 'local') return destination;
    return sourceTowards(this.namespace, sourceOf(packet));
  }

  /** Tells the sender of a packet that it cannot go on. */
  #error(packet: Packet, type: number, code: number, rest = 0): void {
    // Where no chain has looked at it, nobody has found the transport header.
    parse(packet);
    const answer = icmpError(packet, this.#own(packet), type, code, rest);
    if (answer !== undefined) this.#answer(packet, answer, false);
  }

  /** Sends an answer of the kernel's own, past output and postrouting. */
  #answer(about: Packet, bytes: Uint8Array, isAttached: boolean): void {
    const packet = newPacket(bytes, about.protocol);
    const out = this.#routed(packet);
    if (out === undefined) return;
    packet.outDevice = out;
    const { tracked } = about;
    // A reset belongs to the connection of the packet that it answers (nf_ct_attach).
    if (isAttached && tracked !== undefined)
      packet.tracked = { ...tracked, direction: tracked.direction === 0 ? 1 : 0, state: 'related' };
    if (this.#leave(packet)) this.#answers.push({ bytes: packet.bytes, device: packet.outDevice.name });
  }

  /** Sends a copy of a packet to a neighbour (nf_dup_ipv4, nf_dup_ipv6). */
  copy(gateway: Uint8Array, index: number | undefined, { packet, point }: Run): void {
    if (this.#isCopying) return;
    const bytes = packet.bytes.slice();
    const copy = newPacket(bytes, packet.protocol);
    const out =
      index === undefined ? route(this.namespace, gateway) : this.namespace.links.find(each => each.index === index);
    if (out === undefined) return;
    if (out.loopback) this.kernel.notModelled('dup: copies by the loopback device');
    if (point.hook === PREROUTING || point.hook === INPUT) lowerHops(copy, true);
    copy.outDevice = out;
    copy.untracked = true;
    copy.mark = packet.mark;
    copy.priority = packet.priority;
    this.#isCopying = true;
    if (this.#leave(copy)) this.#copies.push({ bytes: copy.bytes, device: out.name });
    this.#isCopying = false;
  }

  /** A copy that leaves by a device as it is (nf_dup_netdev_egress). */
  copyTo(index: number, { packet }: Run): void {
    const out = this.namespace.links.find(each => each.index === index);
    if (out !== undefined) this.#copies.push({ bytes: packet.bytes.slice(), device: out.name });
  }

  /** Sends the packet on by another device, past all hooks (nft_fwd_netdev_eval). */
  redirect(index: number): void {
    this.#redirected = this.namespace.links.find(each => each.index === index);
  }

  /** A packet that comes in by a device. */
  receive({ bytes, link }: Arriving, device: Link): Passage {
    const protocol = link === undefined ? etherTypeOf(bytes) : u16(link, 12);
    if (VLAN_TAGS.has(protocol)) return this.kernel.notModelled('tags of VLANs');
    const packet = newPacket(bytes.slice(), protocol);
    packet.link = link?.slice() ?? linkHeader(device, protocol);
    packet.inDevice = device;
    packet.packetType = packetTypeOf(packet.link, device);
    const verdict = runDeviceHook(this, INGRESS, device, packet);
    if (this.#redirected !== undefined) return this.#passage(packet, 'forward', this.#redirected);
    if (verdict !== NF_ACCEPT) return this.#end(packet, verdict);
    return this.#deliver(packet);
  }

  /** Gives a received packet to its protocol. */
  #deliver(packet: Packet): Passage {
    if (packet.packetType === PACKET_OTHERHOST) return this.#drop(packet, 'the frame is for another host');
    if (packet.protocol === ETH_P_ARP) {
      const verdict = runHook(this, builtIns, NFPROTO_ARP, 0, packet);
      return this.#end(packet, verdict);
    }
    if (packet.protocol !== ETH_P_IP && packet.protocol !== ETH_P_IPV6)
      return this.#drop(packet, `nobody takes the EtherType 0x${packet.protocol.toString(16).padStart(4, '0')}`);
    const fault = admit(packet, this.engine);
    if (fault !== undefined) return this.#drop(packet, fault);
    const family = familyOf(packet);
    const verdict = this.#hook(family, PREROUTING, packet);
    if (verdict !== NF_ACCEPT) return this.#end(packet, verdict);
    return this.#route(packet, family);
  }

  #route(packet: Packet, family: number): Passage {
    const { namespace } = this;
    const destination = destinationOf(packet);
    const source = sourceOf(packet);
    const type = typeOfAddress(namespace, destination);
    const fault = isLoopback(packet) ? undefined : martian(namespace, source, destination, type);
    if (fault !== undefined) return this.#drop(packet, fault);
    if (type !== 'unicast') {
      if (isFragment(packet)) return this.kernel.notModelled('fragments for this host: they are put together');
      const verdict = this.#hook(family, INPUT, packet);
      if (this.#sentBy !== undefined) return this.#toServer(packet, this.#sentBy);
      return this.#end(packet, verdict);
    }
    const forwards = family === AF_INET ? 'net/ipv4/ip_forward' : 'net/ipv6/conf/all/forwarding';
    if (namespace.sysctls.get(forwards) !== '1')
      return this.#drop(
        packet,
        `${textOf(destination)} is not an address of this host, and ${forwards.replaceAll('/', '.')} is 0`,
      );
    const out = route(namespace, destination);
    const isV4 = family === AF_INET;
    if (out === undefined) {
      this.#error(packet, isV4 ? 3 : 1, 0);
      return this.#drop(packet, `there is no route to ${textOf(destination)}`);
    }
    if (packet.packetType !== PACKET_HOST)
      return this.#drop(packet, 'it came as a broadcast: such packets are not forwarded');
    if (!isV4 && isLinkLocal(source)) {
      this.#error(packet, 1, 2);
      return this.#drop(packet, 'packets of link-local addresses are not forwarded');
    }
    if (packet.bytes[isV4 ? 8 : 7]! <= 1) {
      this.#error(packet, isV4 ? 11 : 3, 0);
      return this.#drop(packet, isV4 ? 'its time to live is over' : 'its hop limit is reached');
    }
    const mayBeCut = isV4 && (u16(packet.bytes, 6) & 0x4000) === 0;
    if (packet.bytes.length > out.mtu && !mayBeCut) {
      this.#error(packet, isV4 ? 3 : 2, isV4 ? 4 : 0, out.mtu);
      return this.#drop(packet, `it is longer than the MTU of ${out.name}, ${out.mtu}`);
    }
    lowerHops(packet, false);
    packet.outDevice = out;
    const verdict = this.#hook(family, FORWARD, packet);
    if (this.#sentBy !== undefined) return this.#toServer(packet, this.#sentBy);
    if (verdict !== NF_ACCEPT) return this.#end(packet, verdict);
    return this.#goOut(packet, family, out);
  }

  #goOut(packet: Packet, family: number, out: Link): Passage {
    let verdict = this.#hook(family, POSTROUTING, packet);
    if (verdict !== NF_ACCEPT) return this.#end(packet, verdict);
    verdict = runDeviceHook(this, EGRESS, out, packet);
    if (verdict !== NF_ACCEPT) return this.#end(packet, verdict);
    return this.#passage(packet, 'forward', this.#redirected ?? out);
  }

  /** A packet that IPVS has taken goes out past output and postrouting; in a tunnel it may be of the other IP version now. */
  #toServer(packet: Packet, device: Link): Passage {
    this.#sentBy = undefined;
    const family = familyOf(packet);
    packet.outDevice = device;
    packet.inDevice = undefined;
    const verdict = this.#hook(family, OUTPUT, packet);
    if (verdict !== NF_ACCEPT) return this.#end(packet, verdict);
    return this.#goOut(packet, family, device);
  }

  /** A packet of a process of the namespace. */
  send({ bytes }: Arriving): Passage {
    const packet = newPacket(bytes.slice(), etherTypeOf(bytes));
    packet.user = 0;
    packet.group = 0;
    const fault = admit(packet, this.engine);
    if (fault !== undefined) return this.#drop(packet, fault);
    const family = familyOf(packet);
    packet.outDevice = this.#routed(packet);
    if (packet.outDevice === undefined)
      return this.#drop(packet, `there is no route to ${textOf(destinationOf(packet))}`);
    const before = destinationOf(packet).slice();
    let verdict = this.#hook(family, OUTPUT, packet);
    if (this.#sentBy !== undefined) return this.#toServer(packet, this.#sentBy);
    if (verdict !== NF_ACCEPT) return this.#end(packet, verdict);
    // Another destination may have another route.
    if (destinationOf(packet).some((byte, i) => byte !== before[i])) packet.outDevice = this.#routed(packet);
    const out = packet.outDevice;
    if (out === undefined) return this.#drop(packet, `there is no route to ${textOf(destinationOf(packet))}`);
    if (!out.loopback) return this.#goOut(packet, family, out);
    verdict = this.#hook(family, POSTROUTING, packet);
    if (verdict !== NF_ACCEPT) return this.#end(packet, verdict);
    packet.inDevice = out;
    packet.outDevice = undefined;
    packet.link = new Uint8Array(ETHERNET);
    packet.link.set([packet.protocol >> 8, packet.protocol], 12);
    packet.user = undefined;
    packet.group = undefined;
    return this.#deliver(packet);
  }

  /** The device by which a packet of this host leaves. */
  #routed(packet: Packet): Link | undefined {
    const destination = destinationOf(packet);
    return typeOfAddress(this.namespace, destination) === 'local'
      ? this.namespace.links.find(({ loopback }) => loopback)
      : route(this.namespace, destination);
  }

  /** Lets a packet of this host out. @returns whether it leaves */
  #leave(packet: Packet): boolean {
    const family = familyOf(packet);
    const out = packet.outDevice!;
    // A packet that is rejected or logged on its way out says nothing about the one that it answers.
    const rejected = this.#rejected;
    const leaves =
      this.#hook(family, OUTPUT, packet) === NF_ACCEPT &&
      this.#hook(family, POSTROUTING, packet) === NF_ACCEPT &&
      runDeviceHook(this, EGRESS, out, packet) === NF_ACCEPT;
    this.#rejected = rejected;
    return leaves;
  }

  #hook(family: number, hook: number, packet: Packet): number {
    return runHook(this, builtIns, family, hook, packet);
  }

  /** The end of a packet by the verdict of a hook. */
  #end(packet: Packet, verdict: number): Passage {
    if (this.#redirected !== undefined) return this.#passage(packet, 'forward', this.#redirected);
    const word = verdict === NF_ACCEPT ? 'accept' : verdict === NF_QUEUE ? 'queue' : this.#rejected ? 'reject' : 'drop';
    return this.#passage(packet, word, undefined);
  }

  #drop(packet: Packet, reason: string): Passage {
    return this.#passage(packet, 'drop', undefined, reason);
  }

  #passage(packet: Packet, verdict: Passage['verdict'], outDevice: Link | undefined, reason?: string): Passage {
    return {
      verdict,
      reason,
      packet,
      steps: this.steps,
      counters: this.#counters,
      logs: this.#logs,
      outDevice: outDevice?.name,
      forwardedTo: this.#server(),
      answers: this.#answers,
      copies: this.#copies,
    };
  }

  #server(): Passage['forwardedTo'] {
    if (this.#forwarded === undefined) return undefined;
    const { address, port, method } = this.#forwarded;
    return { address: textOf(address), port, method: METHODS[method] ?? String(method) };
  }
}

/** Types and codes of the ICMP errors of IPVS. */
const REFUSALS = {
  'port unreachable': { four: [3, 3], six: [1, 4] },
  'time exceeded': { four: [11, 0], six: [3, 0] },
  'too big': { four: [3, 4], six: [2, 0] },
} as const;
const METHODS = ['masquerade', 'local', 'tunnel', 'direct', 'bypass'];

/** What the kernel does of its own accord, where rules and services of the namespace ask for it. */
function builtIns(namespace: Namespace, family: number): readonly BuiltIn[] {
  if (family === NFPROTO_ARP) return [];
  return [...ipvsHooks(family), ...connectionHooks(namespace, family)];
}

/** A part of a packet of IPv4: that of IPv6 is put together behind the hooks. */
const isFragment = ({ bytes, protocol }: Packet): boolean => protocol === ETH_P_IP && (u16(bytes, 6) & 0x3fff) !== 0;
const isLoopback = ({ inDevice }: Packet): boolean => inDevice?.loopback === true;
const isLinkLocal = (address: Uint8Array): boolean => address[0] === 0xfe && (address[1]! & 0xc0) === 0x80;

/** Addresses that no packet from outside may have (ip_route_input_slow, ip6_rcv_core). */
function martian(
  namespace: Namespace,
  source: Uint8Array,
  destination: Uint8Array,
  type: ReturnType<typeof typeOfAddress>,
): string | undefined {
  if (source.length === 16) return undefined;
  const isBroadcast = destination.every(byte => byte === 255);
  if (source[0] === 127 || destination[0] === 127) return 'loopback addresses are martian on other devices';
  if (source[0]! >= 224) return `the source ${textOf(source)} is martian`;
  if (destination[0] === 0 && !destination.every(byte => byte === 0))
    return `the destination ${textOf(destination)} is martian`;
  if (source[0] === 0 && !(isBroadcast || type === 'multicast')) return `the source ${textOf(source)} is martian`;
  if (typeOfAddress(namespace, source) === 'local') return `the source ${textOf(source)} is an address of this host`;
  return undefined;
}

function etherTypeOf(bytes: Uint8Array): number {
  return bytes.length > 0 && bytes[0]! >> 4 === 6 ? ETH_P_IPV6 : ETH_P_IP;
}

/** What the frame of a neighbour looks like, where none is given. */
function linkHeader({ hardwareAddress, loopback }: Link, protocol: number): Uint8Array {
  const header = new Uint8Array(ETHERNET);
  header.set(hardwareAddress, 0);
  if (!loopback) header.set([2, 0, 0, 0, 0, 0xff], 6);
  header.set([protocol >> 8, protocol], 12);
  return header;
}

/** eth_type_trans */
function packetTypeOf(link: Uint8Array, { hardwareAddress, loopback }: Link): number {
  if (loopback || hardwareAddress.every((byte, i) => byte === link[i])) return PACKET_HOST;
  if (link.subarray(0, 6).every(byte => byte === 255)) return PACKET_BROADCAST;
  return (link[0]! & MULTICAST_BIT) !== 0 ? PACKET_MULTICAST : PACKET_OTHERHOST;
}
