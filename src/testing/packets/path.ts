import { formatIPv4, formatIPv6 } from '../../codec/address.ts';
import { connectionHooks } from '../conntrack/hooks.ts';
import { incremental } from '../conntrack/rewrite.ts';
import { ipvsHooks } from '../ipvs/hooks.ts';
import type { Context, Forwarded } from '../ipvs/transmit.ts';
import type { Machine } from '../machine/machine.ts';
import type { Link, Namespace } from '../machine/state.ts';
import { engineOf } from '../nf_tables/engine.ts';
import { type Engine, NF_ACCEPT, NF_DROP, NF_QUEUE, type Outcome, type Run } from '../nf_tables/expressions/type.ts';
import type { Expression } from '../nf_tables/state.ts';
import { log } from '../nflog/log.ts';
import { isInside, route, typeOfAddress } from '../routes.ts';
import type { ChainPath, Step } from './chain.ts';
import { type BuiltIn, FORWARD, INPUT, OUTPUT, POSTROUTING, PREROUTING, runHook } from './hooks.ts';
import { checksum, destinationOf, familyOf, type Packet, parse, setU16, u16 } from './packet.ts';

const ETH_P_IP = 0x0800;
const ETH_P_IPV6 = 0x86dd;
const AF_INET = 2;

/** A packet that a rule has logged to a group. */
export interface Logged {
  readonly group: number;
  readonly prefix: string;
  readonly bytes: Uint8Array;
}

/** What has become of a packet. */
export interface Passage {
  readonly verdict: 'accept' | 'drop' | 'reject' | 'forward' | 'queue';
  readonly packet: Packet;
  readonly steps: readonly Step[];
  readonly logs: readonly Logged[];
  readonly outDevice: string | undefined;
  /** The server to which IPVS has sent it. */
  readonly forwardedTo: { readonly address: string; readonly port: number; readonly method: string } | undefined;
}

/** The way of packets through the hooks of one namespace. */
export class Path implements ChainPath {
  readonly #machine: Machine;
  readonly namespace: Namespace;
  readonly engine: Engine;
  readonly steps: Step[] = [];
  readonly #logs: Logged[] = [];
  #rejected = false;
  #forwarded: Forwarded | undefined;
  /** Where a packet goes out that IPVS has taken. */
  #sentBy: Link | undefined;
  readonly #balancing: Context;

  constructor(machine: Machine, namespace: Namespace) {
    this.#machine = machine;
    this.namespace = namespace;
    this.engine = engineOf(machine);
    this.#balancing = {
      machine,
      namespace,
      now: Number(machine.state.now),
      host: {
        route: address => route(namespace, address),
        sourceFor: ({ addresses }, address) => {
          const own = addresses.filter(({ bytes }) => bytes.length === address.length);
          return (own.find(({ bytes, prefix }) => isInside(address, bytes, prefix)) ?? own[0])?.bytes;
        },
        refuse: () => {
          this.#rejected = true;
        },
        forwarded: (to, device) => {
          this.#forwarded = to;
          this.#sentBy = device;
        },
      },
    };
  }

  reject(): Outcome {
    this.#rejected = true;
    return { code: NF_DROP };
  }

  log({ values }: Expression, { packet, point }: Run): void {
    const rule = {
      group: values.group as number,
      prefix: (values.prefix as string | undefined) ?? '',
      copyLength: values.copyLength as number | undefined,
      threshold: values.threshold as number | undefined,
    };
    this.#logs.push({ group: rule.group, prefix: rule.prefix, bytes: packet.bytes.slice() });
    log(this.#machine, this.namespace, packet, point, rule);
  }

  copy(): Outcome {
    return this.#machine.notModelled('dup: a copy of a packet');
  }

  /** A packet that comes in by a device. */
  receive(bytes: Uint8Array, device: Link): Passage {
    const packet = this.#packet(bytes, device);
    const end = (verdict: Passage['verdict'], outDevice?: Link) => this.#passage(packet, verdict, outDevice);
    if (packet.protocol === ETH_P_IP && checksum(packet.bytes, 0, (packet.bytes[0]! & 15) * 4) !== 0)
      return end('drop');
    const family = familyOf(packet);
    let verdict = this.#hook(family, PREROUTING, packet);
    if (verdict !== NF_ACCEPT) return end(this.#word(verdict));
    const destination = destinationOf(packet);
    const type = typeOfAddress(this.namespace, destination);
    if (type !== 'unicast') {
      verdict = this.#hook(family, INPUT, packet);
      return this.#sentBy === undefined ? end(this.#word(verdict)) : this.#toServer(packet, this.#sentBy);
    }
    const forwards = family === AF_INET ? 'net/ipv4/ip_forward' : 'net/ipv6/conf/all/forwarding';
    if (this.namespace.sysctls.get(forwards) !== '1') return end('drop');
    const out = route(this.namespace, destination);
    if (out === undefined) return end('drop');
    if (!this.#lowerTtl(packet)) return end('drop');
    packet.outDevice = out;
    verdict = this.#hook(family, FORWARD, packet);
    if (this.#sentBy !== undefined) return this.#toServer(packet, this.#sentBy);
    if (verdict === NF_ACCEPT) verdict = this.#hook(family, POSTROUTING, packet);
    return verdict === NF_ACCEPT ? end('forward', out) : end(this.#word(verdict));
  }

  /** A packet that IPVS has taken goes out past output and postrouting; in a tunnel it may be of the other IP version now. */
  #toServer(packet: Packet, device: Link): Passage {
    this.#sentBy = undefined;
    const family = familyOf(packet);
    packet.outDevice = device;
    packet.inDevice = undefined;
    let verdict = this.#hook(family, OUTPUT, packet);
    if (verdict === NF_ACCEPT) verdict = this.#hook(family, POSTROUTING, packet);
    return verdict === NF_ACCEPT
      ? this.#passage(packet, 'forward', device)
      : this.#passage(packet, this.#word(verdict), undefined);
  }

  /** A packet of a process of the namespace. */
  send(bytes: Uint8Array): Passage {
    const packet = this.#packet(bytes, undefined);
    packet.user = 0;
    packet.group = 0;
    const family = familyOf(packet);
    const out = () =>
      typeOfAddress(this.namespace, destinationOf(packet)) === 'local'
        ? this.namespace.links.find(({ loopback }) => loopback)
        : route(this.namespace, destinationOf(packet));
    packet.outDevice = out();
    if (packet.outDevice === undefined) return this.#passage(packet, 'drop', undefined);
    let verdict = this.#hook(family, OUTPUT, packet);
    if (this.#sentBy !== undefined) return this.#toServer(packet, this.#sentBy);
    if (verdict !== NF_ACCEPT) return this.#passage(packet, this.#word(verdict), undefined);
    packet.outDevice = out();
    verdict = this.#hook(family, POSTROUTING, packet);
    return this.#passage(packet, this.#word(verdict), packet.outDevice);
  }

  #packet(bytes: Uint8Array, inDevice: Link | undefined): Packet {
    const protocol = bytes[0]! >> 4 === 6 ? ETH_P_IPV6 : ETH_P_IP;
    const link = inDevice === undefined ? undefined : linkHeader(inDevice, protocol);
    const packet: Packet = {
      bytes: bytes.slice(),
      link,
      protocol,
      transport: undefined,
      transportProtocol: undefined,
      fragmentOffset: 0,
      mark: 0,
      priority: 0,
      inDevice,
      outDevice: undefined,
      packetType: 0,
      user: undefined,
      group: undefined,
      trace: false,
      tracked: undefined,
      untracked: false,
    };
    parse(packet);
    return packet;
  }

  #word(verdict: number): Passage['verdict'] {
    if (verdict === NF_ACCEPT) return 'accept';
    if (verdict === NF_QUEUE) return 'queue';
    return this.#rejected ? 'reject' : 'drop';
  }

  #passage(packet: Packet, verdict: Passage['verdict'], outDevice: Link | undefined): Passage {
    return {
      verdict,
      packet,
      steps: this.steps,
      logs: this.#logs,
      outDevice: outDevice?.name,
      forwardedTo: this.#server(),
    };
  }

  #server(): Passage['forwardedTo'] {
    if (this.#forwarded === undefined) return undefined;
    const { address, port, method } = this.#forwarded;
    const text = address.length === 4 ? formatIPv4(address) : formatIPv6(address);
    return { address: text, port, method: METHODS[method] ?? String(method) };
  }

  #lowerTtl(packet: Packet): boolean {
    const { bytes } = packet;
    if (packet.protocol === ETH_P_IPV6) {
      if (bytes[7]! <= 1) return false;
      bytes[7]!--;
      return true;
    }
    if (bytes[8]! <= 1) return false;
    const old = bytes.slice(8, 10);
    bytes[8]!--;
    // A checksum that a rule has made wrong stays wrong.
    setU16(bytes, 10, incremental(u16(bytes, 10), old, bytes.subarray(8, 10)));
    return true;
  }

  #hook(family: number, hook: number, packet: Packet): number {
    return runHook(this, this.#builtIns(family), family, hook, packet);
  }

  /** What the kernel does of its own accord, where rules of the namespace ask for it. */
  #builtIns(family: number): BuiltIn[] {
    return [...ipvsHooks(this.#balancing, family), ...connectionHooks(this.#machine, this, family)];
  }
}

const METHODS = ['masquerade', 'local', 'tunnel', 'direct', 'bypass'];

const ETHERNET = 14;
function linkHeader({ hardwareAddress }: Link, protocol: number): Uint8Array {
  const header = new Uint8Array(ETHERNET);
  header.set(hardwareAddress, 0);
  setU16(header, 12, protocol);
  return header;
}
