import { NETLINK_ADD_MEMBERSHIP, NETLINK_NETFILTER } from '../../../src/linux/netlink.ts';
import * as Nft from '../../../src/linux/nf_tables.ts';
import { NFNL_SUBSYS_NFTABLES, NFNLGRP_NFTABLES } from '../../../src/linux/nfnetlink.ts';
import { SOL_NETLINK } from '../../../src/linux/socket.ts';
import { NetlinkSocket } from '../../../src/netlink/index.ts';
import type { NetNs } from '../../../src/netns/index.ts';

/*
 * One side of a comparison: a namespace of the real kernel or of one in memory, a socket that asks and one that listens. Its answers are lines,
 * the same on both sides where the kernels do the same: ports and what depends on the moment are left out.
 */

const HEADER = 16;
const GENERIC = 20;
const ERROR = 2;
const DONE = 3;
const ROOM = 1 << 18;

interface SideOptions {
  /** Attributes of sets that this kernel tells and the other does not. */
  readonly withoutSetAttributes?: readonly number[];
}

export class KernelSide {
  readonly netns: NetNs;
  readonly #asks: NetlinkSocket;
  readonly #listens: NetlinkSocket;
  readonly #buffer = Buffer.alloc(ROOM);

  constructor(netns: NetNs) {
    this.netns = netns;
    this.#asks = new NetlinkSocket({ netns, protocol: NETLINK_NETFILTER });
    this.#listens = new NetlinkSocket({ netns, protocol: NETLINK_NETFILTER });
    this.#listens.setOption(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, NFNLGRP_NFTABLES);
    this.#asks.reserve(1 << 16, 4000);
    this.#listens.reserve(0, 4000);
  }

  /** Sends a datagram; what the kernel answers. */
  ask(datagram: Uint8Array): string[] {
    const sent = this.#asks.send(datagram, datagram.length);
    if (sent < 0) return [`send ${sent}`];
    return this.#read(this.#asks);
  }

  /** What the kernel has told those that listen. */
  events(): string[] {
    return this.#read(this.#listens);
  }

  /** A dump, whose elements are sorted: the order of those of hashes is the kernel's own. */
  dump(datagram: Uint8Array, isSorted = false): string[] {
    const lines = this.ask(datagram);
    return isSorted ? lines.toSorted() : lines;
  }

  #read(socket: NetlinkSocket): string[] {
    const lines: string[] = [];
    for (;;) {
      const length = socket.receive(this.#buffer);
      if (length === 0) return lines;
      if (length < 0) {
        if (length === -11) return lines;
        lines.push(`receive ${length}`);
        continue;
      }
      lines.push(...printed(this.#buffer.subarray(0, length)));
      lines.push('--');
    }
  }

  async close(): Promise<void> {
    await Promise.all([this.#asks.close(), this.#listens.close()]);
    this.netns.close();
  }
}

function* printed(datagram: Buffer): Generator<string> {
  for (let at = 0; at + HEADER <= datagram.length; ) {
    const length = datagram.readUInt32LE(at);
    const message = datagram.subarray(at, at + length);
    const type = message.readUInt16LE(4);
    const flags = message.readUInt16LE(6).toString(16);
    const sequence = message.readUInt32LE(8);
    if (type === ERROR) yield `${refusal(message)} flags ${flags} of ${sequence}`;
    else if (type === DONE) yield `done ${message.readInt32LE(HEADER)} flags ${flags} of ${sequence}`;
    else
      yield `${type & 0xff} flags ${flags} of ${sequence} ${message.subarray(HEADER, GENERIC).toString('hex')} ${body(type, message)}`;
    at += (length + 3) & ~3;
    if (length < HEADER) return;
  }
}

function refusal(message: Buffer): string {
  const errno = message.readInt32LE(HEADER);
  const flags = message.readUInt16LE(6);
  let told = '';
  if ((flags & 0x200) !== 0)
    for (const [type, bytes] of attributes(message, HEADER + 4 + 16))
      told +=
        type === 1
          ? ` ${JSON.stringify(bytes.toString('utf8', 0, bytes.length - 1))}`
          : type === 2
            ? ` at ${bytes.readUInt32LE(0)}`
            : ` ${type}:${bytes.toString('hex')}`;
  return `errno ${errno}${told}`;
}

export function* attributes(
  message: Buffer,
  from: number,
  to = message.length,
): Generator<[type: number, bytes: Buffer]> {
  for (let at = from; at + 4 <= to; ) {
    const length = message.readUInt16LE(at);
    if (length < 4) return;
    yield [message.readUInt16LE(at + 2) & 0x3fff, message.subarray(at + 4, at + length)];
    at += (length + 3) & ~3;
  }
}

const NEWTABLES = new Set<number>([Nft.NFT_MSG_NEWTABLE, Nft.NFT_MSG_DELTABLE]);
const NEWSETS = new Set<number>([Nft.NFT_MSG_NEWSET, Nft.NFT_MSG_DELSET]);
const ELEMENTS = new Set<number>([Nft.NFT_MSG_NEWSETELEM, Nft.NFT_MSG_DELSETELEM]);

function body(type: number, message: Buffer): string {
  const kind = type & 0xff;
  const parts: string[] = [];
  if (type >> 8 !== NFNL_SUBSYS_NFTABLES) return message.subarray(GENERIC).toString('hex');
  for (const [attribute, bytes] of attributes(message, GENERIC)) {
    if (NEWTABLES.has(kind) && attribute === Nft.NFTA_TABLE_OWNER) parts.push('owner');
    else if (NEWSETS.has(kind) && attribute === Nft.NFTA_SET_TYPE) continue;
    else if (kind === Nft.NFT_MSG_NEWGEN && attribute !== Nft.NFTA_GEN_ID) parts.push(`${attribute}`);
    else if (ELEMENTS.has(kind) && attribute === Nft.NFTA_SET_ELEM_LIST_ELEMENTS)
      parts.push(`[${[...attributes(bytes, 0)].map(([, element]) => elementText(element)).join(' ')}]`);
    else parts.push(`${attribute}:${shown(bytes)}`);
  }
  return parts.join(' ');
}

const elementText = (element: Buffer): string =>
  `{${[...attributes(element, 0)].map(([type, bytes]) => (type === Nft.NFTA_SET_ELEM_EXPIRATION ? `${type}` : `${type}:${shown(bytes)}`)).join(' ')}}`;

/** Text where it is text, and attributes where bytes are nothing else. Names that a kernel numbers by a count of its own get no number. */
function shown(bytes: Buffer): string {
  const text = bytes.toString('latin1');
  if (/^[\x20-\x7e]+\0$/.test(text)) return JSON.stringify(text.slice(0, -1).replace(/^__chain\d+$/, '__chain'));
  const inside = nested(bytes);
  if (inside === undefined) return bytes.toString('hex');
  return `[${inside.map(([type, content]) => `${type}:${shown(content)}`).join(' ')}]`;
}

function nested(bytes: Buffer): [type: number, content: Buffer][] | undefined {
  const list: [number, Buffer][] = [];
  let at = 0;
  while (at + 4 <= bytes.length) {
    const length = bytes.readUInt16LE(at);
    const type = bytes.readUInt16LE(at + 2);
    if (length < 4 || at + length > bytes.length || (type & 0x7fff) > 40) return undefined;
    list.push([type, bytes.subarray(at + 4, at + length)]);
    at += (length + 3) & ~3;
  }
  return list.length > 0 && at >= bytes.length ? list : undefined;
}
