import { formatIPv4, formatIPv6 } from '../codec/index.ts';
import * as Vs from '../linux/ip_vs.ts';
import * as Nft from '../linux/nf_tables.ts';
import {
  NFT_FIB_RESULT_ADDRTYPE,
  NFT_FIB_RESULT_OIF,
  NFTA_FIB_F_PRESENT,
  NFTA_FIB_F_SADDR,
} from '../linux/nf_tables.ts';
import { incremental, isDone, type Manip, type Range, setUp, translate } from './conntrack/nat.ts';
import { IPS_CONFIRMED } from './conntrack/state.ts';
import { confirm, track } from './conntrack/track.ts';
import { type Forwarded, forward } from './ipvs/forward.ts';
import type { Machine } from './machine/machine.ts';
import type { Link, Namespace } from './machine/state.ts';
import { engineOf } from './nf_tables/engine.ts';
import { nameBytes } from './nf_tables/expressions/meta.ts';
import {
  type Engine,
  numberOf,
  type Outcome,
  type Run,
  registerBytes,
  store,
  storeNumber,
} from './nf_tables/expressions/type.ts';
import type { Expression } from './nf_tables/state.ts';
import { log } from './nflog/log.ts';
import { NF_ACCEPT, NF_DROP, NF_QUEUE, NF_STOLEN, runChain, type Step, type Trail } from './packets/chain.ts';
import { type BuiltIn, FORWARD, INPUT, natChains, OUTPUT, POSTROUTING, PREROUTING, runHook } from './packets/hooks.ts';
import { checksum, type Packet, parse, setU16, u16 } from './packets/packet.ts';

const ETH_P_IP = 0x0800;
const ETH_P_IPV6 = 0x86dd;
const AF_INET = 2;
const AF_INET6 = 10;
const CONNTRACK_PRIORITY = -200;
const DNAT_PRIORITY = -100;
const SNAT_PRIORITY = 100;
/** NF_IP_PRI_NAT_SRC - 1 */
const IPVS_PRIORITY = 99;
const CONFIRM_PRIORITY = 0x7fffffff;

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

const equal = (a: Uint8Array, b: Uint8Array): boolean => a.length === b.length && a.every((byte, i) => byte === b[i]);
const familyOf = (packet: Packet): number => (packet.protocol === ETH_P_IP ? AF_INET : AF_INET6);
export const destinationOf = ({ bytes, protocol }: Packet): Uint8Array =>
  protocol === ETH_P_IP ? bytes.subarray(16, 20) : bytes.subarray(24, 40);
const sourceOf = ({ bytes, protocol }: Packet): Uint8Array =>
  protocol === ETH_P_IP ? bytes.subarray(12, 16) : bytes.subarray(8, 24);

function isInside(address: Uint8Array, network: Uint8Array, prefix: number): boolean {
  if (address.length !== network.length) return false;
  for (let bit = 0; bit < prefix; bit += 8) {
    const mask = prefix - bit >= 8 ? 0xff : (0xff << (8 - (prefix - bit))) & 0xff;
    if (((address[bit >> 3]! ^ network[bit >> 3]!) & mask) !== 0) return false;
  }
  return true;
}

type AddressType = 'unicast' | 'local' | 'broadcast' | 'multicast';
const RTN: Record<AddressType, number> = { unicast: 1, local: 2, broadcast: 3, multicast: 5 };

export function typeOfAddress({ links }: Namespace, address: Uint8Array): AddressType {
  if (address.length === 4) {
    if ((address[0]! & 0xf0) === 0xe0) return 'multicast';
    if (address.every(byte => byte === 255)) return 'broadcast';
    if (address[0] === 127) return 'local';
  } else if (address[0] === 0xff) return 'multicast';
  for (const { addresses } of links) for (const { bytes } of addresses) if (equal(bytes, address)) return 'local';
  return 'unicast';
}

/** The device through which an address is reached: the longest prefix wins. */
export function route({ links, routes }: Namespace, destination: Uint8Array): Link | undefined {
  let best: { link: Link; prefix: number } | undefined;
  const offer = (link: Link | undefined, prefix: number) => {
    if (link?.up && (best === undefined || prefix > best.prefix)) best = { link, prefix };
  };
  for (const link of links)
    for (const { bytes, prefix } of link.addresses) if (isInside(destination, bytes, prefix)) offer(link, prefix);
  for (const { to, prefix, device } of routes)
    if (isInside(destination, to, prefix))
      offer(
        links.find(each => each.index === device),
        prefix,
      );
  return best?.link;
}

/** The way of packets through the hooks of one namespace. */
export class Network {
  readonly #machine: Machine;
  readonly #namespace: Namespace;
  readonly #engine: Engine;
  readonly #trail: Trail & { steps: Step[] } = { steps: [] };
  readonly #logs: Logged[] = [];
  #rejected = false;
  #forwarded: Forwarded | undefined;

  constructor(machine: Machine, namespace: Namespace) {
    this.#machine = machine;
    this.#namespace = namespace;
    this.#engine = Object.assign(engineOf(machine), {
      fib: (expression: Expression, run: Run) => this.#fib(expression, run),
      ct: (expression: Expression, run: Run) => this.#ct(expression, run),
      untrack: ({ packet }: Run) => {
        if (packet.tracked === undefined) packet.untracked = true;
      },
      nat: (expression: Expression, run: Run) => this.#nat(expression, run),
      reject: () => {
        this.#rejected = true;
        return { code: NF_DROP };
      },
      log: ({ values }: Expression, { packet, point }: Run) => {
        const rule = {
          group: values.group as number,
          prefix: (values.prefix as string | undefined) ?? '',
          copyLength: values.copyLength as number | undefined,
          threshold: values.threshold as number | undefined,
        };
        this.#logs.push({ group: rule.group, prefix: rule.prefix, bytes: packet.bytes.slice() });
        log(machine, namespace, packet, point, rule);
      },
    });
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
    const type = typeOfAddress(this.#namespace, destination);
    if (type !== 'unicast') {
      verdict = this.#hook(family, INPUT, packet);
      if (verdict === NF_STOLEN && this.#forwarded !== undefined)
        return this.#toServer(packet, family, this.#forwarded);
      return end(this.#word(verdict));
    }
    const forwards = family === AF_INET ? 'net/ipv4/ip_forward' : 'net/ipv6/conf/all/forwarding';
    if (this.#namespace.sysctls.get(forwards) !== '1') return end('drop');
    const out = route(this.#namespace, destination);
    if (out === undefined) return end('drop');
    if (!this.#lowerTtl(packet)) return end('drop');
    packet.outDevice = out;
    verdict = this.#hook(family, FORWARD, packet);
    if (verdict === NF_ACCEPT) verdict = this.#hook(family, POSTROUTING, packet);
    return verdict === NF_ACCEPT ? end('forward', out) : end(this.#word(verdict));
  }

  /** A packet that IPVS has taken goes out past output and postrouting, untracked. */
  #toServer(packet: Packet, family: number, { address, method }: Forwarded): Passage {
    if (method === Vs.IP_VS_CONN_F_LOCALNODE) return this.#passage(packet, 'accept', undefined);
    const out = route(this.#namespace, address);
    if (out === undefined || !this.#lowerTtl(packet)) return this.#passage(packet, 'drop', undefined);
    if (method !== Vs.IP_VS_CONN_F_DROUTE) return this.#machine.notModelled('IPVS: masquerading and tunnels');
    packet.outDevice = out;
    packet.inDevice = undefined;
    packet.tracked = undefined;
    packet.untracked = true;
    let verdict = this.#hook(family, OUTPUT, packet);
    if (verdict === NF_ACCEPT) verdict = this.#hook(family, POSTROUTING, packet);
    return verdict === NF_ACCEPT
      ? this.#passage(packet, 'forward', out)
      : this.#passage(packet, this.#word(verdict), undefined);
  }

  /** A packet of a process of the namespace. */
  send(bytes: Uint8Array): Passage {
    const packet = this.#packet(bytes, undefined);
    packet.user = 0;
    packet.group = 0;
    const family = familyOf(packet);
    const out = () =>
      typeOfAddress(this.#namespace, destinationOf(packet)) === 'local'
        ? this.#namespace.links.find(({ loopback }) => loopback)
        : route(this.#namespace, destinationOf(packet));
    packet.outDevice = out();
    if (packet.outDevice === undefined) return this.#passage(packet, 'drop', undefined);
    let verdict = this.#hook(family, OUTPUT, packet);
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
      steps: this.#trail.steps,
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
    return runHook(this.#engine, this.#namespace, this.#builtIns(family), family, hook, packet, this.#trail);
  }

  /** What the kernel does of its own accord, where rules of the namespace ask for it. */
  #builtIns(family: number): BuiltIn[] {
    const balancing: BuiltIn = { family, hook: INPUT, priority: IPVS_PRIORITY, run: packet => this.#balance(packet) };
    return [balancing, ...this.#tracking(family)];
  }

  #balance(packet: Packet): number {
    const fate = forward(this.#machine, this.#namespace, packet);
    if (fate === 'not-ours') return NF_ACCEPT;
    if (fate === 'no-server') {
      this.#rejected = true;
      return NF_DROP;
    }
    this.#forwarded = fate;
    return NF_STOLEN;
  }

  #tracking(family: number): BuiltIn[] {
    if (!tracks(this.#namespace, family)) return [];
    const at = (hook: number, priority: number, run: (packet: Packet) => number): BuiltIn => ({
      family,
      hook,
      priority,
      run,
    });
    const tracking = (hook: number) => at(hook, CONNTRACK_PRIORITY, packet => this.#track(packet, hook === PREROUTING));
    const confirming = (hook: number) => at(hook, CONFIRM_PRIORITY, packet => this.#confirm(packet));
    const hooks = [tracking(PREROUTING), tracking(OUTPUT), confirming(INPUT), confirming(POSTROUTING)];
    if (![PREROUTING, INPUT, OUTPUT, POSTROUTING].some(hook => natChains(this.#namespace, family, hook).length > 0))
      return hooks;
    const translating = (hook: number, priority: number) =>
      at(hook, priority, packet => this.#translate(family, hook, packet));
    return [
      ...hooks,
      translating(PREROUTING, DNAT_PRIORITY),
      translating(OUTPUT, DNAT_PRIORITY),
      translating(INPUT, SNAT_PRIORITY),
      translating(POSTROUTING, SNAT_PRIORITY),
    ];
  }

  #track(packet: Packet, checks: boolean): number {
    if (packet.tracked === undefined && !packet.untracked)
      packet.tracked = track(this.#namespace, packet, this.#engine.now, checks);
    return NF_ACCEPT;
  }

  #confirm(packet: Packet): number {
    const { tracked } = packet;
    if (tracked === undefined || tracked.state === 'related') return NF_ACCEPT;
    return confirm(this.#namespace, tracked, this.#engine.now) ? NF_ACCEPT : NF_DROP;
  }

  /** The hook of NAT: chains are asked for the first packet of a connection, and later packets are rewritten as it was (nf_nat_inet_fn). */
  #translate(family: number, hook: number, packet: Packet): number {
    const { tracked } = packet;
    if (tracked === undefined) return NF_ACCEPT;
    const manip: Manip = hook === POSTROUTING || hook === INPUT ? 'source' : 'destination';
    const { connection } = tracked;
    if (tracked.state === 'new' && (connection.status & IPS_CONFIRMED) === 0 && !isDone(connection, manip)) {
      for (const chain of natChains(this.#namespace, family, hook)) {
        const verdict = runChain(this.#engine, this.#namespace, chain, packet, { family, hook }, this.#trail);
        if (verdict !== NF_ACCEPT) return verdict;
        if (isDone(connection, manip)) break;
      }
      if (!isDone(connection, manip)) setUp(this.#namespace, connection, undefined, manip);
    }
    translate(packet, tracked, manip);
    return NF_ACCEPT;
  }

  #nat(expression: Expression, run: Run): Outcome {
    const { packet, point } = run;
    const { tracked } = packet;
    if (tracked === undefined) return { code: NF_ACCEPT };
    const { values, name } = expression;
    const port = (field: string): number | undefined => {
      const word = values[field] as number | undefined;
      return word === undefined ? undefined : u16(registerBytes(run, word, 2), 0);
    };
    const address = (field: string): Uint8Array | undefined => {
      const word = values[field] as number | undefined;
      return word === undefined ? undefined : registerBytes(run, word, sourceOf(packet).length).slice();
    };
    let range: Range = {
      flags: values.flags as number,
      addressMin: address('addressMin'),
      addressMax: address('addressMax'),
      portMin: port('portMin'),
      portMax: port('portMax'),
    };
    if (name === 'redir' || name === 'masq') {
      const own = name === 'redir' ? this.#redirected(packet, point.hook) : this.#masqueraded(packet);
      if (own === undefined) return { code: NF_DROP };
      range = { ...range, addressMin: own, addressMax: own };
    }
    const isSource = name === 'masq' || (name === 'nat' && values.type === Nft.NFT_NAT_SNAT);
    setUp(this.#namespace, tracked.connection, range, isSource ? 'source' : 'destination');
    return { code: NF_ACCEPT };
  }

  /** Local packets go to the loopback address, others to the first address of their device (nf_nat_redirect). */
  #redirected(packet: Packet, hook: number): Uint8Array | undefined {
    const { length } = sourceOf(packet);
    if (hook === OUTPUT) {
      const loopback = new Uint8Array(length);
      loopback[length - 1] = 1;
      if (length === 4) loopback[0] = 127;
      return loopback;
    }
    return packet.inDevice?.addresses.find(({ bytes }) => bytes.length === length)?.bytes;
  }

  #masqueraded(packet: Packet): Uint8Array | undefined {
    const destination = destinationOf(packet);
    const own = packet.outDevice?.addresses.filter(({ bytes }) => bytes.length === destination.length) ?? [];
    return (own.find(({ bytes, prefix }) => isInside(destination, bytes, prefix)) ?? own[0])?.bytes;
  }

  #fib(expression: Expression, run: Run): Outcome {
    const { packet } = run;
    const flags = numberOf(expression, 'flags');
    const result = numberOf(expression, 'result');
    const address = (flags & NFTA_FIB_F_SADDR) !== 0 ? sourceOf(packet) : destinationOf(packet);
    const word = numberOf(expression, 'target');
    const type = typeOfAddress(this.#namespace, address);
    if (result === NFT_FIB_RESULT_ADDRTYPE) {
      storeNumber(run, word, RTN[type]);
      return undefined;
    }
    const link = type === 'local' ? undefined : route(this.#namespace, address);
    if ((flags & NFTA_FIB_F_PRESENT) !== 0) storeNumber(run, word, link === undefined ? 0 : 1);
    else if (result === NFT_FIB_RESULT_OIF) storeNumber(run, word, link?.index ?? 0);
    else store(run, word, nameBytes(link?.name ?? ''));
    return undefined;
  }

  #ct(expression: Expression, run: Run): Outcome {
    const { packet } = run;
    const { key, direction, source: from } = expression.values as Record<string, number | undefined>;
    const { tracked } = packet;
    if (from !== undefined) {
      if (tracked === undefined) return undefined;
      if (key === Nft.NFT_CT_MARK) tracked.connection.mark = run.view.getUint32(from * 4, true);
      else return this.#machine.notModelled('ct: a key that is written');
      return undefined;
    }
    const word = numberOf(expression, 'target');
    if (key === Nft.NFT_CT_STATE) {
      const bits =
        tracked === undefined ? (packet.untracked ? 64 : 1) : { new: 8, established: 2, related: 4 }[tracked.state];
      storeNumber(run, word, bits);
      return undefined;
    }
    if (tracked === undefined) return 'break';
    const { connection } = tracked;
    const tuple = (direction ?? tracked.direction) === 0 ? connection.original : connection.reply;
    switch (key) {
      case Nft.NFT_CT_DIRECTION:
        storeNumber(run, word, tracked.direction);
        return undefined;
      case Nft.NFT_CT_STATUS:
        storeNumber(run, word, connection.status);
        return undefined;
      case Nft.NFT_CT_MARK:
        storeNumber(run, word, connection.mark);
        return undefined;
      case Nft.NFT_CT_ID:
        storeNumber(run, word, connection.id);
        return undefined;
      case Nft.NFT_CT_EXPIRATION:
        storeNumber(run, word, Number(connection.expires - this.#engine.now));
        return undefined;
      case Nft.NFT_CT_L3PROTOCOL:
        storeNumber(run, word, connection.family);
        return undefined;
      case Nft.NFT_CT_PROTOCOL:
        storeNumber(run, word, connection.protocol);
        return undefined;
      case Nft.NFT_CT_PROTO_SRC:
        store(run, word, Uint8Array.of(tuple.sourcePort >> 8, tuple.sourcePort));
        return undefined;
      case Nft.NFT_CT_PROTO_DST:
        store(run, word, Uint8Array.of(tuple.destinationPort >> 8, tuple.destinationPort));
        return undefined;
      case Nft.NFT_CT_ZONE:
        storeNumber(run, word, connection.zone);
        return undefined;
      case Nft.NFT_CT_SRC:
      case Nft.NFT_CT_SRC_IP:
      case Nft.NFT_CT_SRC_IP6:
        return this.#address(run, word, tuple.source, key);
      case Nft.NFT_CT_DST:
      case Nft.NFT_CT_DST_IP:
      case Nft.NFT_CT_DST_IP6:
        return this.#address(run, word, tuple.destination, key);
      case Nft.NFT_CT_PKTS:
      case Nft.NFT_CT_BYTES:
      case Nft.NFT_CT_AVGPKT:
        return this.#machine.notModelled('ct: the counters of a connection');
      default:
        return this.#machine.notModelled('ct: helpers and labels');
    }
  }

  #address(run: Run, word: number, address: Uint8Array, key: number): Outcome {
    const isFour = key === Nft.NFT_CT_SRC_IP || key === Nft.NFT_CT_DST_IP;
    const isSix = key === Nft.NFT_CT_SRC_IP6 || key === Nft.NFT_CT_DST_IP6;
    if ((isFour && address.length !== 4) || (isSix && address.length !== 16)) return 'break';
    store(run, word, address);
    return undefined;
  }
}

/** Whether a rule of the namespace has switched connection tracking on, for a family. */
function tracks({ nfTables }: Namespace, family: number): boolean {
  for (const table of nfTables.tables) {
    if (table.family !== family && table.family !== 1) continue;
    for (const { rules } of table.chains)
      for (const { expressions } of rules) if (expressions.some(({ name }) => TRACKING.has(name))) return true;
  }
  return false;
}
const TRACKING = new Set(['ct', 'nat', 'masq', 'redir', 'connlimit', 'synproxy']);

const METHODS = ['masquerade', 'local', 'tunnel', 'direct', 'bypass'];

const ETHERNET = 14;
function linkHeader({ hardwareAddress }: Link, protocol: number): Uint8Array {
  const header = new Uint8Array(ETHERNET);
  header.set(hardwareAddress, 0);
  setU16(header, 12, protocol);
  return header;
}
