import type { U32Test } from './u32.ts';

/*
 * The structures of xtables' matches and targets as objects: a row for each of the layouts beside this file. What is left out is zero, or what
 * iptables has there. A flag without a name is its number.
 */

/** Flags by their names. */
type Flags<Names extends string> = (Names | number)[];
/** A value by its name. */
type Named<Names extends string> = Names | number;
/** A first and a last number. */
type Range = [first: number, last: number];
/** An address of the rule's family, or null for none. */
type Address = string | null;

type HashlimitMode =
  | 'destination-address'
  | 'destination-port'
  | 'source-address'
  | 'source-port'
  | 'invert'
  | 'bytes'
  | 'rate-match';
type IpvsField = 'ipvs' | 'protocol' | 'address' | 'port' | 'direction' | 'method' | 'control-port';
type PolicyField = 'source' | 'destination' | 'protocol' | 'mode' | 'spi' | 'reqid';
type OwnerField = 'uid' | 'gid' | 'socket' | 'supplementary-groups';
type BridgeField = 'in' | 'out' | 'bridged' | 'is-in' | 'is-out';
type Ipv6Header = 'proto' | 'none' | 'esp' | 'auth' | 'frag' | 'route' | 'dst' | 'hop';
type SctpField = 'source-ports' | 'destination-ports' | 'chunks';
type DccpField = 'source-ports' | 'destination-ports' | 'types' | 'option';
type SrhField =
  | 'next-header'
  | `${'length' | 'segments'}-${'equal' | 'greater' | 'less'}`
  | `last-${'equal' | 'greater' | 'less'}`
  | 'tag'
  | `${'previous' | 'next' | 'last'}-segment`;
type Hops = Named<'equal' | 'not-equal' | 'less' | 'greater'>;
type HmarkFlag =
  | `${'source' | 'destination' | 'spi' | 'protocol'}-mask`
  | `${'source' | 'destination'}-port${'' | '-mask'}`
  | 'spi'
  | 'random'
  | 'modulus'
  | 'offset'
  | 'ct'
  | 'layer-3'
  | 'layer-3-4';
type ConnectionEvent =
  | 'new'
  | 'related'
  | 'destroy'
  | 'reply'
  | 'assured'
  | 'protoinfo'
  | 'helper'
  | 'mark'
  | 'natseqinfo'
  | 'secmark';
type RejectWith =
  | `icmp-${'net' | 'host' | 'proto' | 'port'}-unreachable`
  | `icmp-${'net' | 'host' | 'admin'}-prohibited`
  | 'tcp-reset'
  | 'icmp6-no-route'
  | 'icmp6-adm-prohibited'
  | `icmp6-${'addr' | 'port'}-unreachable`
  | 'icmp6-policy-fail'
  | 'icmp6-reject-route';

interface IcmpInfo {
  type?: number;
  /** The first and the last code. */
  code?: Range;
  invert?: Flags<'type'>;
}

interface Ipv6OptionsInfo {
  length?: number;
  flags?: Flags<'length' | 'options' | 'not-strict'>;
  invert?: Flags<'length'>;
  /** Each is 256 times its type and its length; 255 is any length. */
  options?: number[];
}

interface PrefixesInfo {
  source?: string;
  destination?: string;
  sourceLength?: number;
  destinationLength?: number;
  adjustment?: number;
}

/** Matches by their names. */
export interface MoreMatchInfos {
  ah: { spis?: Range; length?: number; reserved?: number; invert?: Flags<'spi' | 'length'> };
  bpf: { mode?: Named<'bytecode' | 'pinned' | 'elf'>; fd?: number; program?: string };
  cgroup: { path?: string; classid?: number; invertPath?: boolean; invertClassid?: boolean };
  cluster: { totalNodes?: number; nodeMask?: number; hashSeed?: number; flags?: Flags<'invert'> };
  connbytes: {
    from?: bigint;
    to?: bigint;
    mode?: Named<'packets' | 'bytes' | 'avgpkt'>;
    direction?: Named<'original' | 'reply' | 'both'>;
  };
  connlabel: { bit?: number; options?: Flags<'invert' | 'set'> };
  connlimit: { mask?: Address; limit?: number; flags?: Flags<'invert' | 'destination'> };
  connmark: { mark?: number; mask?: number; invert?: boolean };
  cpu: { cpu?: number; invert?: boolean };
  dccp: {
    sourcePorts?: Range;
    destinationPorts?: Range;
    types?: number;
    option?: number;
    flags?: Flags<DccpField>;
    invert?: Flags<DccpField>;
  };
  devgroup: {
    source?: number;
    sourceMask?: number;
    destination?: number;
    destinationMask?: number;
    flags?: Flags<`${'' | 'invert-'}${'source' | 'destination'}`>;
  };
  dscp: { dscp?: number; invert?: boolean };
  dst: Ipv6OptionsInfo;
  ecn: {
    operation?: Flags<'ip' | 'ece' | 'cwr'>;
    invert?: Flags<'ip' | 'ece' | 'cwr'>;
    ipEct?: number;
    tcpEct?: number;
  };
  esp: { spis?: Range; invert?: Flags<'spi'> };
  eui64: Record<string, never>;
  frag: {
    ids?: Range;
    length?: number;
    flags?: Flags<'ids' | 'length' | 'reserved' | 'first' | 'more' | 'last'>;
    invert?: Flags<'ids' | 'length'>;
  };
  hashlimit: {
    name: string;
    /** Millionths of a second between packets, or the time of sixteen bytes. */
    average?: bigint;
    burst?: bigint;
    mode?: Flags<HashlimitMode>;
    size?: number;
    max?: number;
    gcIntervalMs?: number;
    expireMs?: number;
    interval?: number;
    /** The length of a prefix. */
    sourceMask?: number;
    destinationMask?: number;
  };
  hbh: Ipv6OptionsInfo;
  helper: { name?: string; invert?: boolean };
  hl: { mode?: Hops; hopLimit?: number };
  icmp: IcmpInfo;
  icmp6: IcmpInfo;
  ipcomp: { spis?: Range; reserved?: number; invert?: Flags<'spi'> };
  iprange: {
    firstSource?: string;
    lastSource?: string;
    firstDestination?: string;
    lastDestination?: string;
    flags?: Flags<`${'' | 'invert-'}${'source' | 'destination'}`>;
  };
  ipv6header: { headers?: Flags<Ipv6Header>; invert?: Flags<Ipv6Header>; mode?: Flags<'soft'> };
  ipvs: {
    address?: Address;
    mask?: Address;
    port?: number;
    protocol?: number;
    method?: number;
    controlPort?: number;
    match?: Flags<IpvsField>;
    invert?: Flags<IpvsField>;
  };
  length: { min?: number; max?: number; invert?: boolean };
  /** The address is hex. */
  mac: { address: string; invert?: boolean };
  mark: { mark?: number; mask?: number; invert?: boolean };
  mh: { types?: Range; invert?: Flags<'type'> };
  nfacct: { name: string };
  osf: {
    genre?: string;
    length?: number;
    flags?: Flags<'genre' | 'ttl' | 'log' | 'invert'>;
    logLevel?: number;
    ttl?: number;
  };
  owner: {
    firstUid?: number;
    lastUid?: number;
    firstGid?: number;
    lastGid?: number;
    match?: Flags<OwnerField>;
    invert?: Flags<OwnerField>;
  };
  physdev: {
    in?: string;
    /** The bytes of the name that count, as hex. */
    inMask?: string;
    out?: string;
    outMask?: string;
    match?: Flags<BridgeField>;
    invert?: Flags<BridgeField>;
  };
  pkttype: { type?: number; invert?: boolean };
  policy: {
    elements?: {
      source?: string;
      sourceMask?: string;
      destination?: string;
      destinationMask?: string;
      spi?: number;
      reqid?: number;
      protocol?: number;
      mode?: 'transport' | 'tunnel';
      match?: Flags<PolicyField>;
      invert?: Flags<PolicyField>;
    }[];
    flags?: Flags<'in' | 'out' | 'none' | 'strict'>;
    count?: number;
  };
  quota: { quota?: bigint; flags?: Flags<'invert'> };
  rateest: {
    name1?: string;
    name2?: string;
    flags?: Flags<'invert' | 'absolute' | 'relative' | 'delta' | 'bps' | 'pps'>;
    mode?: Named<'none' | 'equal' | 'less' | 'greater'>;
    bps1?: number;
    pps1?: number;
    bps2?: number;
    pps2?: number;
  };
  realm: { id?: number; mask?: number; invert?: boolean };
  recent: {
    name?: string;
    seconds?: number;
    hitCount?: number;
    checkSet?: Flags<'check' | 'set' | 'update' | 'remove' | 'ttl' | 'reap'>;
    side?: Named<'source' | 'destination'>;
    mask?: Address;
    invert?: boolean;
  };
  rpfilter: { flags?: Flags<'loose' | 'valid-mark' | 'accept-local' | 'invert'> };
  rt: {
    type?: number;
    segmentsLeft?: Range;
    length?: number;
    flags?: Flags<'type' | 'segments' | 'length' | 'reserved' | 'addresses' | 'not-strict'>;
    invert?: Flags<'type' | 'segments' | 'length'>;
    addresses?: string[];
  };
  sctp: {
    sourcePorts?: Range;
    destinationPorts?: Range;
    /** A bit for each chunk, as hex. */
    chunks?: string;
    chunkMatchType?: Named<'none' | 'any' | 'all' | 'only'>;
    flagInfo?: string;
    flagCount?: number;
    flags?: Flags<SctpField>;
    invert?: Flags<SctpField>;
  };
  set: {
    index: number;
    dimensions?: number;
    sides?: number;
    packets?: bigint;
    packetsOperation?: number;
    bytes?: bigint;
    bytesOperation?: number;
    flags?: number;
  };
  socket: { flags?: Flags<'transparent' | 'no-wildcard' | 'restore-mark'> };
  srh: {
    nextHeader?: number;
    length?: number;
    segmentsLeft?: number;
    lastEntry?: number;
    tag?: number;
    previousSegment?: string;
    nextSegment?: string;
    lastSegment?: string;
    previousSegmentMask?: string;
    nextSegmentMask?: string;
    lastSegmentMask?: string;
    match?: Flags<SrhField>;
    invert?: Flags<SrhField>;
  };
  statistic: {
    mode?: Named<'random' | 'nth'>;
    flags?: Flags<'invert'>;
    /** Of nth: every so many packets, less one. */
    every?: number;
    packet?: number;
    /** Of random: times 2 to the power of 31. */
    probability?: number;
    count?: number;
  };
  /** The pattern is hex. */
  string: { algorithm: string; pattern: string; from?: number; to?: number; flags?: Flags<'invert' | 'ignore-case'> };
  tcpmss: { mssMin?: number; mssMax?: number; invert?: Flags<'mss'> };
  time: {
    /** Seconds since 1970. */
    dateStart?: number;
    dateStop?: number;
    /** Seconds since midnight. */
    daytimeStart?: number;
    daytimeStop?: number;
    /** Day n is bit n. */
    monthDays?: number;
    weekDays?: number;
    flags?: Flags<'local-time' | 'contiguous'>;
  };
  tos: { value?: number; mask?: number; invert?: boolean };
  ttl: { mode?: Hops; ttl?: number };
  u32: { tests: U32Test[]; invert?: boolean };
}

/** Targets by their names. */
export interface MoreTargetInfos {
  AUDIT: { type?: Named<'accept' | 'drop' | 'reject'> };
  CHECKSUM: { operations?: Flags<'fill'> };
  CLASSIFY: { priority?: number };
  CLUSTERIP: {
    flags?: Flags<'new'>;
    mac?: string;
    totalNodes?: number;
    localNodes?: number;
    nodes: number[];
    hashMode?: Named<'sourceip' | 'sourceip-sourceport' | 'sourceip-sourceport-destport'>;
    hashInitial?: number;
  };
  CONNMARK: {
    ctmark?: number;
    ctmask?: number;
    nfmask?: number;
    mode?: Named<'set' | 'save' | 'restore'>;
    shift?: Named<'left' | 'right'>;
    shiftBits?: number;
  };
  CONNSECMARK: { mode: Named<'save' | 'restore'> };
  CT: {
    flags?: Flags<'notrack' | 'notrack-alias' | 'original' | 'reply' | 'mark'>;
    zone?: number;
    events?: Flags<ConnectionEvent>;
    expectationEvents?: Flags<'new' | 'destroy'>;
    helper?: string;
    timeout?: string;
  };
  DNPT: PrefixesInfo;
  DSCP: { dscp?: number };
  ECN: { operations?: Flags<'ip' | 'ece' | 'cwr'>; ect?: number; bits?: Flags<'ece' | 'cwr'> };
  HL: { mode?: Named<'set' | 'increment' | 'decrement'>; value?: number };
  HMARK: {
    sourceMask?: Address;
    destinationMask?: Address;
    portMask?: number;
    ports?: number;
    flags?: Flags<HmarkFlag>;
    protocolMask?: number;
    seed?: number;
    modulus?: number;
    offset?: number;
  };
  IDLETIMER: { timeout?: number; label?: string; notify?: number; flags?: Flags<'alarm'> };
  LED: { id?: string; alwaysBlink?: boolean; delay?: number };
  NFQUEUE: { queue?: number; queues?: number; flags?: Flags<'bypass' | 'cpu-fanout'> };
  RATEEST: { name?: string; interval?: number; ewmaLog?: number };
  REJECT: { with: Named<RejectWith> };
  SECMARK: { mode?: number; secid?: number; context?: string };
  SET: {
    add?: number;
    addDimensions?: number;
    addFlags?: number;
    delete?: number;
    deleteDimensions?: number;
    deleteFlags?: number;
    map?: number;
    mapDimensions?: number;
    mapFlags?: number;
    flags?: number;
    timeout?: number;
  };
  SNPT: PrefixesInfo;
  SYNPROXY: {
    options?: Flags<'mss' | 'wscale' | 'sack-perm' | 'timestamp' | 'ecn'>;
    wscale?: number;
    mss?: number;
  };
  TCPMSS: { mss?: number };
  /** Bit n of word w is the option 32 * w + n. */
  TCPOPTSTRIP: { words: number[] };
  TEE: { gateway: string; device?: string };
  TOS: { value?: number; mask?: number };
  TPROXY: { address: string; port?: number; mark?: number; mask?: number };
  TTL: { mode?: Named<'set' | 'increment' | 'decrement'>; value?: number };
}
