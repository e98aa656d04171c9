import {
  attribute,
  attributes,
  checkInteger,
  checkObject,
  checkOneOf,
  type Infer,
  IP_ADDRESS,
  named,
  namedBits,
  nested,
  opt,
  struct,
  type Type,
  U8,
  U16_NE,
  U32_NE,
  type UnknownAttribute,
  u16ne,
  u32ne,
  u64ne,
} from '../../codec/index.ts';
import { type Path, rangeError, typeError, UnsupportedError } from '../../errors.ts';
import { NLM_F_CREATE, NLM_F_REPLACE } from '../../linux/netlink.ts';
import * as C from '../../linux/nexthop.ts';
import { RTM_DELNEXTHOP, RTM_GETNEXTHOP, RTM_NEWNEXTHOP, RTNH_F_ONLINK } from '../../linux/rtnetlink.ts';
import type { Exchange, Operation } from '../../netlink/index.ts';
import { SCOPES, type Scope } from '../address.ts';
import { checkBoolean, checkDevice, DEVICE_DOWN, missing, PRESENCE } from '../device.ts';
import { type DeviceFilter, type Devices, present } from '../devices.ts';
import { checkHost, FAMILIES, FAMILY_NAMES, familyName, type IpFamily } from '../prefix.ts';
import { CREATE, dump, kind, read, request } from '../request.ts';
import { numberOf, PROTOCOLS, ROUTE_FLAGS, type RouteFlag, type RouteProtocol } from './attributes.ts';

/* Nexthop objects (net/ipv4/nexthop.c, Linux 5.3): ways that routes name by a number, and that can change for all of these routes at once. */

const nhmsg = struct('nhmsg', {
  nh_family: [1, U8],
  nh_scope: [1, named(U8, SCOPES)],
  nh_protocol: [1, named(U8, PROTOCOLS)],
  resvd: [1, U8],
  nh_flags: [4, U32_NE],
});
/** `resvd1` has the upper bits of the weight since Linux 6.12, and is refused by older kernels unless it is zero. */
const nexthop_grp = struct('nexthop_grp', { id: [4, U32_NE], weight: [1, U8], resvd1: [1, U8], resvd2: [2, U16_NE] });

/** One member of a group. */
export interface NextHopMember {
  /** The id of a nexthop object that is no group. */
  id: number;
  /** Its share of the traffic, 1 to 256; to 65536 since Linux 6.12. Default 1. */
  weight?: number;
}

const MEMBERS: Type<NextHopMember[]> = {
  kind: 'nexthop_grp list',
  write(writer, members) {
    for (const { id, weight = 1 } of members)
      nexthop_grp.write(writer, { id, weight: (weight - 1) & 0xff, resvd1: (weight - 1) >> 8, resvd2: 0 });
  },
  read(source, start, end) {
    const members: NextHopMember[] = [];
    for (let at = start; at < end; at += nexthop_grp.size) {
      const member = nexthop_grp.read(source, at, end);
      if (member === undefined) return undefined;
      members.push({ id: member.id, weight: member.resvd1 * 256 + member.weight + 1 });
    }
    return members;
  },
};

const GROUP_TYPES = { multipath: C.NEXTHOP_GRP_TYPE_MPATH, resilient: C.NEXTHOP_GRP_TYPE_RES } as const;

/** The settings of a resilient group (Linux 5.13), which moves as few flows as possible when its members change. */
const RESILIENT = attributes('NHA_RES_GROUP', () => ({
  /** The number of buckets to which flows are assigned, 1 to 65535. It cannot change later. */
  buckets: opt(u16ne(C.NHA_RES_GROUP_BUCKETS)),
  /** How long a bucket must be unused before it may go to another member. */
  idleCentiseconds: opt(u32ne(C.NHA_RES_GROUP_IDLE_TIMER)),
  /** How long the group may have the wrong shares before buckets in use move, too; 0 means forever. */
  unbalancedCentiseconds: opt(u32ne(C.NHA_RES_GROUP_UNBALANCED_TIMER)),
  /** How long the group has had the wrong shares. */
  sinceCentiseconds: opt(u64ne(C.NHA_RES_GROUP_UNBALANCED_TIME)),
}));

const NHA = attributes('NHA', () => ({
  id: opt(u32ne(C.NHA_ID)),
  group: opt(attribute(C.NHA_GROUP, MEMBERS)),
  groupType: opt(attribute(C.NHA_GROUP_TYPE, named(U16_NE, GROUP_TYPES))),
  blackhole: opt(attribute(C.NHA_BLACKHOLE, PRESENCE)),
  device: opt(u32ne(C.NHA_OIF)),
  via: opt(attribute(C.NHA_GATEWAY, IP_ADDRESS)),
  fdb: opt(attribute(C.NHA_FDB, PRESENCE)),
  resilient: opt(nested(C.NHA_RES_GROUP, RESILIENT)),
}));
type NextHopAttributes = Infer<typeof NHA>;
type NextHopHeader = Infer<typeof nhmsg>;
const NEXT_HOP = kind(nhmsg, NHA);

/** A nexthop object: a way that routes use by its id, or a group of such ways. */
export interface NextHopObject {
  /** 1 to 2^32-1, unique in the namespace. */
  id: number;
  /** The family of the routes that can use it. Absent for a group, which has the family of its members. */
  family?: IpFamily;
  /** The router. */
  via?: string;
  /** The device through which packets leave. */
  device?: string;
  /** Treat `via` as reachable over `device`, even if no address says so. */
  onLink?: boolean;
  /** Drop the packets. */
  blackhole?: boolean;
  /** For the forwarding table of a VXLAN device (`nextHopId` of its entries), not for routes. */
  fdb?: boolean;
  /** The members that share the traffic. */
  group?: NextHopMember[];
  /** Default 'multipath'. */
  groupType?: keyof typeof GROUP_TYPES | number;
  /** How a group keeps flows at their next hop. */
  resilient?: Infer<typeof RESILIENT>;
  /** Who added it. Default 'boot'. */
  protocol?: RouteProtocol | number;
  /** Read-only: the kernel sets it. */
  scope?: Scope | number;
  /** Read-only; `onLink` sets one of them. Bits without a name follow as one number. */
  flags?: (RouteFlag | number)[];
  /** Attributes that this library does not know, kept as they came. */
  unknown?: UnknownAttribute[];
}

const FIELDS = Object.keys({
  id: true,
  family: true,
  via: true,
  device: true,
  onLink: true,
  blackhole: true,
  fdb: true,
  group: true,
  groupType: true,
  resilient: true,
  protocol: true,
  scope: true,
  flags: true,
  unknown: true,
} satisfies Record<keyof NextHopObject, true>);
const MAX_U32 = 0xffffffff;
const HEADER: NextHopHeader = { nh_family: 0, nh_scope: 'global', nh_protocol: 0, resvd: 0, nh_flags: 0 };

function readNextHop(
  header: NextHopHeader,
  { id, device, blackhole, fdb, ...rest }: NextHopAttributes,
  nameOf: (index: number) => string | undefined,
): NextHopObject | undefined {
  if (id === undefined) return undefined;
  const family = familyName(header.nh_family);
  const name = device === undefined ? undefined : nameOf(device);
  return {
    id,
    ...(family !== undefined && { family }),
    ...(name !== undefined && { device: name }),
    ...(blackhole === true && { blackhole }),
    ...(fdb === true && { fdb }),
    ...((header.nh_flags & RTNH_F_ONLINK) !== 0 && { onLink: true }),
    protocol: header.nh_protocol,
    scope: header.nh_scope,
    flags: namedBits<RouteFlag>(header.nh_flags, ROUTE_FLAGS),
    ...rest,
  };
}

/** Refuses a field beside another one, because the kernel does so without a word about the field. */
function refuseBeside(given: NextHopObject, field: string, others: readonly (keyof NextHopObject)[]): void {
  for (const other of others)
    if (given[other] !== undefined && given[other] !== false)
      throw typeError([other], `nothing beside ${field}`, given[other], 'ERR_CONFLICT');
}

function writeNextHop(given: NextHopObject): { header: NextHopHeader; attributes: NextHopAttributes } {
  checkObject(given, [], FIELDS);
  const { family, via, device, group, groupType, resilient, protocol = 'boot' } = given;
  const flag = (field: 'onLink' | 'blackhole' | 'fdb') =>
    given[field] !== undefined && checkBoolean(given[field], [field]);
  const [onLink, blackhole, fdb] = [flag('onLink'), flag('blackhole'), flag('fdb')];
  const attributes: NextHopAttributes = { id: checkInteger(given.id, ['id'], 1, MAX_U32) };
  const header: NextHopHeader = {
    ...HEADER,
    nh_protocol: numberOf(protocol, ['protocol'], PROTOCOLS, 0xff),
    nh_flags: onLink ? RTNH_F_ONLINK : 0,
  };
  if (fdb) attributes.fdb = true;
  if (group !== undefined) {
    refuseBeside(given, 'group', ['family', 'via', 'device', 'onLink', 'blackhole']);
    attributes.group = checkMembers(group);
    if (groupType !== undefined) attributes.groupType = numberOf(groupType, ['groupType'], GROUP_TYPES, 0xffff);
    if (resilient !== undefined) {
      const { sinceCentiseconds: _since, ...settings } = resilient;
      if (groupType !== 'resilient')
        throw typeError(['resilient'], "nothing, unless groupType is 'resilient'", resilient, 'ERR_CONFLICT');
      attributes.resilient = settings;
    }
    return { header, attributes };
  }
  refuseBeside(given, 'a single way', ['groupType', 'resilient']);
  const own = via === undefined ? undefined : checkHost(via, ['via']);
  if (family !== undefined) checkOneOf(family, ['family'], FAMILY_NAMES);
  if (own !== undefined && family !== undefined && own !== family)
    throw rangeError(['via'], `an address of ${family}`, via, 'ERR_FAMILY_MISMATCH');
  header.nh_family = FAMILIES[own ?? family ?? 'ipv4'];
  if (blackhole) {
    refuseBeside(given, 'blackhole', ['via', 'onLink', 'fdb']);
    attributes.blackhole = true;
    // The kernel reports lo as the device of a blackhole, and refuses a device with it.
    if (device !== undefined && given.flags === undefined) refuseBeside(given, 'blackhole', ['device']);
    return { header, attributes };
  }
  if (via === undefined && device === undefined)
    throw typeError(['device'], 'a device, or a gateway in via', undefined, 'ERR_MISSING');
  if (device !== undefined) checkDevice(device, ['device']);
  if (via !== undefined) attributes.via = via;
  return { header, attributes };
}

function checkMembers(group: unknown): NextHopMember[] {
  if (!Array.isArray(group) || group.length === 0) throw typeError(['group'], 'an array of members', group);
  return group.map((member: NextHopMember, i) => {
    const path: Path = ['group', i];
    checkObject(member, path, ['id', 'weight']);
    const { id, weight = 1 } = member;
    return {
      id: checkInteger(id, [...path, 'id'], 1, MAX_U32),
      weight: checkInteger(weight, [...path, 'weight'], 1, 0x10000),
    };
  });
}

/** Adds or replaces a nexthop object. A weight that older kernels would cut is read back. */
export function* changeNextHop(
  exchange: Exchange,
  devices: Devices,
  change: 'add' | 'set',
  object: NextHopObject,
): Operation<void> {
  const { header, attributes } = writeNextHop(object);
  const { device, group, via } = object;
  if (device !== undefined && attributes.blackhole === undefined)
    attributes.device = yield* devices.indexOf(device, 'device', object);
  const gateway = 'the gateway is on no network of the device: first add an address of its network, or use onLink';
  const heavy = (group ?? []).some(({ weight = 1 }) => weight > 256);
  const call = request(NEXT_HOP, {
    syscall: 'RTM_NEWNEXTHOP',
    type: RTM_NEWNEXTHOP,
    flags: change === 'set' ? NLM_F_CREATE | NLM_F_REPLACE : CREATE,
    header,
    value: attributes,
    subject: object,
    refusals: {
      hints: {
        EEXIST: 'there is a nexthop object with this id: setNextHopObject replaces it',
        ENETUNREACH: gateway,
        EHOSTUNREACH: gateway,
        ENETDOWN: attributes.blackhole ? 'a blackhole uses lo, which is down' : DEVICE_DOWN,
        ENODEV: device === undefined ? undefined : missing(device),
        EINVAL: heavy ? 'Linux 6.12 has weights above 256' : undefined,
        EOPNOTSUPP: 'Linux 5.3 has nexthop objects',
      },
      blame: {
        EEXIST: ['id'],
        ENETUNREACH: ['via'],
        EHOSTUNREACH: ['via'],
        ENETDOWN: attributes.blackhole ? ['blackhole'] : ['device'],
        EINVAL: group !== undefined ? ['group'] : via !== undefined ? ['via'] : ['device'],
      },
    },
  });
  yield* exchange.request(call);
  if (!heavy) return;
  const made = yield* readOne(exchange, devices, object);
  const isCut = made?.group?.some(({ id, weight }) => group!.every(one => one.id !== id || one.weight !== weight));
  if (isCut === true) throw new UnsupportedError('nexthop objects with a weight above 256', '6.12');
}

const keyed = (id: unknown): NextHopAttributes => ({ id: checkInteger(id, ['id'], 1, MAX_U32) });

function* readOne(
  exchange: Exchange,
  devices: Devices,
  object: Pick<NextHopObject, 'id'>,
): Operation<NextHopObject | undefined> {
  const call = request(NEXT_HOP, {
    syscall: 'RTM_GETNEXTHOP',
    type: RTM_GETNEXTHOP,
    header: HEADER,
    value: keyed(object.id),
    subject: object,
  });
  const [header, attributes] = yield* exchange.get(call, message => read(NEXT_HOP, message));
  const name = attributes.device === undefined ? undefined : yield* devices.nameOf(attributes.device);
  return readNextHop(header, attributes, () => name);
}

/** Removes a nexthop object. */
export function* removeNextHop(exchange: Exchange, object: Pick<NextHopObject, 'id'>): Operation<void> {
  checkObject(object, [], FIELDS);
  const call = request(NEXT_HOP, {
    syscall: 'RTM_DELNEXTHOP',
    type: RTM_DELNEXTHOP,
    // The kernel refuses the protocol here.
    header: HEADER,
    value: keyed(object.id),
    subject: object,
    refusals: { hints: { ENOENT: 'there is no nexthop object with this id' }, blame: { ENOENT: ['id'] } },
  });
  yield* exchange.request(call);
}

/** Lists all nexthop objects, or those of one device. */
export function* listNextHops(exchange: Exchange, devices: Devices, filter: DeviceFilter): Operation<NextHopObject[]> {
  const index = yield* devices.indexIn(filter);
  const found = yield* dump(exchange, NEXT_HOP, { syscall: 'RTM_GETNEXTHOP', type: RTM_GETNEXTHOP, header: HEADER });
  const wanted = index === 0 ? found : found.filter(([, { device }]) => device === index);
  const nameOf = yield* devices.names(wanted.flatMap(([, { device }]) => device ?? []));
  return present(wanted, ([header, attributes]) => readNextHop(header, attributes, nameOf));
}
