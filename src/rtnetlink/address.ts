import {
  attribute,
  attributes,
  checkInteger,
  checkObject,
  checkString,
  type Infer,
  IP_ADDRESS,
  named,
  namedBits,
  opt,
  struct,
  U8,
  U32_NE,
  u32ne,
} from '../codec/index.ts';
import { oneOf, type Path, rangeError, typeError } from '../errors.ts';
import * as C from '../linux/if_addr.ts';
import { NLM_F_CREATE, NLM_F_REPLACE } from '../linux/netlink.ts';
import {
  RT_SCOPE_HOST,
  RT_SCOPE_LINK,
  RT_SCOPE_NOWHERE,
  RT_SCOPE_SITE,
  RT_SCOPE_UNIVERSE,
  RTM_DELADDR,
  RTM_GETADDR,
  RTM_NEWADDR,
} from '../linux/rtnetlink.ts';
import type { Exchange, Operation } from '../netlink/index.ts';
import { checkBoolean, checkDevice, deviceName, missing, quote } from './device.ts';
import { type DeviceFilter, type Devices, present } from './devices.ts';
import { checkHost, checkPrefix, FAMILIES, familyName, type IpFamily } from './prefix.ts';
import { CREATE, dump, kind, type Refusals, request } from './request.ts';

export const SCOPES = {
  global: RT_SCOPE_UNIVERSE,
  site: RT_SCOPE_SITE,
  link: RT_SCOPE_LINK,
  host: RT_SCOPE_HOST,
  nowhere: RT_SCOPE_NOWHERE,
} as const;
/** The area in which an address or a route is valid (RT_SCOPE_*). */
export type Scope = keyof typeof SCOPES;

const ADDRESS_FLAGS = {
  nodad: C.IFA_F_NODAD,
  optimistic: C.IFA_F_OPTIMISTIC,
  dadfailed: C.IFA_F_DADFAILED,
  homeaddress: C.IFA_F_HOMEADDRESS,
  deprecated: C.IFA_F_DEPRECATED,
  tentative: C.IFA_F_TENTATIVE,
  permanent: C.IFA_F_PERMANENT,
  managetempaddr: C.IFA_F_MANAGETEMPADDR,
  noprefixroute: C.IFA_F_NOPREFIXROUTE,
  mcautojoin: C.IFA_F_MCAUTOJOIN,
  'stable-privacy': C.IFA_F_STABLE_PRIVACY,
} as const;
/**
 * A flag of an address. One bit has two names: IPv4 'secondary' (removed with the first address of its network), IPv6 'temporary' (RFC
 * 8981).
 */
export type AddressFlag = keyof typeof ADDRESS_FLAGS | 'secondary' | 'temporary';
const FLAGS_OF: Readonly<Record<IpFamily, Readonly<Partial<Record<AddressFlag, number>>>>> = {
  ipv4: { secondary: C.IFA_F_SECONDARY, ...ADDRESS_FLAGS },
  ipv6: { temporary: C.IFA_F_TEMPORARY, ...ADDRESS_FLAGS },
};

/** Flags that have their own field in the options. */
const SETTABLE_FLAGS = [
  ['noPrefixRoute', C.IFA_F_NOPREFIXROUTE],
  ['optimistic', C.IFA_F_OPTIMISTIC],
  ['homeAddress', C.IFA_F_HOMEADDRESS],
  ['manageTemporary', C.IFA_F_MANAGETEMPADDR],
  ['autoJoin', C.IFA_F_MCAUTOJOIN],
] as const;
const ONLY_IPV6: ReadonlySet<string> = new Set(['optimistic', 'homeAddress', 'manageTemporary']);

const ORIGINS = {
  loopback: C.IFAPROT_KERNEL_LO,
  'router-advertisement': C.IFAPROT_KERNEL_RA,
  'link-local': C.IFAPROT_KERNEL_LL,
} as const;

const FOREVER = 0xffffffff;

export const ifaddrmsg = struct('ifaddrmsg', {
  ifa_family: [1, U8],
  ifa_prefixlen: [1, U8],
  ifa_flags: [1, U8],
  ifa_scope: [1, named(U8, SCOPES)],
  ifa_index: [4, U32_NE],
});

/** Lifetimes are in seconds from the reply. Timestamps are in hundredths of a second since the system started. */
export const ifa_cacheinfo = struct('ifa_cacheinfo', {
  ifa_prefered: [4, U32_NE],
  ifa_valid: [4, U32_NE],
  cstamp: [4, U32_NE],
  tstamp: [4, U32_NE],
});

export const IFA = attributes('IFA', () => ({
  /** The address. If IFA_LOCAL is present, this is the network, or the other end of a point-to-point link. */
  address: opt(attribute(C.IFA_ADDRESS, IP_ADDRESS)),
  /** The device's own address. IPv4 always has it. */
  local: opt(attribute(C.IFA_LOCAL, IP_ADDRESS)),
  /** IPv4: a label, up to 15 bytes; by default the device's name. Old programs look for 'eth0:something'. */
  label: opt(attribute(C.IFA_LABEL, deviceName())),
  /** IPv4: the broadcast address; absent unless a program set one. */
  broadcast: opt(attribute(C.IFA_BROADCAST, IP_ADDRESS)),
  /** IPv6: an anycast address. */
  anycast: opt(attribute(C.IFA_ANYCAST, IP_ADDRESS)),
  /** IPv6: a multicast address. */
  multicast: opt(attribute(C.IFA_MULTICAST, IP_ADDRESS)),
  /** How long the address is valid, and since when. */
  cacheInfo: opt(attribute(C.IFA_CACHEINFO, ifa_cacheinfo)),
  /** All flags. The header has only the lower eight. */
  flags: opt(u32ne(C.IFA_FLAGS)),
  /** The metric of the route to the address's network. */
  metric: opt(u32ne(C.IFA_RT_PRIORITY)),
  /** Who added the address (Linux 5.18): the kernel, for one of three reasons, or a program with its own number. */
  origin: opt(attribute(C.IFA_PROTO, named(U8, ORIGINS))),
}));

export type AddressAttributes = Infer<typeof IFA>;
export type AddressHeader = Infer<typeof ifaddrmsg>;
export const ADDRESS = kind(ifaddrmsg, IFA);

/** An IP address of a device. */
export interface LinkAddress
  extends Pick<AddressAttributes, 'label' | 'broadcast' | 'anycast' | 'multicast' | 'metric' | 'origin' | 'unknown'> {
  /** The device's name. */
  device: string;
  /** 'ipv4' or 'ipv6'. */
  family: IpFamily;
  /** The address with its prefix length: '10.10.0.100/32'. */
  address: string;
  /** The other end of a point-to-point link. If it is present, the prefix length belongs to it. */
  peer?: string;
  /** How far the address is valid: 'global', 'link', 'host' and others. */
  scope: Scope | number;
  /** IPv6: the kernel skipped duplicate address detection for it. */
  noDad?: true;
  /** The kernel creates no route to its network. */
  noPrefixRoute?: true;
  /** IPv6: the address is used before duplicate address detection has ended (RFC 4429). */
  optimistic?: true;
  /** IPv6: the home address of a mobile node (RFC 6275). */
  homeAddress?: true;
  /** IPv6: the kernel derives temporary addresses from it (RFC 8981). Its prefix is /64. */
  manageTemporary?: true;
  /** Multicast addresses: the device joins the group. */
  autoJoin?: true;
  /** Read-only; the fields above set some flags. Bits without a name follow as one number. */
  flags: (AddressFlag | number)[];
  /** Seconds for which the address stays valid. Absent if that is forever. */
  validSeconds?: number;
  /** Seconds for which new connections use the address. Absent if that is forever. */
  preferredSeconds?: number;
  /** When the address was added, in hundredths of a second since the system started. */
  createdCentiseconds?: number;
  /** When the address was last changed, in hundredths of a second since the system started. */
  updatedCentiseconds?: number;
}

export function readAddress(header: AddressHeader, value: AddressAttributes, device: string): LinkAddress | undefined {
  const family = familyName(header.ifa_family);
  const { address, local = address, cacheInfo, flags, ...rest } = value;
  if (family === undefined || local === undefined) return undefined;
  const result: LinkAddress = {
    device,
    family,
    address: `${local}/${header.ifa_prefixlen}`,
    ...(address !== undefined && address !== local && { peer: address }),
    scope: header.ifa_scope,
    flags: namedBits(flags ?? header.ifa_flags, FLAGS_OF[family] as Readonly<Record<AddressFlag, number>>),
    ...rest,
  };
  const bits = flags ?? header.ifa_flags;
  if (family === 'ipv6' && (bits & C.IFA_F_NODAD) !== 0) result.noDad = true;
  for (const [field, bit] of SETTABLE_FLAGS)
    if ((bits & bit) !== 0 && (family === 'ipv6' || !ONLY_IPV6.has(field))) result[field] = true;
  if (cacheInfo !== undefined) {
    if (cacheInfo.ifa_valid !== FOREVER) result.validSeconds = cacheInfo.ifa_valid;
    if (cacheInfo.ifa_prefered !== FOREVER) result.preferredSeconds = cacheInfo.ifa_prefered;
    result.createdCentiseconds = cacheInfo.cstamp;
    result.updatedCentiseconds = cacheInfo.tstamp;
  }
  return result;
}

/** The options of an address. An address that was read is accepted: fields that only the kernel sets are ignored. */
export interface AddressOptions
  extends Partial<Pick<LinkAddress, 'device' | 'family' | 'address' | 'flags' | 'anycast' | 'multicast' | 'unknown'>>,
    Partial<Pick<LinkAddress, 'createdCentiseconds' | 'updatedCentiseconds'>> {
  /** The other end of a point-to-point link. If it is given, the prefix length belongs to it. */
  peer?: string;
  /** IPv4: the broadcast address. Default: none. */
  broadcast?: string;
  /** The area in which it is valid. Default: 'host' for 127.0.0.0/8, else 'global'. For IPv6, the kernel chooses the scope. */
  scope?: Scope | number;
  /** Seconds until the kernel removes the address, 1 to 2^32-2. Default: it stays. */
  validSeconds?: number;
  /** Seconds for which new connections use the address, at most `validSeconds`. */
  preferredSeconds?: number;
  /** The metric of the route to its network. */
  metric?: number;
  /** Do not create a route to its network. */
  noPrefixRoute?: boolean;
  /** IPv6 only: use the address before duplicate address detection has ended. */
  optimistic?: boolean;
  /** IPv6 only: the home address of a mobile node. */
  homeAddress?: boolean;
  /** IPv6 only: derive temporary addresses from it. Its prefix must be /64. */
  manageTemporary?: boolean;
  /** Multicast addresses: join the group. */
  autoJoin?: boolean;
  /** Who adds the address (Linux 5.18). */
  origin?: LinkAddress['origin'];
  /** IPv4 only: the label, 1 to 15 bytes. Default: the device's name. `ip` requires 'eth0' or 'eth0:...', but the kernel does not. */
  label?: string;
  /**
   * IPv6 only: use the address at once. Otherwise the kernel first takes a second or two to ask whether another host has it (duplicate
   * address detection). In that time, the address is 'tentative'.
   */
  noDad?: boolean;
}

/** The type of this object makes the compiler report a field that is missing here. */
const OPTIONS = Object.keys({
  label: true,
  noDad: true,
  noPrefixRoute: true,
  optimistic: true,
  homeAddress: true,
  manageTemporary: true,
  autoJoin: true,
  peer: true,
  broadcast: true,
  scope: true,
  validSeconds: true,
  preferredSeconds: true,
  metric: true,
  origin: true,
  device: true,
  family: true,
  address: true,
  flags: true,
  anycast: true,
  multicast: true,
  createdCentiseconds: true,
  updatedCentiseconds: true,
  unknown: true,
} satisfies Record<keyof AddressOptions, true>);

function checkScope(scope: unknown): Scope | number {
  if (typeof scope === 'string' && Object.hasOwn(SCOPES, scope)) return scope as Scope;
  const expected = `a number up to 255, or ${oneOf(Object.keys(SCOPES), scope)}`;
  if (typeof scope === 'number' && Number.isInteger(scope) && scope >= 0 && scope <= 0xff) return scope;
  throw rangeError(['scope'], expected, scope);
}

/** Writes the message for an address, without the device's index. */
export function writeAddress(
  name: string,
  address: string,
  options: AddressOptions,
): { header: AddressHeader; attributes: AddressAttributes } {
  checkDevice(name, ['name']);
  const prefix = checkPrefix(address, ['address']);
  checkObject(options, [], OPTIONS);
  const attributes: AddressAttributes = { local: prefix.address, address: prefix.address };
  for (const field of ['peer', 'broadcast'] as const) {
    const value = options[field];
    if (value === undefined) continue;
    if (checkHost(value, [field]) !== prefix.family)
      throw rangeError([field], `an address of ${prefix.family}`, value, 'ERR_FAMILY_MISMATCH');
    attributes[field === 'peer' ? 'address' : 'broadcast'] = value;
  }
  if (options.broadcast !== undefined && prefix.family !== 'ipv4')
    throw typeError(['broadcast'], 'nothing: only IPv4 has broadcast addresses', options.broadcast);
  const { validSeconds, preferredSeconds = validSeconds, metric, origin } = options;
  if (validSeconds !== undefined || preferredSeconds !== undefined) {
    const valid = validSeconds === undefined ? FOREVER : checkInteger(validSeconds, ['validSeconds'], 1, FOREVER - 1);
    const preferred = checkInteger(preferredSeconds, ['preferredSeconds'], 0, valid);
    attributes.cacheInfo = { ifa_prefered: preferred, ifa_valid: valid, cstamp: 0, tstamp: 0 };
  }
  if (metric !== undefined) attributes.metric = checkInteger(metric, ['metric'], 0, 0xffffffff);
  if (origin !== undefined) attributes.origin = origin;
  if (options.label !== undefined) {
    if (prefix.family !== 'ipv4') throw typeError(['label'], 'nothing: only IPv4 has labels', options.label);
    attributes.label = checkString(options.label, ['label'], 15);
  }
  const noDad = options.noDad !== undefined && checkBoolean(options.noDad, ['noDad']);
  if (noDad && prefix.family !== 'ipv6') throw typeError(['noDad'], 'nothing: IPv4 has no such detection', noDad);
  let bits = noDad ? C.IFA_F_NODAD : 0;
  for (const [field, bit] of SETTABLE_FLAGS) {
    if (options[field] === undefined || !checkBoolean(options[field], [field])) continue;
    if (prefix.family === 'ipv4' && ONLY_IPV6.has(field))
      throw typeError([field], 'nothing: only IPv6 has such addresses', true);
    bits |= bit;
  }
  // The header has room for only the lower eight bits.
  if (bits > 0xff) attributes.flags = bits;
  const loopback = prefix.family === 'ipv4' && prefix.address.startsWith('127.');
  return {
    header: {
      ifa_family: FAMILIES[prefix.family],
      ifa_prefixlen: prefix.length,
      ifa_flags: bits & 0xff,
      // The kernel chooses the scope of IPv6 addresses itself. For IPv4, it takes any given scope.
      ifa_scope: options.scope === undefined ? (loopback ? 'host' : 'global') : checkScope(options.scope),
      ifa_index: 0,
    },
    attributes,
  };
}

export function refusalsOfAddress(name: string, adding: boolean): Refusals {
  const noIPv6 = 'this kernel has no IPv6';
  return {
    hints: {
      EEXIST: `${quote(name)} has this address`,
      EADDRNOTAVAIL: adding
        ? 'no device can have this address: it is that of a group'
        : `${quote(name)} has no such address with this prefix length`,
      ENODEV: missing(name),
      EACCES: `IPv6 is switched off on ${quote(name)} (sysctl net.ipv6.conf.DEVICE.disable_ipv6)`,
      EAFNOSUPPORT: noIPv6,
      EOPNOTSUPP: noIPv6,
    },
    blame: { EEXIST: ['address'], EADDRNOTAVAIL: ['address'], EINVAL: ['address'], EACCES: ['name'], ENODEV: ['name'] },
  };
}

/** Maps a field of a message to the field of the caller's object, for errors. */
export function fieldOfAddress([field]: Path): Path {
  return field === undefined ? [] : [field === 'local' ? 'address' : field];
}

/** Fields that the kernel cannot change in an address that exists. */
const LASTING = ['label', 'broadcast', 'scope', 'peer'] as const;

/** Refuses a change that the kernel would acknowledge and ignore. */
function refuseIgnored(present: readonly LinkAddress[], address: string, options: AddressOptions): void {
  const { family, address: host, length } = checkPrefix(address, ['address']);
  for (const own of present) {
    const [text, bits] = own.address.split('/');
    if (own.family !== family || text !== host || (family === 'ipv4' && Number(bits) !== length)) continue;
    const first = 'as it is: it cannot be changed. Remove the address first';
    if (Number(bits) !== length) throw rangeError(['address'], `${own.address}, ${first}`, address, 'ERR_CONFLICT');
    // The kernel computes the scope of an IPv6 address, and changes its peer.
    for (const field of family === 'ipv4' ? LASTING : [])
      if (options[field] !== undefined && options[field] !== own[field])
        throw rangeError([field], `${own[field] ?? 'none'}, ${first}`, options[field], 'ERR_CONFLICT');
  }
}

/** Adds, changes or removes an address. */
export function* changeAddress(
  exchange: Exchange,
  devices: Devices,
  change: 'add' | 'set' | 'remove',
  name: string,
  address: string,
  options: AddressOptions,
): Operation<void> {
  const adding = change !== 'remove';
  const { header, attributes } = writeAddress(name, address, options);
  const subject = { name, address, ...options };
  header.ifa_index = yield* devices.indexOf(name, 'name', subject);
  if (change === 'set') refuseIgnored(yield* listAddresses(exchange, devices, { device: name }), address, options);
  const call = request(ADDRESS, {
    syscall: adding ? 'RTM_NEWADDR' : 'RTM_DELADDR',
    type: adding ? RTM_NEWADDR : RTM_DELADDR,
    flags: change === 'set' ? NLM_F_CREATE | NLM_F_REPLACE : adding ? CREATE : 0,
    header,
    value: attributes,
    subject,
    rename: fieldOfAddress,
    refusals: refusalsOfAddress(name, adding),
  });
  yield* exchange.request(call);
}

/** Lists the addresses of all devices, or of one. */
export function* listAddresses(exchange: Exchange, devices: Devices, filter: DeviceFilter): Operation<LinkAddress[]> {
  const index = yield* devices.indexIn(filter);
  const header = { ifa_family: 0, ifa_prefixlen: 0, ifa_flags: 0, ifa_scope: 0, ifa_index: index };
  const found = yield* dump(exchange, ADDRESS, { syscall: 'RTM_GETADDR', type: RTM_GETADDR, header });
  // Kernels before 4.20 do not filter by device.
  const wanted = index === 0 ? found : found.filter(([{ ifa_index }]) => ifa_index === index);
  const nameOf = yield* devices.names(wanted.map(([{ ifa_index }]) => ifa_index));
  return present(wanted, ([head, attributes]) => {
    const device = nameOf(head.ifa_index);
    return device === undefined ? undefined : readAddress(head, attributes, device);
  });
}
