import { checkObject } from '../codec/index.ts';
import { NetlinkError, typeError } from '../errors.ts';
import { NETLINK_GET_STRICT_CHK, NETLINK_ROUTE } from '../linux/netlink.ts';
import { RTM_DELLINK, RTM_GETLINK, RTM_NEWLINK, RTM_SETLINK } from '../linux/rtnetlink.ts';
import { SOL_NETLINK } from '../linux/socket.ts';
import { Exchange, NetlinkSocket, type Operation, syncAndAsync } from '../netlink/index.ts';
import { type NetNs, netnsOf } from '../netns/netns.ts';
import { type Logger, Observer } from '../observe.ts';
import { type AddressOptions, changeAddress, type LinkAddress, listAddresses } from './address.ts';
import { checkName, missing } from './device.ts';
import { type DeviceFilter, Devices, getLink, type ListOptions } from './devices.ts';
import type { NewBridge } from './links/bridge.ts';
import type { NewLinkOfKind } from './links/kinds.ts';
import {
  LINK_HEADER,
  LINKS,
  type Link,
  type LinkAttributes,
  type LinkHeader,
  type LinkKinds,
  readLink,
} from './links/link.ts';
import type { NewMacvlan } from './links/macvlan.ts';
import { type LinkChanges, type NewLink, refusalsOfChanges, writeChanges } from './links/settings.ts';
import type { NewVeth } from './links/veth.ts';
import {
  changeNeighbour,
  listNeighbours,
  type Neighbour,
  type NeighbourKey,
  type NewNeighbour,
  writeNeighbour,
  writeNeighbourKey,
} from './neighbour.ts';
import { CREATE, dump, read, request } from './request.ts';
import { changeRoute, type NewRoute, type RouteKey, writeRoute, writeRouteKey } from './routes/new-route.ts';
import { listRoutes, type Route, type RouteFilter } from './routes/route.ts';

/** Where `Links.open` works, and what it tells. */
export interface LinksOptions {
  /** The namespace to work in; the one of this process where left out. */
  netns?: NetNs;
  /** Told of each request, as with every handle. */
  logger?: Logger;
}

/** The operations on links, addresses, routes and neighbours, each written once for both forms. */
export class LinksOperations {
  readonly #exchange: Exchange;
  readonly #devices: Devices;
  readonly #kinds: LinkKinds;

  constructor(exchange: Exchange, kinds: LinkKinds = LINKS) {
    this.#exchange = exchange;
    this.#devices = new Devices(exchange);
    this.#kinds = kinds;
  }

  /**
   * All devices of the namespace, lo first.
   *
   * Names are as the kernel has them: they may contain control characters, because a container's root chooses them.
   *
   * @param options `signal`
   * @throws NetlinkError as the kernel refuses
   * @example
   * for (const link of await links.list()) console.log(link.index, link.name, link.kind, link.up);
   */
  *list(options: ListOptions = {}): Operation<Link[]> {
    checkObject(options, [], ['signal']);
    const { messages } = this.#kinds;
    const call = { syscall: 'RTM_GETLINK', type: RTM_GETLINK, header: LINK_HEADER };
    const found = yield* dump(this.#exchange, messages, call);
    const names = new Map(found.map(([header, { name }]) => [header.ifi_index, name]));
    return found.map(([header, attributes]) => readLink(header, attributes, index => names.get(index)));
  }

  /**
   * One device.
   *
   * @param name its name, 1 to 15 bytes
   * @throws NetlinkError ENODEV there is no device of that name
   * @example
   * const { mtu, statistics } = await links.get('eth0');
   * console.log(mtu, statistics?.rx_packets);
   */
  *get(name: string): Operation<Link> {
    checkName(name, ['name']);
    const call = getLink(LINK_HEADER, { name }, name, ['name'], { name });
    const [header, attributes] = yield* this.#exchange.get(call, message => read(this.#kinds.messages, message));
    const others = new Map<number, string>();
    for (const index of [attributes.master, attributes.linkNetnsId === undefined ? attributes.link : undefined]) {
      const other = index === undefined ? undefined : yield* this.#devices.nameOf(index);
      if (index !== undefined && other !== undefined) others.set(index, other);
    }
    return readLink(header, attributes, index => others.get(index));
  }

  /**
   * Creates a device of any kind that this library knows.
   *
   * @param options the `kind`, the fields of every device (`name`, `netns`, `mtu`, `address`, `up`, `master`), and those of the kind
   * @throws TypeError, RangeError with the path: a field is wrong, or there is no such kind
   * @throws NetlinkError EEXIST the name is taken, ENODEV there is no such device below, EOPNOTSUPP the kernel has no such kind
   * @example
   * await links.create({ kind: 'macvlan', name: 'mv0', link: 'eth0', mode: 'private', up: true });
   */
  *create(options: NewLinkOfKind): Operation<void> {
    if (typeof options !== 'object' || options === null) throw typeError([], 'an object', options);
    const { kind, ...fields } = options;
    yield* this.#create(kind, fields, options);
  }

  /**
   * Creates a pair of devices: what is sent into one comes out of the other.
   *
   * Each end may be created in another namespace at once. The peer begins switched off.
   *
   * @param options `name` and `peer: { name }`; both ends may have `netns`, `mtu` in bytes (from 68) and `address`
   * @throws NetlinkError EEXIST one of the names is taken, EPERM CAP_NET_ADMIN is missing in one of the namespaces
   * @example
   * await links.createVeth({ name: 'web1', up: true, peer: { name: 'eth0', netns } });
   */
  *createVeth(options: NewVeth): Operation<void> {
    yield* this.#create('veth', options);
  }

  /**
   * Creates a bridge: a switch whose ports are the devices that have it for their `master`.
   *
   * @param options `name`; `bridge` has its settings, times in hundredths of a second
   * @throws NetlinkError EEXIST the name is taken, EOPNOTSUPP the kernel has no bridges, or not with this setting
   * @example
   * await links.createBridge({ name: 'br0', up: true, bridge: { forwardDelayCentiseconds: 200 } });
   * await links.createVeth({ name: 'web1', master: 'br0', up: true, peer: { name: 'eth0', netns } });
   */
  *createBridge(options: NewBridge): Operation<void> {
    yield* this.#create('bridge', options);
  }

  /**
   * Creates a device that drops what is sent to it. It holds addresses that belong to no other device.
   *
   * @param options `name`, and the fields of every device
   * @throws NetlinkError EEXIST the name is taken, EOPNOTSUPP the kernel's module dummy is not loaded
   * @example
   * await links.createDummy({ name: 'vip', up: true });
   * await links.addAddress('vip', '10.10.0.100/32');
   */
  *createDummy(options: NewLink): Operation<void> {
    yield* this.#create('dummy', options);
  }

  /**
   * Creates a device with a hardware address of its own on the wire of another device.
   *
   * @param options `name`, and the device below in `link`; `mode` is 'bridge' where left out
   * @throws NetlinkError EEXIST the name is taken, ENODEV there is no such `link`, EBUSY the device below is a port of a bridge
   * @example
   * await links.createMacvlan({ name: 'mv0', link: 'eth0', netns, up: true });
   */
  *createMacvlan(options: NewMacvlan): Operation<void> {
    yield* this.#create('macvlan', options);
  }

  *#create(kind: string, options: NewLink, subject: object = options): Operation<void> {
    const { wire, link } = this.#kinds.write(kind, options);
    const { master } = options;
    if (link !== undefined) wire.attributes.link = yield* this.#devices.indexOf(link, 'link', subject);
    if (master !== undefined) wire.attributes.master = yield* this.#devices.indexOf(master, 'master', subject);
    const call = request(this.#kinds.messages, {
      syscall: 'RTM_NEWLINK',
      type: RTM_NEWLINK,
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
   * Changes a device. What is left out stays as it is.
   *
   * All changes are one message. The kernel carries them out in this order: netns, address, mtu, newName, master, up (do_setlink in
   * net/core/rtnetlink.c). Where it refuses one, those before it stay. Only `up: false` beside other changes is a message of its own, sent
   * first, because some devices refuse changes while they are up.
   *
   * @param name the device
   * @param changes `up`, `master` (null takes it out of its bridge), `netns`, `newName`, `mtu` in bytes (from 68), `address`
   * @throws NetlinkError ENODEV no such device or master, EEXIST the new name is taken (there), EBUSY it is up and cannot be renamed before
   * Linux 6.2, EADDRNOTAVAIL not an address for a device, ELOOP a bridge as a port of a bridge, EINVAL `mtu` is outside the driver's limits,
   * or lo cannot move
   * @example
   * await links.set('web1', { netns, newName: 'eth0', up: true });
   */
  *set(name: string, changes: LinkChanges): Operation<void> {
    checkName(name, ['name']);
    const { attributes, flags, change } = writeChanges(changes);
    const subject = { name, ...changes };
    const { master } = changes;
    if (master === null) attributes.master = 0;
    else if (master !== undefined) attributes.master = yield* this.#devices.indexOf(master, 'master', subject);
    const call = (header: LinkHeader, value: Partial<LinkAttributes>) =>
      request(this.#kinds.messages, {
        syscall: 'RTM_SETLINK',
        type: RTM_SETLINK,
        header,
        value,
        subject,
        rename: path => (path[0] === 'name' ? ['newName'] : this.#kinds.fieldOf(path)),
        refusals: refusalsOfChanges(name, changes),
      });
    const index = yield* this.#devices.indexOf(name, 'name', subject);
    const header = { ...LINK_HEADER, ifi_index: index, ifi_flags: flags, ifi_change: change };
    if (changes.up === false && Object.keys(attributes).length > 0) {
      yield* this.#exchange.request(call({ ...header }, {}));
      header.ifi_change = 0;
    }
    yield* this.#exchange.request(call(header, attributes));
  }

  /**
   * Removes a device. With one end of a veth goes the other.
   *
   * @param name the device
   * @throws NetlinkError ENODEV there is none, EOPNOTSUPP lo and hardware cannot be removed
   * @example
   * await links.remove('web1');
   */
  *remove(name: string): Operation<void> {
    checkName(name, ['name']);
    const call = request(this.#kinds.messages, {
      syscall: 'RTM_DELLINK',
      type: RTM_DELLINK,
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
   * Adds an address to a device. As with `ip addr add`, it has no broadcast address unless one is given.
   *
   * A prefix that is shorter than a host also brings a route to its network while the device is up.
   *
   * @param name the device
   * @param address with its prefix length: '10.10.0.100/32'. Without a length it is a single host.
   * @param options `peer`, `broadcast`, `scope`, `label`, `noDad`, `noPrefixRoute`, `metric`, `validSeconds`, `preferredSeconds`, `origin`
   * @throws NetlinkError EEXIST the device has it, ENODEV no such device, EACCES IPv6 is switched off there
   * @example
   * await links.addAddress('eth0', '10.10.0.100/32');
   * await links.addAddress('eth0', 'fd00::1/64', { noDad: true });
   */
  *addAddress(name: string, address: string, options: AddressOptions = {}): Operation<void> {
    yield* changeAddress(this.#exchange, this.#devices, 'add', name, address, options);
  }

  /**
   * Removes an address.
   *
   * With the first IPv4 address of a network go the other addresses of that network, unless the sysctl
   * net.ipv4.conf.DEVICE.promote_secondaries is 1.
   *
   * @param name the device
   * @param address with the prefix length that it was added with
   * @param options the `peer` of an address of a point-to-point link; the other fields are ignored
   * @throws NetlinkError EADDRNOTAVAIL the device has no such address, ENODEV no such device
   * @example
   * await links.removeAddress('eth0', '10.10.0.100/32');
   */
  *removeAddress(name: string, address: string, options: AddressOptions = {}): Operation<void> {
    const { peer } = options;
    const key = peer === undefined ? {} : { peer };
    yield* changeAddress(this.#exchange, this.#devices, 'remove', name, address, key);
  }

  /**
   * The addresses of all devices, or of one.
   *
   * @param options `device`, `signal`
   * @throws NetlinkError ENODEV no such device
   * @example
   * for (const { address, scope } of await links.addresses({ device: 'eth0' })) console.log(address, scope);
   */
  *addresses(options: DeviceFilter = {}): Operation<LinkAddress[]> {
    return yield* listAddresses(this.#exchange, this.#devices, options);
  }

  /**
   * Adds a route: over one router or device, or over several in turns. A route that was read can be added as it is.
   *
   * @param route `to` is 'default' or a prefix; `via` is the router, `device` the device
   * @throws NetlinkError EEXIST there is one to this destination with this metric, ENETUNREACH (IPv4) or EHOSTUNREACH (IPv6) `via` cannot be
   * reached, EINVAL `source` is not an address of this namespace, ENETDOWN the device is down, ENODEV there is no such device
   * @example
   * await links.addRoute({ to: 'default', via: '10.0.0.1' });
   * await links.addRoute({ to: '10.1.0.0/16', nextHops: [{ via: '10.0.0.2', weight: 2 }, { via: '10.0.0.3' }] });
   */
  *addRoute(route: NewRoute): Operation<void> {
    yield* changeRoute(this.#exchange, this.#devices, 'add', route, writeRoute(route));
  }

  /**
   * Removes a route: the first one that matches all that is given.
   *
   * @param route `to`, and whatever else tells it from others: `metric`, `table`, `via`, `device` ...
   * @throws NetlinkError ESRCH there is none, ENODEV there is no such device
   * @example
   * await links.removeRoute({ to: '10.1.0.0/16' });
   */
  *removeRoute(route: RouteKey): Operation<void> {
    yield* changeRoute(this.#exchange, this.#devices, 'remove', route, writeRouteKey(route));
  }

  /**
   * The IPv4 and IPv6 routes of all tables, or of some.
   *
   * @param filter `table`: 'main' has what `ip route` shows, 'local' the namespace's own addresses; `family`; `signal`
   * @throws RangeError the table or the family has no such name
   * @example
   * const [way] = (await links.routes({ table: 'main', family: 'ipv4' })).filter(({ to }) => to === 'default');
   * console.log(way?.via, way?.device);
   */
  *routes(filter: RouteFilter = {}): Operation<Route[]> {
    return yield* listRoutes(this.#exchange, this.#devices, filter);
  }

  /**
   * Adds a neighbour: the hardware address of an IP address (ARP, neighbour discovery).
   *
   * @param neighbour `device`, `address`, `hardwareAddress`; `state` is 'permanent' where left out
   * @throws NetlinkError EEXIST it is known, ENODEV no such device, ENETDOWN the device is down
   * @example
   * await links.addNeighbour({ device: 'eth0', address: '10.0.0.9', hardwareAddress: '02:00:00:00:00:09' });
   */
  *addNeighbour(neighbour: NewNeighbour): Operation<void> {
    yield* changeNeighbour(this.#exchange, this.#devices, 'add', neighbour, writeNeighbour(neighbour));
  }

  /**
   * Removes a neighbour.
   *
   * @param key `device` and `address`
   * @throws NetlinkError ENOENT it is not known, ENODEV no such device
   * @example
   * await links.removeNeighbour({ device: 'eth0', address: '10.0.0.9' });
   */
  *removeNeighbour(key: NeighbourKey): Operation<void> {
    yield* changeNeighbour(this.#exchange, this.#devices, 'remove', key, writeNeighbourKey(key));
  }

  /**
   * The neighbours of all devices, or of one, in every state: what `ip neigh show nud all` shows.
   *
   * @param options `device`, `signal`
   * @throws NetlinkError ENODEV no such device
   * @example
   * const failed = (await links.neighbours({ device: 'eth0' })).filter(({ state }) => state === 'failed');
   */
  *neighbours(options: DeviceFilter = {}): Operation<Neighbour[]> {
    return yield* listNeighbours(this.#exchange, this.#devices, options);
  }
}

/**
 * Links, addresses, routes and neighbours of one network namespace (NETLINK_ROUTE).
 *
 * Reading needs no privilege. Changing needs CAP_NET_ADMIN in the user namespace that owns the network namespace.
 *
 * @example
 * await using links = Links.open({ netns });
 * await links.createDummy({ name: 'vip', up: true });
 * await links.addAddress('vip', '10.10.0.100/32');
 */
export class Links extends syncAndAsync(LinksOperations) {
  /**
   * Opens a socket in the namespace. Nothing is asked yet.
   *
   * @param options `netns`, `logger`
   * @throws NetlinkError EPERM this process may not enter the namespace
   * @example
   * const links = Links.open({ netns });
   */
  static open(options: LinksOptions = {}): Links {
    checkObject(options, [], ['netns', 'logger']);
    const socket = new NetlinkSocket({ netns: netnsOf(options), protocol: NETLINK_ROUTE });
    try {
      // Linux 4.20: the kernel then checks what a dump asks for, and filters by itself.
      socket.setOption(SOL_NETLINK, NETLINK_GET_STRICT_CHK, 1);
    } catch (error) {
      if (!(error instanceof NetlinkError)) throw error;
    }
    return new Links(new Exchange(socket, 'rtnetlink', new Observer(options.logger)));
  }
}
