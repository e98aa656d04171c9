import {
  AttributeTable,
  bytes,
  type Context,
  checkObject,
  fromHex,
  NLA_HDRLEN,
  type Source,
  sourceOf,
  string,
  type UnknownAttribute,
  u32be,
  Writer,
} from '../../codec/index.ts';
import { isArgumentError, typeError, within } from '../../errors.ts';
import * as C from '../../linux/nf_tables_compat.ts';
import type { NatFlag } from '../names.ts';
import type { MoreMatchInfos, MoreTargetInfos } from '../xt/infos.ts';
import type { Info, Layout, XtLayouts } from '../xt/layout.ts';

/** A port, or a first and a last one. */
type Ports = [first: number, last: number];

/** What DNAT, SNAT, MASQUERADE and REDIRECT are told (include/uapi/linux/netfilter/nf_nat.h). */
export interface XtNatInfo {
  /** map-addresses and ports-specified say which of the fields count. */
  flags?: (NatFlag | number)[];
  /** The new address; the first one of a range. */
  address?: string;
  /** The last address of the range. */
  lastAddress?: string;
  /** The new port; the first one of a range. */
  port?: number;
  /** The last port of the range. */
  lastPort?: number;
  /** Of DNAT in revision 2: where a shifted range of ports begins. */
  basePort?: number;
}

/** What the match and the target mark are told (include/uapi/linux/netfilter/xt_mark.h). */
export interface XtMarkInfo {
  /** mark = (mark & ~mask) ^ this. */
  mark?: number;
  /** The bits that are compared or changed. */
  mask?: number;
}

/** What LOG is told (include/uapi/linux/netfilter/xt_LOG.h). */
export interface XtLogInfo {
  /** Default warn. */
  level?: 'emerg' | 'alert' | 'crit' | 'err' | 'warn' | 'notice' | 'info' | 'debug' | 'audit' | number;
  /** What is logged beside the packet. */
  flags?: ('tcp-sequence' | 'tcp-options' | 'ip-options' | 'skuid' | 'nflog' | 'ether' | number)[];
  /** At most 29 bytes. */
  prefix?: string;
}

/** What NFLOG is told (include/uapi/linux/netfilter/xt_NFLOG.h). */
export interface XtNflogInfo {
  /** The NFLOG group, 0 to 65535. */
  group?: number;
  /** At most 63 bytes. */
  prefix?: string;
  /** Bytes of the packet that are handed over; counts with the flag copy-length. */
  copyBytes?: number;
  /** How many packets the kernel gathers. */
  threshold?: number;
  /** What is logged beside the packet. */
  flags?: ('copy-length' | number)[];
}

type TcpFlag = 'fin' | 'syn' | 'rst' | 'psh' | 'ack' | 'urg' | 'ecn' | 'cwr' | number;

/** What the match tcp is told (include/uapi/linux/netfilter/xt_tcpudp.h). */
export interface XtTcpInfo {
  /** Default all. */
  sourcePorts?: Ports;
  destinationPorts?: Ports;
  /** The number of a TCP option that must be there; 0, the default, is none. */
  option?: number;
  /** Of these flags, exactly `flags` must be set. */
  flagsMask?: TcpFlag[];
  flags?: TcpFlag[];
  invert?: ('source-ports' | 'destination-ports' | 'flags' | 'option' | number)[];
}

/** What the match udp is told (include/uapi/linux/netfilter/xt_tcpudp.h). */
export interface XtUdpInfo {
  sourcePorts?: Ports;
  /** The destination ports, a range. */
  destinationPorts?: Ports;
  invert?: ('source-ports' | 'destination-ports' | number)[];
}

/** What the match comment is told (include/uapi/linux/netfilter/xt_comment.h). */
export interface XtCommentInfo {
  /** At most 255 bytes. */
  comment: string;
}

/** What the match multiport is told (include/uapi/linux/netfilter/xt_multiport.h). */
export interface XtMultiportInfo {
  /** Which port is compared. */
  side: 'source' | 'destination' | 'either' | number;
  /** Up to 15, where a range counts twice. */
  ports: (number | Ports)[];
  /** Matches what does not have it. */
  invert?: boolean;
}

type AddressType =
  | 'unspecified'
  | 'unicast'
  | 'local'
  | 'broadcast'
  | 'anycast'
  | 'multicast'
  | 'blackhole'
  | 'unreachable'
  | 'prohibit'
  | 'throw'
  | 'nat'
  | 'xresolve'
  | number;

/** What the match addrtype is told (include/uapi/linux/netfilter/xt_addrtype.h). */
export interface XtAddrtypeInfo {
  /** The types of the source address. */
  source?: AddressType[];
  /** The types of the destination address. */
  destination?: AddressType[];
  /** Of revision 1. */
  flags?: ('invert-source' | 'invert-destination' | 'limit-in-interface' | 'limit-out-interface' | number)[];
  /** Of revision 0. */
  invertSource?: boolean;
  /** Matches other types of the destination address. */
  invertDestination?: boolean;
}

type ConntrackField =
  | 'states'
  | 'protocol'
  | 'original-source'
  | 'original-destination'
  | 'reply-source'
  | 'reply-destination'
  | 'status'
  | 'expires'
  | 'original-source-port'
  | 'original-destination-port'
  | 'reply-source-port'
  | 'reply-destination-port'
  | 'direction'
  | 'state-alias'
  | number;

/** What the match conntrack is told (include/uapi/linux/netfilter/xt_conntrack.h). */
export interface XtConntrackInfo {
  /** Which of the fields below are looked at, and which must not be so. */
  match?: ConntrackField[];
  /** Matches what does not have it. */
  invert?: ConntrackField[];
  /** The states of the connection. */
  states?: ('invalid' | 'established' | 'related' | 'new' | 'snat' | 'dnat' | 'untracked' | number)[];
  /** IPS_* by the names that traces have. */
  status?: (string | number)[];
  /** The number of the transport protocol. */
  protocol?: number;
  /** The source address of the original direction. */
  originalSource?: string;
  /** Its mask. */
  originalSourceMask?: string;
  /** The destination address of the original direction. */
  originalDestination?: string;
  /** Its mask. */
  originalDestinationMask?: string;
  /** The source address of the reply direction. */
  replySource?: string;
  /** Its mask. */
  replySourceMask?: string;
  /** The destination address of the reply direction. */
  replyDestination?: string;
  /** Its mask. */
  replyDestinationMask?: string;
  /** The source port of the original direction. */
  originalSourcePort?: number;
  /** The destination port of the original direction; the first one of a range. */
  originalDestinationPort?: number;
  /** The source port of the reply direction; the first one of a range. */
  replySourcePort?: number;
  /** The destination port of the reply direction; the first one of a range. */
  replyDestinationPort?: number;
  /** The last ports: of revision 3. */
  originalSourceLastPort?: number;
  /** The last port of the range. */
  originalDestinationLastPort?: number;
  /** The last port of the range. */
  replySourceLastPort?: number;
  /** The last port of the range. */
  replyDestinationLastPort?: number;
  /** The connection ends in at least so many seconds. */
  expiresFromSeconds?: number;
  /** The connection ends in at most so many seconds. */
  expiresToSeconds?: number;
}

interface TargetInfos extends MoreTargetInfos {
  REDIRECT: XtNatInfo;
  MASQUERADE: XtNatInfo;
  SNAT: XtNatInfo;
  DNAT: XtNatInfo;
  MARK: XtMarkInfo;
  LOG: XtLogInfo;
  NFLOG: XtNflogInfo;
}

interface MatchInfos extends MoreMatchInfos {
  tcp: XtTcpInfo;
  udp: XtUdpInfo;
  comment: XtCommentInfo;
  multiport: XtMultiportInfo;
  addrtype: XtAddrtypeInfo;
  conntrack: XtConntrackInfo;
}

/** What the kernel calls it and its version; the C structure as an object where it is typed here, else its bytes as hex, padding included. */
type Extension<Infos> =
  | {
      [N in keyof Infos]: {
        /** The name of the match or target. */
        name: N;
        /** The revision of its structure. */
        revision: number;
        /** Its structure: fields where this library knows them, else hex. In `netsteer/nftables/kernel` it is always hex. */
        info: Infos[N] | string;
        /** Attributes that this library does not know, kept as they came. */
        unknown?: UnknownAttribute[];
      };
    }[keyof Infos]
  | {
      /** The name of the match or target. */
      name: string & {};
      /** The revision of its structure. */
      revision: number;
      /** Its structure: fields where this library knows them, else hex. */
      info: string;
      /** Attributes that this library does not know, kept as they came. */
      unknown?: UnknownAttribute[];
    };

/** A target of xtables in a rule of nf_tables. */
export type XtTarget = Extension<TargetInfos>;
/** A match of xtables in a rule of nf_tables. */
export type XtMatch = Extension<MatchInfos>;

/** What surrounds the expressions of a rule. Without layouts the structures of xtables are bytes: a bundle without them is 32 kB smaller. */
export interface RuleContext extends Context {
  readonly xt: XtLayouts | undefined;
}

interface RawExtension {
  name: string;
  revision: number;
  info: string | Uint8Array;
}

/** The attributes of a match or target; its structure is typed only where writing it again gives the same bytes. */
class ExtensionTable<T> extends AttributeTable<T> {
  readonly #kind: keyof XtLayouts;
  /** The number of the attribute with the structure. */
  readonly #info: number;
  readonly #heads = new Map<string, Uint8Array[]>();

  constructor(
    name: string,
    schema: ConstructorParameters<typeof AttributeTable>[1],
    kind: keyof XtLayouts,
    info: number,
  ) {
    super(name, schema);
    this.#kind = kind;
    this.#info = info;
  }

  override write(writer: Writer, value: T, context: Context): void {
    const { info, name, revision } = value as unknown as RawExtension;
    const typed = typeof info === 'object' && info !== null && !(info instanceof Uint8Array);
    const { xt } = context as RuleContext;
    if (typed && xt === undefined)
      throw typeError(['info'], 'bytes, as hex (a Transaction of netsteer/nftables takes objects)', info);
    const layout = typed ? xt?.[this.#kind](name, revision, context.family) : undefined;
    if (layout === undefined) {
      super.write(writer, value, context);
      return;
    }
    try {
      checkObject(info, [], layout.keys);
      if (hasOnlyThese(value as object)) {
        writer.raw(this.#headOf(name, revision, context));
        const start = writer.beginAttribute(this.#info);
        layout.write(writer, info as unknown as Info, context);
        writer.endAttribute(start);
      } else super.write(writer, { ...value, info: encode(layout, info as unknown as Info, context) }, context);
    } catch (error) {
      throw within(error, ['info']);
    }
  }

  /** The attributes before the structure. There are as many of them as layouts. */
  #headOf(name: string, revision: number, context: Context): Uint8Array {
    const known = this.#heads.get(name)?.[revision];
    if (known !== undefined) return known;
    const head = new Writer(64);
    super.write(head, { name, revision, info: '' } as T, context);
    // Without the empty attribute that the structure stands in.
    const bytes = head.copy().slice(0, -NLA_HDRLEN);
    const byRevision = this.#heads.get(name) ?? [];
    byRevision[revision] = bytes;
    this.#heads.set(name, byRevision);
    return bytes;
  }

  override read(source: Source, start: number, end: number, context: Context): T | undefined {
    const value = super.read(source, start, end, context) as RawExtension | undefined;
    const { xt } = context as RuleContext;
    const layout = value && xt?.[this.#kind](value.name, value.revision, context.family);
    if (layout === undefined) return value as T | undefined;
    const raw = fromHex(value!.info as string)!;
    const info = raw.length === layout.size ? layout.read(sourceOf(raw), 0, context) : undefined;
    if (info !== undefined && isExact(layout, info, context, raw)) value!.info = info as unknown as string;
    return value as T;
  }
}

function hasOnlyThese(value: object): boolean {
  for (const key in value) if (key !== 'name' && key !== 'revision' && key !== 'info') return false;
  return true;
}

function encode(layout: Layout, info: Info, context: Context): Uint8Array {
  const writer = new Writer(layout.size);
  layout.write(writer, info, context);
  return writer.copy();
}

/** Does the object say all that the bytes do? What it could not be written back to is none. */
function isExact(layout: Layout, info: Info, context: Context, raw: Uint8Array): boolean {
  try {
    return Buffer.compare(encode(layout, info, context), raw) === 0;
  } catch (error) {
    if (isArgumentError(error)) return false;
    throw error;
  }
}

/** A match of xtables (iptables), run by the kernel's compatibility layer. */
const match = new ExtensionTable<XtMatch>(
  'NFTA_MATCH',
  () => ({ name: string(C.NFTA_MATCH_NAME, 31), revision: u32be(C.NFTA_MATCH_REV), info: bytes(C.NFTA_MATCH_INFO) }),
  'match',
  C.NFTA_MATCH_INFO,
);

/** A target of xtables (iptables), run by the kernel's compatibility layer. */
const target = new ExtensionTable<XtTarget>(
  'NFTA_TARGET',
  () => ({ name: string(C.NFTA_TARGET_NAME, 31), revision: u32be(C.NFTA_TARGET_REV), info: bytes(C.NFTA_TARGET_INFO) }),
  'target',
  C.NFTA_TARGET_INFO,
);

export const expressions = { match, target };
