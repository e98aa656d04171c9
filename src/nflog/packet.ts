import { eachAttribute, NO_CONTEXT, type Source, sourceOf, toHex, type UnknownAttribute } from '../codec/index.ts';
import { DecodeError } from '../errors.ts';
import { PRINTED } from '../inspect.ts';
import { ARPHRD_ETHER, ARPHRD_LOOPBACK } from '../linux/if_arp.ts';
import { ETH_HLEN } from '../linux/if_ether.ts';
import { ofThread } from '../thread.ts';
import { formatHardware, PLAIN, type Redactor } from './address.ts';
import { PACKET, type PacketProperties, PROPERTIES, packetTable, vlanTable } from './attributes.ts';
import { type Conntrack, readConntrack } from './conntrack.ts';
import type { DeviceNames } from './devices.ts';
import { type Headers, networkProtocol, readHeaders } from './headers/headers.ts';
import { summarize } from './headers/summary.ts';
import {
  ARP_HOOKS,
  BRIDGE_HOOKS,
  FAMILIES,
  type Family,
  type Hook,
  INET_HOOKS,
  NETDEV_HOOKS,
  type SocketSide,
  socketSideOf,
} from './hooks.ts';

/** `struct nfgenmsg`, which stands before the attributes. */
export const NFGENMSG_LENGTH = 4;

/** A VLAN tag that the device has taken off. */
export interface Vlan {
  /** The tag's EtherType: 0x8100 (802.1Q) or 0x88a8 (802.1ad). */
  protocol: number;
  /** 0 to 4095. */
  id: number;
  /** 0 to 7. */
  priority: number;
  /** The packet may be dropped first (DEI). */
  dropEligible: boolean;
}

/** Finds the rule that logs with a prefix to a group. */
export type RuleResolver<R = unknown> = (prefix: string, group: number) => R | undefined;

/** The properties that the packets of one datagram share. */
export interface Receipt {
  readonly microseconds: number;
  readonly devices: DeviceNames;
  readonly ruleOf?: RuleResolver | undefined;
}

/*
 * Readers ask a packet for several of its properties in a row, or only count packets. So all packets share one view,
 * which holds the offsets of the packet that was asked last.
 */
const thread = ofThread('nflog.packet', { packet: undefined as Packet | undefined, attributes: PACKET });
const { slots: AT, starts } = PACKET;

const NO_BYTES = new Uint8Array(0);

/* The insides of a packet, for the writers of files. */
let sourceOfPacket: (packet: Packet) => Source;
let startOfPacket: (packet: Packet) => number;
let endOfPacket: (packet: Packet) => number;
let receiptOfPacket: (packet: Packet) => Receipt;
let readPacketHeaders: (packet: Packet, show: Redactor) => Headers | undefined;

/** The properties of packets that are one attribute each have their getters from the rows of attributes.ts. */
// biome-ignore lint/correctness/noUnusedVariables: both declarations of Packet must have the same parameters
export interface Packet<R> extends PacketProperties {}

/**
 * One logged packet: a view of the bytes as they came, decoded when asked. Always safe to keep: that memory is never written again. It is
 * shared with other packets received about then, though, up to 4 MiB; `copy()` makes one that holds on to its own bytes only.
 *
 * All of it comes from a container: prefix, device names and payload are to be escaped before they are printed (`summary()` does).
 * @example
 * for await (const packet of nflog) console.log(packet.hook, packet.inDevice, packet.headers?.source);
 */
// biome-ignore lint/suspicious/noUnsafeDeclarationMerging: the class makes a getter for each property of the interface
export class Packet<R = unknown> {
  static {
    sourceOfPacket = packet => packet.#source;
    startOfPacket = packet => packet.#start;
    endOfPacket = packet => packet.#end;
    receiptOfPacket = packet => packet.#receipt;
    readPacketHeaders = (packet, show) => packet.#headers(show);
    for (const { key, slot, isWord, says } of PROPERTIES) {
      const { absent, read } = says;
      let get = function (this: Packet): unknown {
        return this.#at(slot) === 0 ? absent : PACKET.number(slot, 0);
      };
      if (isWord) {
        get = function (this: Packet) {
          const at = this.#at(slot);
          return at === 0 ? absent : this.#source.view.getUint32(at);
        };
      } else if (read !== undefined) {
        get = function (this: Packet) {
          const at = this.#at(slot);
          return at === 0 ? absent : read(this.#source, at, PACKET.end(slot));
        };
      }
      Object.defineProperty(Packet.prototype, key, { get, configurable: true });
    }
  }

  readonly #source: Source;
  readonly #start: number;
  readonly #end: number;
  readonly #receipt: Receipt;

  /**
   * `start` is the place of the nfgenmsg. The log makes packets; other code needs this only to read recorded
   * messages.
   */
  constructor(source: Source, start: number, end: number, receipt: Receipt) {
    this.#source = source;
    this.#start = start;
    this.#end = end;
    this.#receipt = receipt;
  }

  /** Where an attribute's payload begins; 0 if the packet lacks it. It ends at `PACKET.end(slot)`. */
  #at(slot: number): number {
    if (thread.packet !== this) {
      PACKET.walk(this.#source, this.#start + NFGENMSG_LENGTH, this.#end);
      thread.packet = this;
    }
    return starts[slot]!;
  }

  #u32(slot: number): number | undefined {
    const at = this.#at(slot);
    return at === 0 ? undefined : this.#source.view.getUint32(at);
  }

  #bytes(slot: number): Uint8Array | undefined {
    const at = this.#at(slot);
    return at === 0 ? undefined : this.#source.bytes.subarray(at, PACKET.end(slot));
  }

  #device(slot: number): string | undefined {
    const index = this.#u32(slot);
    if (index === undefined) return undefined;
    return this.#receipt.devices.nameOf(index, this.#receipt.microseconds) ?? `if${index}`;
  }

  /** The NFLOG group, 0 to 65535. */
  get group(): number {
    return this.#source.view.getUint16(this.#start + 2);
  }

  /** The family of the chain that logged it. */
  get family(): Family {
    const family = this.#source.bytes[this.#start]!;
    return FAMILIES[family] ?? family;
  }

  /** The hook whose rule logged the packet. */
  get hook(): Hook | undefined {
    const at = this.#at(AT.header);
    if (at === 0) return undefined;
    const number = this.#source.bytes[at + 2]!;
    const names: Record<number, Hook> =
      this.family === 'netdev'
        ? NETDEV_HOOKS
        : this.family === 'arp'
          ? ARP_HOOKS
          : this.family === 'bridge'
            ? BRIDGE_HOOKS
            : INET_HOOKS;
    return names[number] ?? number;
  }

  /** ETH_P_*: 0x0800 is IPv4, 0x86dd IPv6, 0x0806 ARP. */
  get etherType(): number | undefined {
    const at = this.#at(AT.header);
    return at === 0 ? undefined : this.#source.view.getUint16(at);
  }

  /**
   * The rule that logged the packet: the log's `rules` find it by prefix and group. A container's own rules can have
   * the same prefix.
   */
  get rule(): R | undefined {
    return this.#receipt.ruleOf?.(this.prefix, this.group) as R | undefined;
  }

  /**
   * When this process read the packet, in microseconds since 1970. The kernel gathers packets for up to
   * `queue.milliseconds`, so this is later than the packet.
   */
  get receivedAtMicroseconds(): number {
    return this.#receipt.microseconds;
  }

  /**
   * Name of the device that the packet came in from, in the namespace of the log. It is asked for when the packet is
   * first asked for it. 'if7' if device 7 was removed before that.
   */
  get inDevice(): string | undefined {
    return this.#device(AT.inDeviceIndex);
  }
  /** The device that the packet leaves by. */
  get outDevice(): string | undefined {
    return this.#device(AT.outDeviceIndex);
  }
  /** The port of the bridge that the packet came in from; `inDevice` is then the bridge. */
  get physInDevice(): string | undefined {
    return this.#device(AT.physInDeviceIndex);
  }
  /** The port of a bridge that the packet leaves by. */
  get physOutDevice(): string | undefined {
    return this.#device(AT.physOutDeviceIndex);
  }

  /** The sender's link-layer address, 'aa:bb:cc:dd:ee:ff'; only of packets that came in. */
  get hardwareAddress(): string | undefined {
    const at = this.#at(AT.hardwareAddress);
    if (at === 0) return undefined;
    const { bytes, view } = this.#source;
    return formatHardware(bytes, at + 4, at + 4 + Math.min(view.getUint16(at), 8));
  }

  /** The link-layer header: of packets that came in, and of all in the families 'bridge' and 'netdev' (there without the VLAN tag). */
  get linkHeader(): Uint8Array | undefined {
    const within = this.#linkLength();
    if (within > 0) return this.#bytes(AT.payload)!.subarray(0, within);
    return this.#bytes(AT.linkHeader) ?? this.#bytes(AT.hardwareHeader);
  }

  /**
   * Bytes of the link-layer header in the attribute of the payload. In the egress hook of 'netdev' and the output
   * hook of 'arp' the kernel's copy begins with it, for a device that has one.
   */
  #linkLength(): number {
    const { family } = this;
    if (family !== 'netdev' && family !== 'arp') return 0;
    if (this.hook !== (family === 'netdev' ? 'egress' : 'output')) return 0;
    const at = this.#at(AT.payload);
    const length = at === 0 ? 0 : PACKET.end(AT.payload) - at;
    const index = this.#u32(AT.outDeviceIndex);
    const type = index === undefined ? undefined : this.#receipt.devices.typeOf?.(index, this.#receipt.microseconds);
    const ethernet =
      type === undefined
        ? length >= ETH_HLEN && this.#source.view.getUint16(this.#at(AT.payload) + 12) === this.etherType
        : type === ARPHRD_ETHER || type === ARPHRD_LOOPBACK;
    return ethernet ? Math.min(ETH_HLEN, length) : 0;
  }

  /**
   * Whose socket `uid` and `gid` are of; undefined if the packet has neither. 'sender': in the output, postrouting,
   * ingress and egress hooks, and in those of a bridge; the sender may live in another namespace, behind a veth.
   * 'receiver': in prerouting and input, if the packet belongs to a connection of a local socket, or `tproxy` has
   * given it a socket. 'unknown': in any other hook. (A BPF program that assigns sockets at a device, bpf_sk_assign,
   * gives a packet its receiver's socket before the ingress hook. That cannot be told apart.)
   */
  get socketSide(): SocketSide | undefined {
    if (this.#at(AT.uid) === 0 && this.#at(AT.gid) === 0) return undefined;
    return socketSideOf(this.family, this.hook);
  }

  /** The connection that the packet belongs to; only with `conntrack`, and if it has one. */
  get conntrack(): Conntrack | undefined {
    const info = this.#u32(AT.conntrackInfo);
    const at = this.#at(AT.conntrack);
    if (at === 0 || info === undefined) return undefined;
    return readConntrack(this.#source, at, PACKET.end(AT.conntrack), info);
  }

  /** The VLAN tag; only in the families 'bridge' and 'netdev'. */
  get vlan(): Vlan | undefined {
    const at = this.#at(AT.vlan);
    if (at === 0) return undefined;
    const { protocol, tci } = readVlan(this.#source, at, PACKET.end(AT.vlan));
    if (protocol === undefined || tci === undefined) return undefined;
    return { protocol, id: tci & 0xfff, priority: tci >> 13, dropEligible: (tci & 0x1000) !== 0 };
  }

  /**
   * The captured bytes from the network header on; empty with `copy: 'none'` or 'meta'. The packet's true length is
   * in its IP header.
   */
  get payload(): Uint8Array {
    const bytes = this.#bytes(AT.payload);
    return bytes === undefined ? NO_BYTES : bytes.subarray(this.#linkLength());
  }

  /**
   * The headers at the front of `payload`: addresses, protocol, ports. Undefined if it is neither IP nor ARP, or cut
   * off too early.
   */
  get headers(): Headers | undefined {
    return this.#headers(PLAIN);
  }

  #headers(show: Redactor): Headers | undefined {
    const at = this.#at(AT.payload);
    if (at === 0) return undefined;
    const end = PACKET.end(AT.payload);
    const start = at + this.#linkLength();
    return readHeaders(this.#source, start, end, networkProtocol(this), show);
  }

  /** Attributes without a name here: those of newer kernels. */
  get unknown(): UnknownAttribute[] {
    const { bytes } = this.#source;
    const unknown: UnknownAttribute[] = [];
    try {
      eachAttribute(this.#source, this.#start + NFGENMSG_LENGTH, this.#end, (type, start, end) => {
        if (packetTable.fieldName(type) === undefined) unknown.push({ type, bytes: toHex(bytes, start, end) });
      });
    } catch (error) {
      // A length that is not possible ends the packet.
      if (!(error instanceof DecodeError)) throw error;
    }
    return unknown;
  }

  /**
   * The same packet in memory of its own.
   * @example
   * const kept: Packet[] = [];
   * for await (const packet of nflog) kept.push(packet.copy());
   */
  copy(): Packet<R> {
    const own = this.#source.bytes.slice(this.#start, this.#end);
    return new Packet(sourceOf(own), 0, own.length, this.#receipt);
  }

  /**
   * One line as the kernel's LOG prints it, the prefix first: 'web1 IN=eth0 OUT= MAC=... SRC=... DST=... LEN=... PROTO=TCP SPT=...
   * DPT=...'.
   * Never reads past the captured bytes; what they do not show is 'TRUNCATED' or 'INCOMPLETE'. Control characters are escaped.
   * @example
   * for await (const packet of nflog) console.log(packet.summary());
   */
  summary(): string {
    return summarize(this, textOf(this));
  }

  /**
   * All that is there, as a plain object with the bytes in hex and the counters of connections as decimal text.
   * @example
   * for await (const packet of nflog) console.log(JSON.stringify(packet));
   */
  toJSON(): Record<string, unknown> {
    const all: Record<string, unknown> = {};
    for (const name of SHOWN) {
      const value = name === 'rule' ? this.rule : plain(Reflect.get(this, name));
      if (value !== undefined) all[name] = value;
    }
    if (this.unknown.length === 0) delete all.unknown;
    return all;
  }

  [PRINTED](_depth: number, options: object, show: (value: unknown, options: object) => string): string {
    return `Packet ${show(this.toJSON(), options)}`;
  }
}

/** Reads one property, without the look-up of its name for each packet. */
export function getterOf(key: keyof PacketProperties): (packet: Packet) => unknown {
  const { get } = Object.getOwnPropertyDescriptor(Packet.prototype, key) ?? {};
  return packet => get?.call(packet);
}

/** The properties that the kernel's LOG prints behind the headers. */
const TEXTS = PROPERTIES.flatMap(({ key, says: { absent, ofSocket, text } }) =>
  text === undefined ? [] : [{ get: getterOf(key), absent, ofSocket, text }],
);

/** What the kernel knows about a packet besides its bytes, as its LOG prints it. */
export function textOf(packet: Packet): string {
  let line = '';
  for (const { get, absent, ofSocket, text } of TEXTS) {
    const value = get(packet);
    if (value === undefined || value === null || value === absent) continue;
    // Readers of kernel logs take UID for the sender's.
    if (!ofSocket || packet.socketSide === 'sender') line += `${text(value)} `;
  }
  return line;
}

/** The properties in JSON: all that a packet has but the headers, which are in the payload. */
const SHOWN = new Set([
  ...PROPERTIES.map(({ key }) => key),
  ...Object.entries(Object.getOwnPropertyDescriptors(Packet.prototype))
    .filter(([name, { get }]) => get !== undefined && name !== 'headers')
    .map(([name]) => name),
]);

/** The value in JSON: bytes in hex, and bigints as decimal text. */
function plain(value: unknown): unknown {
  if (typeof value === 'bigint') return String(value);
  if (value instanceof Uint8Array) return toHex(value);
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, plain(item)]));
}

function readVlan(source: Source, start: number, end: number): { protocol?: number; tci?: number } {
  try {
    return vlanTable.read(source, start, end, NO_CONTEXT) ?? {};
  } catch {
    // A nest with a wrong length inside holds no tag.
    return {};
  }
}

export { endOfPacket, readPacketHeaders, receiptOfPacket, sourceOfPacket, startOfPacket };
