import { checkObject, checkOneOf } from '../codec/index.ts';
import { NetlinkError, typeError } from '../errors.ts';
import { NETLINK_GET_STRICT_CHK, NETLINK_ROUTE, NLM_F_CREATE, NLM_F_EXCL } from '../linux/netlink.ts';
import * as C from '../linux/rtnetlink.ts';
import { SOL_NETLINK } from '../linux/socket.ts';
import { type Call, Exchange, NetlinkSocket, type Operation, syncAndAsync } from '../netlink/index.ts';
import { type NetNs, netnsOf } from '../netns/netns.ts';
import { type Logger, Observer } from '../observe.ts';
import {
  ADDRESS,
  type AddressOptions,
  fieldOfAddress,
  type LinkAddress,
  readAddress,
  refusalsOfAddress,
  writeAddress,
} from './address.ts';
import { checkName, missing } from './device.ts';
import type { NewBridge } from './links/bridge.ts';
import type { NewLinkOfKind } from './links/kinds.ts';
import { LINKS, type Link, type LinkAttributes, type LinkHeader, type LinkKinds, readLink } from './links/link.ts';
import type { NewMacvlan } from './links/macvlan.ts';
import { readName } from './links/message.ts';
import { type LinkChanges, type NewLink, refusalsOfChanges, writeChanges } from './links/settings.ts';
import type { NewVeth } from './links/veth.ts';
import {
  NEIGHBOUR,
  type Neighbour,
  type NeighbourHeader,
  type NeighbourKey,
  type NewNeighbour,
  readNeighbour,
  refusalsOfNeighbour,
  writeNeighbour,
  writeNeighbourKey,
} from './neighbour.ts';
import { FAMILIES, type IpFamily } from './prefix.ts';
import { type Kind, read, request } from './request.ts';
import { ROUTE } from './routes/attributes.ts';
import {
  fieldOfRoute,
  type NewRoute,
  type RouteKey,
  refusalsOfRoute,
  tableNumber,
  writeRoute,
  writeRouteKey,
} from './routes/new-route.ts';
import { devicesOf, type Route, type RouteFilter, readRoute } from './routes/route.ts';

export interface LinksOptions {
  /** The namespace to program; home where left out. */
  netns?: NetNs;
  logger?: Logger;
}

export interface ListOptions {
  signal?: AbortSignal;
}

export interface DeviceFilter extends ListOptions {
  /** Only those of this device. */
  device?: string;
}

type Names = (index: number) => string | undefined;

const LINK_HEADER: LinkHeader = { ifi_family: 0, ifi_type: 0, ifi_index: 0, ifi_flags: 0, ifi_change: 0 };
const ADDRESS_HEADER = { ifa_family: 0, ifa_prefixlen: 0, ifa_flags: 0, ifa_scope: 0, ifa_index: 0 };
const NEIGHBOUR_HEADER: NeighbourHeader = { ndm_family: 0, ndm_ifindex: 0, ndm_state: 0, ndm_flags: 0, ndm_type: 0 };

/** For messages without data of a kind. */
const LINK = LINKS.messages;

const CREATE = NLM_F_CREATE | NLM_F_EXCL;
const FAMILY_NAMES = Object.keys(FAMILIES) as IpFamily[];

/** The operations on links, addresses, routes and neighbours, each written once. */
export class LinksOperations {
  readonly #exchange: Exchange;
  readonly #kinds: LinkKinds;

  constructor(exchange: Exchange, kinds: LinkKinds = LINKS) {
    this.#exchange = exchange;
    this.#kinds = kinds;
  }

  /** All devices of the namespace, lo first. Names are as the kernel has them, control characters and all. */
  *list(options: ListOptions = {}): Operation<Link[]> {
    checkObject(options, [], ['signal']);
    const found = yield* this.#dump(this.#kinds.messages, 'RTM_GETLINK', C.RTM_GETLINK, LINK_HEADER, {});
    const names = new Map(found.map(([header, { name }]) => [header.ifi_index, name]));
    return found.map(([header, attributes]) => readLink(header, attributes, index => names.get(index)));
  }

  /** One device. @throws NetlinkError ENODEV there is none of that name. */
  *get(name: string): Operation<Link> {
    checkName(name, ['name']);
    const call = getLink(LINK_HEADER, { name }, name, ['name'], { name });
    const [header, attributes] = yield* this.#exchange.get(call, message => read(this.#kinds.messages, message));
    const others = new Map<number, string>();
    for (const index of [attributes.master, attributes.linkNetnsId === undefined ? attributes.link : undefined]) {
      const other = index === undefined ? undefined : yield* this.#nameOf(index);
      if (index !== undefined && other !== undefined) others.set(index, other);
    }
    return readLink(header, attributes, index => others.get(index));
  }

  /**
   * Makes a pair of devices; what goes into one comes out of the other. Each may be made in another namespace at once.
   * @throws NetlinkError EEXIST one of the names is taken, EPERM CAP_NET_ADMIN is missing in one of the namespaces.
   */
  *createVeth(options: NewVeth): Operation<void> {
    yield* this.#create('veth', options);
  }

  /**
   * Creates a device of any kind that this library knows.
   * @throws RangeError the kind is not one of them, NetlinkError EEXIST the name is taken, EOPNOTSUPP the kernel has no such kind.
   */
  *create(options: NewLinkOfKind): Operation<void> {
    if (typeof options !== 'object' || options === null) throw typeError([], 'an object', options);
    const { kind, ...fields } = options;
    yield* this.#create(kind, fields, options);
  }

  /** Makes a bridge: a switch whose ports are the devices that have it for their master. @throws NetlinkError EEXIST the name is taken. */
  *createBridge(options: NewBridge): Operation<void> {
    yield* this.#create('bridge', options);
  }

  /** Makes a device that swallows what is sent to it, to hold addresses. @throws NetlinkError EEXIST the name is taken. */
  *createDummy(options: NewLink): Operation<void> {
    yield* this.#create('dummy', options);
  }

  /**
   * Makes a device with a hardware address of its own on the wire of another.
   * @throws NetlinkError EEXIST the name is taken, ENODEV no such lower device, EBUSY the lower device is a port of a bridge.
   */
  *createMacvlan(options: NewMacvlan): Operation<void> {
    yield* this.#create('macvlan', options);
  }

  *#create(kind: string, options: NewLink, subject = options): Operation<void> {
    const { wire, link } = this.#kinds.write(kind, options);
    const { master } = options;
    if (link !== undefined) wire.attributes.link = yield* this.#indexOf(link, 'link', subject);
    if (master !== undefined) wire.attributes.master = yield* this.#indexOf(master, 'master', subject);
    const call = request(this.#kinds.messages, {
      syscall: 'RTM_NEWLINK',
      type: C.RTM_NEWLINK,
      flags: CREATE,
      header: { ...LINK_HEADER, ifi_flags: wire.flags, ifi_change: wire.change },
      value: wire.attributes,
      subject,
      rename: path => this.#kinds.fieldOf(path),
      refusals: this.#kinds.refusals(kind, options),
    });
    yield* this.#exchange.request(call);
  }

  /**
   * Changes a device. All changes are one message, which the kernel carries out in this order: netns, address, mtu, newName, master, up
   * (do_setlink in net/core/rtnetlink.c); where it refuses one, those before it stay. Only `up: false` beside others is a message of its
   * own before them, because some devices refuse a change while they are up.
   * @throws NetlinkError ENODEV no such device or master, EEXIST the new name is taken (there), EBUSY it is up and cannot be renamed before
   * Linux 6.2, EADDRNOTAVAIL not an address for a device, ELOOP a bridge as a port of a bridge, EINVAL mtu is outside the driver's limits,
   * lo cannot move.
   */
  *set(name: string, changes: LinkChanges): Operation<void> {
    checkName(name, ['name']);
    const wire = writeChanges(changes);
    const subject = { name, ...changes };
    const { attributes } = wire;
    if (changes.master === null) attributes.master = 0;
    else if (changes.master !== undefined) attributes.master = yield* this.#indexOf(changes.master, 'master', subject);
    const header = { ...LINK_HEADER, ifi_flags: wire.flags, ifi_change: wire.change };
    const rename = (path: readonly (string | number)[]) =>
      path[0] === 'name' ? ['newName'] : this.#kinds.fieldOf(path);
    const refusals = refusalsOfChanges(name, changes);
    const call = (head: LinkHeader, value: Partial<LinkAttributes>) =>
      request(LINK, {
        syscall: 'RTM_SETLINK',
        type: C.RTM_SETLINK,
        header: head,
        value,
        subject,
        rename,
        refusals,
      });
    const index = yield* this.#indexOf(name, 'name', subject);
    if (changes.up === false && Object.keys(attributes).length > 0) {
      yield* this.#exchange.request(call({ ...header, ifi_index: index }, {}));
      header.ifi_change = 0;
    }
    yield* this.#exchange.request(call({ ...header, ifi_index: index }, attributes));
  }

  /** Removes a device; with one end of a veth goes the other. @throws NetlinkError ENODEV there is none, EOPNOTSUPP lo and hardware stay. */
  *remove(name: string): Operation<void> {
    checkName(name, ['name']);
    const call = request(LINK, {
      syscall: 'RTM_DELLINK',
      type: C.RTM_DELLINK,
      header: LINK_HEADER,
      value: { name },
      subject: { name },
      refusals: {
        hints: { ENODEV: missing(name), EOPNOTSUPP: 'lo, and devices that are hardware, cannot be removed' },
        blame: { ENODEV: ['name'], EOPNOTSUPP: ['name'] },
      },
    });
    yield* this.#exchange.request(call);
  }

  /**
   * Adds an address to a device, without a broadcast address, as `ip addr add` does. `address` has its prefix length ('10.10.0.100/32');
   * without one it is a single host. One shorter than a host brings a route to its network while the device is up.
   * @throws NetlinkError EEXIST the device has it, ENODEV no such device, EACCES IPv6 is switched off there.
   */
  *addAddress(name: string, address: string, options: AddressOptions = {}): Operation<void> {
    yield* this.#changeAddress('RTM_NEWADDR', C.RTM_NEWADDR, CREATE, name, address, options);
  }

  /**
   * Removes an address; its prefix length must be right, and that of a point-to-point link needs its `peer`. With the first IPv4 address of a network go the other ones of that network, unless
   * the sysctl net.ipv4.conf.DEVICE.promote_secondaries is 1.
   * @throws NetlinkError EADDRNOTAVAIL the device has no such address, ENODEV no such device.
   */
  *removeAddress(name: string, address: string, options: AddressOptions = {}): Operation<void> {
    const { peer } = options;
    yield* this.#changeAddress('RTM_DELADDR', C.RTM_DELADDR, 0, name, address, peer === undefined ? {} : { peer });
  }

  *#changeAddress(
    syscall: string,
    type: number,
    flags: number,
    name: string,
    address: string,
    options: AddressOptions,
  ): Operation<void> {
    const { header, attributes } = writeAddress(name, address, options);
    const subject = { name, address, ...options };
    header.ifa_index = yield* this.#indexOf(name, 'name', subject);
    const call = request(ADDRESS, {
      syscall,
      type,
      flags,
      header,
      value: attributes,
      subject,
      rename: fieldOfAddress,
      refusals: refusalsOfAddress(name, type === C.RTM_NEWADDR),
    });
    yield* this.#exchange.request(call);
  }

  /** The addresses of all devices, or of one. @throws NetlinkError ENODEV no such device. */
  *addresses(options: DeviceFilter = {}): Operation<LinkAddress[]> {
    const index = yield* this.#filter(options);
    const header = { ...ADDRESS_HEADER, ifa_index: index };
    const found = yield* this.#dump(ADDRESS, 'RTM_GETADDR', C.RTM_GETADDR, header, {});
    // Kernels before 4.20 do not filter.
    const wanted = index === 0 ? found : found.filter(([{ ifa_index }]) => ifa_index === index);
    const nameOf = yield* this.#names(wanted.map(([{ ifa_index }]) => ifa_index));
    return present(wanted, ([head, attributes]) => {
      const device = nameOf(head.ifa_index);
      return device === undefined ? undefined : readAddress(head, attributes, device);
    });
  }

  /**
   * Adds a route: over one router or device, or over several by turns. One that was read is added as it is.
   * @example
   * await links.addRoute({ to: '10.1.0.0/16', nextHops: [{ via: '10.0.0.2', weight: 2 }, { via: '10.0.0.3' }] });
   * @throws NetlinkError EEXIST there is one to this destination with this metric, ENETUNREACH (IPv4) or EHOSTUNREACH (IPv6) `via` cannot be
   * reached, EINVAL `source` is not an address of this namespace, ENETDOWN the device is down, ENODEV there is no such device.
   */
  *addRoute(route: NewRoute): Operation<void> {
    const { header, attributes } = writeRoute(route);
    yield* this.#changeRoute('RTM_NEWROUTE', C.RTM_NEWROUTE, CREATE, route, header, attributes);
  }

  /** Removes a route: the first that matches what is given. @throws NetlinkError ESRCH there is none, ENODEV there is no such device. */
  *removeRoute(route: RouteKey): Operation<void> {
    const { header, attributes } = writeRouteKey(route);
    yield* this.#changeRoute('RTM_DELROUTE', C.RTM_DELROUTE, 0, route, header, attributes);
  }

  *#changeRoute(
    syscall: string,
    type: number,
    flags: number,
    route: RouteKey,
    header: ReturnType<typeof writeRoute>['header'],
    attributes: ReturnType<typeof writeRoute>['attributes'],
  ): Operation<void> {
    if (route.device !== undefined) attributes.device = yield* this.#indexOf(route.device, 'device', route);
    for (const [i, hop] of (attributes.nextHops ?? []).entries()) {
      const { device } = route.nextHops![i]!;
      if (device !== undefined) hop.index = yield* this.#indexOf(device, 'nextHops', route);
    }
    const call = request(ROUTE, {
      syscall,
      type,
      flags,
      header,
      value: attributes,
      subject: route,
      rename: fieldOfRoute,
      refusals: refusalsOfRoute(route),
    });
    yield* this.#exchange.request(call);
  }

  /** The IPv4 and IPv6 routes of all tables, or of one: 'main' has what `ip route` shows, 'local' the namespace's own addresses. */
  *routes(filter: RouteFilter = {}): Operation<Route[]> {
    checkObject(filter, [], ['table', 'family', 'signal']);
    const table = filter.table === undefined ? undefined : tableNumber(filter.table);
    const family = filter.family === undefined ? undefined : checkOneOf(filter.family, ['family'], FAMILY_NAMES);
    const header = { rtm_dst_len: 0, rtm_src_len: 0, rtm_tos: 0, rtm_table: 0, rtm_protocol: 0, rtm_scope: 0 };
    const whole = { ...header, rtm_type: 0, rtm_flags: 0, rtm_family: family === undefined ? 0 : FAMILIES[family] };
    const found = yield* this.#dump(ROUTE, 'RTM_GETROUTE', C.RTM_GETROUTE, whole, {});
    const wanted = found.filter(([head, attributes]) => {
      return table === undefined || (attributes.table ?? head.rtm_table) === table;
    });
    const nameOf = yield* this.#names(wanted.flatMap(([, attributes]) => devicesOf(attributes)));
    return present(wanted, ([head, attributes]) => {
      // Its device went while we were reading, and so did the route.
      if (devicesOf(attributes).some(index => nameOf(index) === undefined)) return undefined;
      return readRoute(head, attributes, nameOf);
    });
  }

  /** Adds a neighbour. @throws NetlinkError EEXIST it is known, ENODEV no such device, ENETDOWN it is down. */
  *addNeighbour(neighbour: NewNeighbour): Operation<void> {
    const { header, attributes } = writeNeighbour(neighbour);
    yield* this.#changeNeighbour('RTM_NEWNEIGH', C.RTM_NEWNEIGH, CREATE, neighbour, header, attributes);
  }

  /** Forgets a neighbour. @throws NetlinkError ENOENT it is not known, ENODEV no such device. */
  *removeNeighbour(key: NeighbourKey): Operation<void> {
    const { header, attributes } = writeNeighbourKey(key);
    yield* this.#changeNeighbour('RTM_DELNEIGH', C.RTM_DELNEIGH, 0, key, header, attributes);
  }

  *#changeNeighbour(
    syscall: string,
    type: number,
    flags: number,
    key: NeighbourKey,
    header: NeighbourHeader,
    attributes: ReturnType<typeof writeNeighbour>['attributes'],
  ): Operation<void> {
    header.ndm_ifindex = yield* this.#indexOf(key.device, 'device', key);
    const call = request(NEIGHBOUR, {
      syscall,
      type,
      flags,
      header,
      value: attributes,
      subject: key,
      refusals: refusalsOfNeighbour(key.device),
    });
    yield* this.#exchange.request(call);
  }

  /** The neighbours of all devices, or of one, in every state: `ip neigh show nud all`. @throws NetlinkError ENODEV no such device. */
  *neighbours(options: DeviceFilter = {}): Operation<Neighbour[]> {
    const index = yield* this.#filter(options);
    const found = yield* this.#dump(NEIGHBOUR, 'RTM_GETNEIGH', C.RTM_GETNEIGH, NEIGHBOUR_HEADER, {});
    const wanted = index === 0 ? found : found.filter(([{ ndm_ifindex }]) => ndm_ifindex === index);
    const nameOf = yield* this.#names(wanted.map(([{ ndm_ifindex }]) => ndm_ifindex));
    return present(wanted, ([head, attributes]) => {
      const device = nameOf(head.ndm_ifindex);
      return device === undefined ? undefined : readNeighbour(head, attributes, device);
    });
  }

  *#dump<H, A>(kind: Kind<H, A>, syscall: string, type: number, header: H, value: Partial<A>): Operation<[H, A][]> {
    return yield* this.#exchange.dump(request(kind, { syscall, type, header, value }), message => read(kind, message));
  }

  /** The index that the options of a dump ask for; 0 is all. */
  *#filter(options: DeviceFilter): Operation<number> {
    checkObject(options, [], ['device', 'signal']);
    if (options.device === undefined) return 0;
    return yield* this.#indexOf(checkName(options.device, ['device']), 'device', options);
  }

  /** The index of a device that the field `field` of `subject` names. */
  *#indexOf(name: string, field: string, subject: unknown): Operation<number> {
    const call = getLink(LINK_HEADER, { name }, name, [field], subject);
    const [index] = yield* this.#exchange.get(call, ({ source, payload, end }) => readName(source, payload, end));
    return index;
  }

  /** The name of one device, or undefined if it has gone. */
  *#nameOf(index: number): Operation<string | undefined> {
    const call = getLink({ ...LINK_HEADER, ifi_index: index }, {}, `${index}`, [], index);
    try {
      const [, name] = yield* this.#exchange.get(call, ({ source, payload, end }) => readName(source, payload, end));
      return name;
    } catch (error) {
      if (error instanceof NetlinkError && error.code === 'ENODEV') return undefined;
      throw error;
    }
  }

  /** The names of these devices: asked for one by one where they are few, else all at once. Those that have gone have none. */
  *#names(indexes: readonly number[]): Operation<Names> {
    const wanted = new Set(indexes);
    if (wanted.size > FEW_DEVICES) {
      const call = request(LINK, {
        syscall: 'RTM_GETLINK',
        type: C.RTM_GETLINK,
        header: LINK_HEADER,
      });
      const all = yield* this.#exchange.dump(call, ({ source, payload, end }) => readName(source, payload, end));
      const names = new Map(all);
      return index => names.get(index);
    }
    const names = new Map<number, string | undefined>();
    for (const index of wanted) names.set(index, yield* this.#nameOf(index));
    return index => names.get(index);
  }
}

/** A container has two or three devices: asking for each is quicker than a dump. */
const FEW_DEVICES = 4;

function getLink(
  header: LinkHeader,
  value: Partial<LinkAttributes>,
  name: string,
  path: readonly string[],
  subject: unknown,
): Call {
  return request(LINK, {
    syscall: 'RTM_GETLINK',
    type: C.RTM_GETLINK,
    header,
    value: value,
    subject,
    rename: () => path,
    refusals: { hints: { ENODEV: missing(name) }, blame: { ENODEV: path } },
  });
}

function present<T, R>(items: readonly T[], map: (item: T) => R | undefined): R[] {
  return items.map(map).filter(item => item !== undefined) as R[];
}

/**
 * Links, addresses, routes and neighbours of one network namespace (NETLINK_ROUTE). Reading needs no privilege, changing needs
 * CAP_NET_ADMIN in the user namespace that owns the network namespace.
 */
export class Links extends syncAndAsync(LinksOperations) {
  /** Opens a socket in the namespace and asks nothing yet. Needs the right to enter the namespace. */
  static open(options: LinksOptions = {}): Links {
    checkObject(options, [], ['netns', 'logger']);
    const socket = new NetlinkSocket({ netns: netnsOf(options), protocol: NETLINK_ROUTE });
    try {
      // Linux 4.20: what a dump asks for is checked, and filters act in the kernel.
      socket.setOption(SOL_NETLINK, NETLINK_GET_STRICT_CHK, 1);
    } catch (error) {
      if (!(error instanceof NetlinkError)) throw error;
    }
    return new Links(new Exchange(socket, 'rtnetlink', new Observer(options.logger)));
  }
}
