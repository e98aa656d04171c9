import { checkObject } from '../codec/index.ts';
import { NetlinkError } from '../errors.ts';
import { NETLINK_GET_STRICT_CHK, NETLINK_ROUTE } from '../linux/netlink.ts';
import { SOL_NETLINK } from '../linux/socket.ts';
import { Exchange, NetlinkSocket, type Operation, syncAndAsync } from '../netlink/index.ts';
import { type NetNs, netnsOf } from '../netns/netns.ts';
import { type Logger, Observer } from '../observe.ts';
import { type AddressOptions, changeAddress, type LinkAddress, listAddresses } from './address.ts';
import { type DeviceFilter, Devices } from './devices.ts';
import type { LinkKinds } from './links/link.ts';
import { DeviceOperations } from './links/operations.ts';
import {
  changeNeighbour,
  listNeighbours,
  type Neighbour,
  type NeighbourKey,
  type NewNeighbour,
  writeNeighbour,
  writeNeighbourKey,
} from './neighbour.ts';
import { changeRoute, type NewRoute, type RouteKey, writeRoute, writeRouteKey } from './routes/new-route.ts';
import { listRoutes, type Route, type RouteFilter } from './routes/route.ts';

/** Where `Links.open` works, and what it tells. */
export interface LinksOptions {
  /** The namespace to work in; the one of this process where left out. */
  netns?: NetNs;
  /** Told of each request, as with every handle. */
  logger?: Logger;
}

/** The operations on links, addresses, routes, neighbours and rules, each written once for both forms. */
export class LinksOperations extends DeviceOperations {
  readonly #exchange: Exchange;
  readonly #devices: Devices;

  constructor(exchange: Exchange, kinds?: LinkKinds) {
    super(exchange, kinds);
    this.#exchange = exchange;
    this.#devices = new Devices(exchange);
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
