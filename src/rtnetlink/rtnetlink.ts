import { checkObject } from '../codec/index.ts';
import { NetlinkError } from '../errors.ts';
import { NETLINK_GET_STRICT_CHK, NETLINK_ROUTE } from '../linux/netlink.ts';
import { SOL_NETLINK } from '../linux/socket.ts';
import { Exchange, NetlinkSocket, type Operation, openWatcher, syncAndAsync } from '../netlink/index.ts';
import { type NetNs, netnsOf } from '../netns/netns.ts';
import { type Logger, Observer } from '../observe.ts';
import { type AddressOptions, changeAddress, type LinkAddress, listAddresses } from './address.ts';
import { type DeviceFilter, Devices } from './devices.ts';
import { changeEntry, type FdbEntry, type FdbFilter, type FdbKey, listEntries, type NewFdbEntry } from './fdb.ts';
import type { LinkKinds } from './links/link.ts';
import { DeviceOperations } from './links/operations.ts';
import { groupsOf, LinksMonitor, type LinksMonitorOptions, MONITOR_BUFFER_BYTES } from './monitor.ts';
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
import { addRule, listRules, type RuleFilter, removeRule } from './rules/change.ts';
import type { NewRule, Rule, RuleKey } from './rules/rule.ts';

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
   * Adds a route, or replaces the one to the same destination with the same metric (and, for IPv4, the same type of service). For IPv6 it
   * replaces all ways of it. A route that was read can be given as it is.
   *
   * @param route as for `addRoute`
   * @throws NetlinkError EEXIST (IPv4) a second route of the same kind is as this one shall be, ENETUNREACH (IPv4) or EHOSTUNREACH (IPv6) `via`
   * cannot be reached, ENETDOWN the device is down, ENODEV there is no such device
   * @example
   * await links.setRoute({ to: 'default', via: '10.0.0.254' });
   */
  *setRoute(route: NewRoute): Operation<void> {
    yield* changeRoute(this.#exchange, this.#devices, 'set', route, writeRoute(route));
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
   * Adds a neighbour, or replaces what is known of it.
   *
   * @param neighbour as for `addNeighbour`
   * @throws NetlinkError ENODEV no such device, ENETDOWN the device is down
   * @example
   * await links.setNeighbour({ device: 'eth0', address: '10.0.0.9', hardwareAddress: '02:00:00:00:00:0a' });
   */
  *setNeighbour(neighbour: NewNeighbour): Operation<void> {
    yield* changeNeighbour(this.#exchange, this.#devices, 'set', neighbour, writeNeighbour(neighbour));
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

  /**
   * The policy rules of both families, or of one, in the order in which they are asked: what `ip rule` shows.
   *
   * @param filter `family`, `signal`
   * @throws RangeError there is no such family
   * @example
   * for (const { priority, from, table } of await links.rules({ family: 'ipv4' })) console.log(priority, from, table);
   */
  *rules(filter: RuleFilter = {}): Operation<Rule[]> {
    return yield* listRules(this.#exchange, filter);
  }

  /**
   * Adds a policy rule: packets that have all that it names look for their route in its table. A rule that was read can be added as it is.
   *
   * Kernels take selectors that they do not know, and make a rule for all packets. So the rule is read back. One with a selector that is newer
   * than Linux 6.1 is tried first where it is for no packet.
   *
   * @param rule `table` (or `goto`, or `action`), and the selectors: `from`, `to`, `inDevice`, `mark`, `ipProtocol`, `destinationPorts` ...
   * `priority` is 0 to 2^32-1; where left out the kernel takes one less than that of its second rule
   * @throws NetlinkError EEXIST there is such a rule, EINVAL the selectors contradict each other
   * @throws UnsupportedError the kernel does not know a selector; there is no such rule then
   * @example
   * await links.addRule({ from: '10.1.0.0/16', table: 100, priority: 1000 });
   * await links.addRule({ mark: 7, destinationPorts: { start: 80, end: 80 }, ipProtocol: 'tcp', table: 101 });
   */
  *addRule(rule: NewRule): Operation<void> {
    yield* addRule(this.#exchange, rule);
  }

  /**
   * Removes a policy rule: the first one that has all that is given. A rule that was read names itself.
   *
   * The kernel takes what is not given for any value, and with nothing given it would remove the rule that finds this namespace's own
   * addresses. So the rule is looked for here, and named by all that it has.
   *
   * @param rule a `priority` or a selector at least
   * @throws NetlinkError ENOENT there is no such rule, EPERM it is permanent
   * @throws RangeError ERR_CONFLICT the kernel would remove another one before it
   * @example
   * await links.removeRule({ priority: 1000 });
   */
  *removeRule(rule: RuleKey): Operation<void> {
    yield* removeRule(this.#exchange, rule);
  }

  /**
   * The entries of forwarding tables: of bridges, and of devices that have one of their own. What `bridge fdb` shows.
   *
   * @param filter `master` (the bridge), `device`, `signal`
   * @throws NetlinkError ENODEV no such device
   * @example
   * const learned = (await links.fdb({ master: 'br0' })).filter(({ state }) => state === 'learned');
   */
  *fdb(filter: FdbFilter = {}): Operation<FdbEntry[]> {
    return yield* listEntries(this.#exchange, this.#devices, filter);
  }

  /**
   * Adds an entry to the table of a bridge, or with `self` (or `remote`) to that of the device itself. One that was read can be added as it is.
   *
   * A VXLAN device may have several remotes for '00:00:00:00:00:00', which stands for unknown addresses, and for groups.
   *
   * @param entry `device`, `address`, and `vlan`, `state`, `remote` ...
   * @throws NetlinkError EEXIST there is such an entry, or the kernel has learned it; EOPNOTSUPP the device is no port of a bridge
   * @example
   * await links.addFdbEntry({ device: 'web1', address: '02:00:00:00:00:09' });
   * await links.addFdbEntry({ device: 'vx7', address: '00:00:00:00:00:00', remote: '192.0.2.3' });
   */
  *addFdbEntry(entry: NewFdbEntry): Operation<void> {
    yield* changeEntry(this.#exchange, this.#devices, 'add', entry);
  }

  /**
   * Adds an entry, or replaces it: also one that the kernel has learned, and one of another port.
   *
   * @param entry as for `addFdbEntry`
   * @throws NetlinkError EOPNOTSUPP the device is no port of a bridge, ENODEV no such device
   * @example
   * await links.setFdbEntry({ device: 'web2', address: '02:00:00:00:00:09' });
   */
  *setFdbEntry(entry: NewFdbEntry): Operation<void> {
    yield* changeEntry(this.#exchange, this.#devices, 'set', entry);
  }

  /**
   * Removes an entry.
   *
   * @param key `device`, `address`, and what tells it from others: `vlan`, `remote`, `self`
   * @throws NetlinkError ENOENT there is none, ENODEV no such device
   * @example
   * await links.removeFdbEntry({ device: 'web2', address: '02:00:00:00:00:09' });
   */
  *removeFdbEntry(key: FdbKey): Operation<void> {
    yield* changeEntry(this.#exchange, this.#devices, 'remove', key);
  }
}

/**
 * Links, addresses, routes, neighbours and rules of one network namespace (NETLINK_ROUTE).
 *
 * Reading needs no privilege. Changing needs CAP_NET_ADMIN in the user namespace that owns the network namespace.
 *
 * @example
 * await using links = Links.open({ netns });
 * await links.createDummy({ name: 'vip', up: true });
 * await links.addAddress('vip', '10.10.0.100/32');
 */
export class Links extends syncAndAsync(LinksOperations) {
  readonly #exchange: Exchange;

  constructor(exchange: Exchange, operations?: LinksOperations) {
    super(exchange, operations);
    this.#exchange = exchange;
  }

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

  /**
   * Follows links, addresses, routes, neighbours and rules: what is new, has changed, or has gone. Applied to the state in order, the events
   * give what a new reading would show; what came and went between two looks may be left out.
   *
   * After events were lost, an item of type 'state' has all that there is. IPv4 routes that go with a device, or when it is switched off, are
   * told too: the kernel does not announce them, so routes are read again then. Counters and clocks are no changes.
   * Of a device that is switched off, the kernel announces few changes of settings.
   *
   * @param options `kinds` ('link', 'address', 'route', 'neighbour', 'rule'; default all), `initial` (begin with the state), `receiveBufferBytes`
   * (4096 to 1 GiB, default 8 MiB), `signal`
   * @throws StateError ERR_CLOSED, TypeError, RangeError
   * @example
   * for await (const item of links.monitor({ kinds: ['link'] }))
   *   if (item.type !== 'state' && item.kind === 'link') console.log(item.type, item.object.name, item.object.up);
   */
  monitor(options: LinksMonitorOptions = {}): LinksMonitor {
    const groups = groupsOf(options);
    const source = {
      link: () => this.list(),
      address: () => this.addresses(),
      route: () => this.routes(),
      neighbour: () => this.neighbours(),
      rule: () => this.rules(),
    };
    return openWatcher(
      this.#exchange,
      groups,
      options.receiveBufferBytes ?? MONITOR_BUFFER_BYTES,
      (reader, closed) => new LinksMonitor(reader, source, options, closed),
      NETLINK_ROUTE,
    );
  }
}
