import {
  attribute,
  attributes,
  checkObject,
  checkOneOf,
  type Infer,
  IP_ADDRESS,
  named,
  namedBits,
  opt,
  S32_NE,
  struct,
  U8,
  U16_NE,
  U32_NE,
  u32ne,
} from '../codec/index.ts';
import { typeError } from '../errors.ts';
import * as C from '../linux/neighbour.ts';
import { NLM_F_CREATE, NLM_F_REPLACE } from '../linux/netlink.ts';
import { RTM_DELNEIGH, RTM_GETNEIGH, RTM_NEWNEIGH } from '../linux/rtnetlink.ts';
import type { Exchange, Operation } from '../netlink/index.ts';
import { checkDevice, checkMac, DEVICE_DOWN, HARDWARE_ADDRESS, quote } from './device.ts';
import { type DeviceFilter, type Devices, present } from './devices.ts';
import { checkHost, FAMILIES, familyName, type IpFamily } from './prefix.ts';
import { CREATE, dump, kind, type Refusals, request } from './request.ts';

const STATES = {
  none: C.NUD_NONE,
  incomplete: C.NUD_INCOMPLETE,
  reachable: C.NUD_REACHABLE,
  stale: C.NUD_STALE,
  delay: C.NUD_DELAY,
  probe: C.NUD_PROBE,
  failed: C.NUD_FAILED,
  noarp: C.NUD_NOARP,
  permanent: C.NUD_PERMANENT,
} as const;
/**
 * How sure the kernel is of a neighbour (RFC 4861, 7.3.2). 'noarp' needs no request (multicast, lo), 'permanent' was added by a program.
 */
export type NeighbourState = keyof typeof STATES;

export const NEIGHBOUR_FLAGS = {
  use: C.NTF_USE,
  self: C.NTF_SELF,
  master: C.NTF_MASTER,
  proxy: C.NTF_PROXY,
  'ext-learned': C.NTF_EXT_LEARNED,
  offloaded: C.NTF_OFFLOADED,
  sticky: C.NTF_STICKY,
  router: C.NTF_ROUTER,
} as const;
/** A flag of a neighbour (NTF_*). */
export type NeighbourFlag = keyof typeof NEIGHBOUR_FLAGS;

/** Returns the bits of the flags that have a name. */
export const flagBits = (flags: readonly (NeighbourFlag | number)[]): number =>
  flags.reduce<number>((bits, flag) => bits | (typeof flag === 'string' ? (NEIGHBOUR_FLAGS[flag] ?? 0) : 0), 0);

export const ndmsg = struct('ndmsg', {
  ndm_family: [1, U8],
  _ndm_pad1: [1, U8],
  _ndm_pad2: [2, U16_NE],
  ndm_ifindex: [4, S32_NE],
  ndm_state: [2, named(U16_NE, STATES)],
  ndm_flags: [1, U8],
  ndm_type: [1, U8],
});

/** Times since each of these events, in hundredths of a second (USER_HZ). */
export const nda_cacheinfo = struct('nda_cacheinfo', {
  ndm_confirmed: [4, U32_NE],
  ndm_used: [4, U32_NE],
  ndm_updated: [4, U32_NE],
  ndm_refcnt: [4, U32_NE],
});

export const NDA = attributes('NDA', () => ({
  /** The neighbour's IP address. */
  address: opt(attribute(C.NDA_DST, IP_ADDRESS)),
  /** The neighbour's hardware address. Absent until the neighbour has answered. */
  hardwareAddress: opt(attribute(C.NDA_LLADDR, HARDWARE_ADDRESS)),
  /** When the neighbour was last heard and used. */
  cacheInfo: opt(attribute(C.NDA_CACHEINFO, nda_cacheinfo)),
  /** The number of requests since the neighbour last answered. */
  probes: opt(u32ne(C.NDA_PROBES)),
  /** Who added the neighbour (RTPROT_*). */
  protocol: opt(attribute(C.NDA_PROTOCOL, U8)),
  /** NTF_EXT_*: flags for which the header has no room. */
  extendedFlags: opt(u32ne(C.NDA_FLAGS_EXT)),
}));

export type NeighbourAttributes = Infer<typeof NDA>;
export type NeighbourHeader = Infer<typeof ndmsg>;
export const NEIGHBOUR = kind(ndmsg, NDA);

/** Another host on a link, as the kernel knows it. */
export interface Neighbour extends Omit<NeighbourAttributes, 'address' | 'cacheInfo'> {
  device: string;
  /** 'ipv4' or 'ipv6'. */
  family: IpFamily;
  address: string;
  /** The state of the neighbour. */
  state: NeighbourState | number;
  /** The flags of the neighbour. Bits without a name follow as one number. */
  flags: (NeighbourFlag | number)[];
  /** Hundredths of a second since the neighbour was last confirmed. */
  confirmedCentiseconds?: number;
  /** Hundredths of a second since the neighbour was last used. */
  usedCentiseconds?: number;
  /** Hundredths of a second since the neighbour was last changed. */
  updatedCentiseconds?: number;
}

export function readNeighbour(
  header: NeighbourHeader,
  value: NeighbourAttributes,
  device: string,
): Neighbour | undefined {
  const family = familyName(header.ndm_family);
  const { address, cacheInfo, ...rest } = value;
  if (family === undefined || address === undefined) return undefined;
  return {
    device,
    family,
    address,
    state: header.ndm_state,
    flags: namedBits<NeighbourFlag>(header.ndm_flags, NEIGHBOUR_FLAGS),
    ...rest,
    ...(cacheInfo !== undefined && {
      confirmedCentiseconds: cacheInfo.ndm_confirmed,
      usedCentiseconds: cacheInfo.ndm_used,
      updatedCentiseconds: cacheInfo.ndm_updated,
    }),
  };
}

/** Identifies a neighbour. */
export interface NeighbourKey {
  /** The device whose link has the neighbour. */
  device: string;
  /** The neighbour's IP address. */
  address: string;
}

const NEW_STATES = ['permanent', 'reachable', 'stale', 'noarp', 'delay', 'probe'] as const;
/** Flags that a caller may set. The kernel sets the others. */
const NEW_FLAGS = C.NTF_ROUTER | C.NTF_EXT_LEARNED | C.NTF_PROXY;
type ToldField = 'probes' | 'confirmedCentiseconds' | 'usedCentiseconds' | 'updatedCentiseconds' | 'extendedFlags';

/** A neighbour to add. A neighbour that was read is accepted if it has answered: fields that only the kernel sets are ignored. */
export interface NewNeighbour
  extends NeighbourKey,
    Partial<Pick<Neighbour, 'family' | 'flags' | 'protocol' | ToldField | 'unknown'>> {
  /** 'aa:bb:cc:dd:ee:ff'. */
  hardwareAddress: string;
  /** Default 'permanent': the neighbour stays until it is removed. The kernel may forget a neighbour in another state. */
  state?: NeighbourState | number;
}

/** The type of this object makes the compiler report a field that is missing here. */
const FIELDS = Object.keys({
  device: true,
  family: true,
  address: true,
  hardwareAddress: true,
  state: true,
  flags: true,
  protocol: true,
  unknown: true,
  // Only the kernel sets these fields.
  probes: true,
  confirmedCentiseconds: true,
  usedCentiseconds: true,
  updatedCentiseconds: true,
  extendedFlags: true,
} satisfies Record<keyof NewNeighbour, true>);

/** The message for a neighbour, without the device's index. */
interface NeighbourMessage {
  header: NeighbourHeader;
  attributes: NeighbourAttributes;
}

function writeCommon({ device, address }: NeighbourKey): NeighbourMessage {
  checkDevice(device, ['device']);
  const family = checkHost(address, ['address']);
  return {
    header: { ndm_family: FAMILIES[family], ndm_ifindex: 0, ndm_state: 'none', ndm_flags: 0, ndm_type: 0 },
    attributes: { address },
  };
}

export function writeNeighbour(neighbour: NewNeighbour): NeighbourMessage {
  checkObject(neighbour, [], FIELDS);
  const { header, attributes } = writeCommon(neighbour);
  const { hardwareAddress, state = 'permanent' } = neighbour;
  if (hardwareAddress === undefined) throw typeError(['hardwareAddress'], 'a value', undefined, 'ERR_MISSING');
  attributes.hardwareAddress = checkMac(hardwareAddress, ['hardwareAddress']);
  if (neighbour.protocol !== undefined) attributes.protocol = neighbour.protocol;
  const flags = flagBits(neighbour.flags ?? []);
  const ndm_state = checkOneOf(state, ['state'], NEW_STATES);
  return { header: { ...header, ndm_state, ndm_flags: flags & NEW_FLAGS }, attributes };
}

/** Writes the key of a neighbour. It ignores all other fields, so a neighbour that was read is accepted. */
export function writeNeighbourKey(key: NeighbourKey): NeighbourMessage {
  if (typeof key !== 'object' || key === null) checkObject(key, [], []);
  return writeCommon(key);
}

export function refusalsOfNeighbour(device: string): Refusals {
  return {
    hints: {
      EEXIST: `${quote(device)} knows this neighbour`,
      ENOENT: `${quote(device)} knows no such neighbour`,
      ENETDOWN: DEVICE_DOWN,
    },
    blame: { EEXIST: ['address'], ENOENT: ['address'], ENETDOWN: ['device'] },
  };
}

/** Adds or removes a neighbour. */
export function* changeNeighbour(
  exchange: Exchange,
  devices: Devices,
  change: 'add' | 'set' | 'remove',
  neighbour: NeighbourKey,
  { header, attributes }: NeighbourMessage,
): Operation<void> {
  const adding = change !== 'remove';
  header.ndm_ifindex = yield* devices.indexOf(neighbour.device, 'device', neighbour);
  const call = request(NEIGHBOUR, {
    syscall: adding ? 'RTM_NEWNEIGH' : 'RTM_DELNEIGH',
    type: adding ? RTM_NEWNEIGH : RTM_DELNEIGH,
    flags: !adding ? 0 : change === 'set' ? NLM_F_CREATE | NLM_F_REPLACE : CREATE,
    header,
    value: attributes,
    subject: neighbour,
    refusals: refusalsOfNeighbour(neighbour.device),
  });
  yield* exchange.request(call);
}

/** Lists the neighbours of all devices, or of one. */
export function* listNeighbours(exchange: Exchange, devices: Devices, filter: DeviceFilter): Operation<Neighbour[]> {
  const index = yield* devices.indexIn(filter);
  const header: NeighbourHeader = { ndm_family: 0, ndm_ifindex: 0, ndm_state: 0, ndm_flags: 0, ndm_type: 0 };
  const found = yield* dump(exchange, NEIGHBOUR, { syscall: 'RTM_GETNEIGH', type: RTM_GETNEIGH, header });
  const wanted = index === 0 ? found : found.filter(([{ ndm_ifindex }]) => ndm_ifindex === index);
  const nameOf = yield* devices.names(wanted.map(([{ ndm_ifindex }]) => ndm_ifindex));
  return present(wanted, ([head, attributes]) => {
    const device = nameOf(head.ndm_ifindex);
    return device === undefined ? undefined : readNeighbour(head, attributes, device);
  });
}
