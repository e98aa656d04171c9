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
import { changeNextHop, listNextHops, type NextHopObject, removeNextHop } from './routes/nexthop.ts';
import { listRoutes, type Route, type RouteFilter } from './routes/route.ts';
import { addRule, listRules, type RuleFilter, removeRule } from './rules/change.ts';
import type { NewRule, Rule, RuleKey } from './rules/rule.ts';

/** The namespace that `Links.open` works in, and its logger. */
export interface LinksOptions {
  /** The namespace to work in. Default: the namespace of this process. */
  netns?: NetNs;
  /** Receives a record of each request, as with every handle. */
  logger?: Logger;
}

/**
 * The operations on links, addresses, routes, neighbours and rules. Each is written once and runs both synchronously and asynchronously.
 */
export class LinksOperations extends DeviceOperations {
  readonly #exchange: Exchange;
  readonly #devices: Devices;

  constructor(exchange: Exchange, kinds?: LinkKinds) {
    super(exchange, kinds);
    this.#exchange = exchange;
    this.#devices = new Devices(exchange);
  }

  /**
   * Adds an address to a device. Like `ip addr add`, it sets no broadcast address unless you give one.
   *
   * If the prefix is shorter than a single host, the kernel also adds a route to its network while the device is up.
   *
   * @param name the device
   * @param address with its prefix length: '10.10.0.100/32'. Without a length, it is a single host.
   * @param options `peer`, `broadcast`, `scope`, `label`, `noDad`, `noPrefixRoute`, `metric`, `validSeconds`, `preferredSeconds`, `origin`
   * @throws NetlinkError EEXIST the device has the address, ENODEV there is no such device, EACCES IPv6 is switched off on the device
   * @example
   * await links.addAddress('eth0', '10.10.0.100/32');
   * await links.addAddress('eth0', 'fd00::1/64', { noDad: true });
   */
  *addAddress(name: string, address: string, options: AddressOptions = {}): Operation<void> {
    yield* changeAddress(this.#exchange, this.#devices, 'add', name, address, options);
  }

  /**
   * Adds an address, or changes the settings of one that the device has: lifetimes, metric, and the flags with a field. Those that are left
   * out get their default values.
   *
   * The kernel cannot change the label, the broadcast address, the scope (IPv4) and the prefix length (IPv6) of an address, and accepts such
   * a request without doing so. This method refuses it. IPv4 addresses with other prefix lengths are different addresses.
   *
   * @param name the device
   * @param address with its prefix length
   * @param options as for `addAddress`
   * @throws RangeError ERR_CONFLICT the field cannot change: remove the address first
   * @throws NetlinkError ENODEV there is no such device, EACCES IPv6 is switched off on the device
   * @example
   * await links.setAddress('eth0', '10.10.0.100/24', { validSeconds: 3600, preferredSeconds: 1800 });
   */
  *setAddress(name: string, address: string, options: AddressOptions = {}): Operation<void> {
    yield* changeAddress(this.#exchange, this.#devices, 'set', name, address, options);
  }

  /**
   * Removes an address.
   *
   * Removing the first IPv4 address of a network also removes the other addresses of that network, unless the sysctl
   * net.ipv4.conf.DEVICE.promote_secondaries is 1.
   *
   * @param name the device
   * @param address with the prefix length with which it was added
   * @param options the `peer` of an address of a point-to-point link; the other fields are ignored
   * @throws NetlinkError EADDRNOTAVAIL the device has no such address, ENODEV there is no such device
   * @example
   * await links.removeAddress('eth0', '10.10.0.100/32');
   */
  *removeAddress(name: string, address: string, options: AddressOptions = {}): Operation<void> {
    const { peer } = options;
    const key = peer === undefined ? {} : { peer };
    yield* changeAddress(this.#exchange, this.#devices, 'remove', name, address, key);
  }

  /**
   * Lists the addresses of all devices, or of one.
   *
   * @param options `device`, `signal`
   * @throws NetlinkError ENODEV there is no such device
   * @example
   * for (const { address, scope } of await links.addresses({ device: 'eth0' })) console.log(address, scope);
   */
  *addresses(options: DeviceFilter = {}): Operation<LinkAddress[]> {
    return yield* listAddresses(this.#exchange, this.#devices, options);
  }

  /**
   * Adds a route over one router or device, or over several that share the traffic. A route that was read is accepted.
   *
   * @param route `to` is 'default' or a prefix; `via` is the router, `device` the device
   * @throws NetlinkError EEXIST a route to this destination has this metric, ENETUNREACH (IPv4) or EHOSTUNREACH (IPv6) `via` cannot be
   * reached, EINVAL `source` is not an address of this namespace, ENETDOWN the device is down, ENODEV there is no such device
   * @example
   * await links.addRoute({ to: 'default', via: '10.0.0.1' });
   * await links.addRoute({ to: '10.1.0.0/16', nextHops: [{ via: '10.0.0.2', weight: 2 }, { via: '10.0.0.3' }] });
   */
  *addRoute(route: NewRoute): Operation<void> {
    yield* changeRoute(this.#exchange, this.#devices, 'add', route, writeRoute(route));
  }

  /**
   * Adds a route, or replaces the one with the same destination and metric (for IPv4, also the same type of service). For IPv6, it replaces
   * all next hops of that route. A route that was read is accepted.
   *
   * @param route as for `addRoute`
   * @throws NetlinkError EEXIST (IPv4) a second such route already has the new content, ENETUNREACH (IPv4) or EHOSTUNREACH (IPv6) `via`
   * cannot be reached, ENETDOWN the device is down, ENODEV there is no such device
   * @example
   * await links.setRoute({ to: 'default', via: '10.0.0.254' });
   */
  *setRoute(route: NewRoute): Operation<void> {
    yield* changeRoute(this.#exchange, this.#devices, 'set', route, writeRoute(route));
  }

  /**
   * Removes a route: the first one that matches all given fields.
   *
   * @param route `to`, and any other field that distinguishes it: `metric`, `table`, `via`, `device` ...
   * @throws NetlinkError ESRCH there is no such route, ENODEV there is no such device
   * @example
   * await links.removeRoute({ to: '10.1.0.0/16' });
   */
  *removeRoute(route: RouteKey): Operation<void> {
    yield* changeRoute(this.#exchange, this.#devices, 'remove', route, writeRouteKey(route));
  }

  /**
   * Lists the IPv4 and IPv6 routes of all tables, or of some.
   *
   * @param filter `table`: 'main' has the routes that `ip route` shows, 'local' the namespace's own addresses; `family`; `signal`
   * @throws RangeError the table or the family has no such name
   * @example
   * const [way] = (await links.routes({ table: 'main', family: 'ipv4' })).filter(({ to }) => to === 'default');
   * console.log(way?.via, way?.device);
   */
  *routes(filter: RouteFilter = {}): Operation<Route[]> {
    return yield* listRoutes(this.#exchange, this.#devices, filter);
  }

  /**
   * Lists the nexthop objects, or those of one device, as `ip nexthop` does. A route uses one by its id: `nextHopId`.
   *
   * @param options `device`, `signal`
   * @throws NetlinkError ENODEV there is no such device, EOPNOTSUPP the kernel is older than Linux 5.3
   * @example
   * for (const { id, via, group } of await links.nextHopObjects()) console.log(id, via ?? group);
   */
  *nextHopObjects(options: DeviceFilter = {}): Operation<NextHopObject[]> {
    return yield* listNextHops(this.#exchange, this.#devices, options);
  }

  /**
   * Adds a nexthop object: one way, or a group of ways that share the traffic. An object that was read is accepted.
   *
   * @param object `id`, and `device`, `via` (or both), `blackhole`, or a `group` of other ids with weights
   * @throws NetlinkError EEXIST the id is taken, ENETUNREACH (IPv4) or EHOSTUNREACH (IPv6) `via` cannot be reached, EINVAL a member of the
   * group does not exist, ENODEV there is no such device
   * @example
   * await links.addNextHopObject({ id: 1, via: '10.0.0.2', device: 'eth0' });
   * await links.addNextHopObject({ id: 2, via: '10.0.0.3', device: 'eth0' });
   * await links.addNextHopObject({ id: 10, group: [{ id: 1, weight: 3 }, { id: 2 }] });
   * await links.addRoute({ to: '10.1.0.0/16', nextHopId: 10 });
   */
  *addNextHopObject(object: NextHopObject): Operation<void> {
    yield* changeNextHop(this.#exchange, this.#devices, 'add', object);
  }

  /**
   * Adds a nexthop object, or replaces the one with this id. All routes over it then use the new way.
   *
   * @param object as for `addNextHopObject`
   * @throws NetlinkError EINVAL a group cannot become a single way, nor a single way a group; the errors of `addNextHopObject`
   * @example
   * await links.setNextHopObject({ id: 1, via: '10.0.0.254', device: 'eth0' });
   */
  *setNextHopObject(object: NextHopObject): Operation<void> {
    yield* changeNextHop(this.#exchange, this.#devices, 'set', object);
  }

  /**
   * Removes a nexthop object. The kernel also removes the routes that use it, and takes it out of its groups.
   *
   * @param object its `id`
   * @throws NetlinkError ENOENT there is no such object
   * @example
   * await links.removeNextHopObject({ id: 10 });
   */
  *removeNextHopObject(object: Pick<NextHopObject, 'id'>): Operation<void> {
    yield* removeNextHop(this.#exchange, object);
  }

  /**
   * Adds a neighbour: the hardware address of an IP address (ARP, neighbour discovery).
   *
   * @param neighbour `device`, `address`, `hardwareAddress`; `state` defaults to 'permanent'
   * @throws NetlinkError EEXIST the neighbour is known, ENODEV there is no such device, ENETDOWN the device is down
   * @example
   * await links.addNeighbour({ device: 'eth0', address: '10.0.0.9', hardwareAddress: '02:00:00:00:00:09' });
   */
  *addNeighbour(neighbour: NewNeighbour): Operation<void> {
    yield* changeNeighbour(this.#exchange, this.#devices, 'add', neighbour, writeNeighbour(neighbour));
  }

  /**
   * Adds a neighbour, or replaces it if it is known.
   *
   * @param neighbour as for `addNeighbour`
   * @throws NetlinkError ENODEV there is no such device, ENETDOWN the device is down
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
   * @throws NetlinkError ENOENT the neighbour is not known, ENODEV there is no such device
   * @example
   * await links.removeNeighbour({ device: 'eth0', address: '10.0.0.9' });
   */
  *removeNeighbour(key: NeighbourKey): Operation<void> {
    yield* changeNeighbour(this.#exchange, this.#devices, 'remove', key, writeNeighbourKey(key));
  }

  /**
   * Lists the neighbours of all devices, or of one, in every state, as `ip neigh show nud all` does.
   *
   * @param options `device`, `signal`
   * @throws NetlinkError ENODEV there is no such device
   * @example
   * const failed = (await links.neighbours({ device: 'eth0' })).filter(({ state }) => state === 'failed');
   */
  *neighbours(options: DeviceFilter = {}): Operation<Neighbour[]> {
    return yield* listNeighbours(this.#exchange, this.#devices, options);
  }

  /**
   * Lists the policy rules of both families, or of one, in the order in which the kernel tries them, as `ip rule` does.
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
   * Adds a policy rule. Packets that match all its selectors look for their route in its table. A rule that was read is accepted.
   *
   * Kernels accept selectors that they do not know, and then create a rule for all packets. So this method reads the rule back. If a
   * selector is newer than Linux 6.1, the method first tries it in a rule that matches no packet.
   *
   * @param rule `table` (or `goto`, or `action`), and the selectors: `from`, `to`, `inDevice`, `mark`, `ipProtocol`, `destinationPorts` ...
   * `priority` is 0 to 2^32-1; by default, the kernel takes one less than the priority of its second rule
   * @throws NetlinkError EEXIST there is such a rule, EINVAL the selectors contradict each other
   * @throws UnsupportedError the kernel does not know a selector; no rule stays
   * @example
   * await links.addRule({ from: '10.1.0.0/16', table: 100, priority: 1000 });
   * await links.addRule({ mark: 7, destinationPorts: { start: 80, end: 80 }, ipProtocol: 'tcp', table: 101 });
   */
  *addRule(rule: NewRule): Operation<void> {
    yield* addRule(this.#exchange, rule);
  }

  /**
   * Removes a policy rule: the first one that has all given fields. A rule that was read identifies only itself.
   *
   * For the kernel, a field that is not given matches any value. Without fields, it would remove the rule that finds this namespace's own
   * addresses. So this method finds the rule itself, and sends all its fields to the kernel.
   *
   * @param rule at least a `priority` or a selector
   * @throws NetlinkError ENOENT there is no such rule, EPERM it is permanent
   * @throws RangeError ERR_CONFLICT the kernel would remove another rule before it
   * @example
   * await links.removeRule({ priority: 1000 });
   */
  *removeRule(rule: RuleKey): Operation<void> {
    yield* removeRule(this.#exchange, rule);
  }

  /**
   * Lists the entries of forwarding tables: those of bridges, and those of devices with their own table, as `bridge fdb` does.
   *
   * @param filter `master` (the bridge), `device`, `signal`
   * @throws NetlinkError ENODEV there is no such device
   * @example
   * const learned = (await links.fdb({ master: 'br0' })).filter(({ state }) => state === 'learned');
   */
  *fdb(filter: FdbFilter = {}): Operation<FdbEntry[]> {
    return yield* listEntries(this.#exchange, this.#devices, filter);
  }

  /**
   * Adds an entry to the table of a bridge, or, with `self` or `remote`, to the device's own table. An entry that was read is accepted.
   *
   * A VXLAN device may have several remotes for '00:00:00:00:00:00', which stands for unknown addresses, and for groups.
   *
   * @param entry `device`, `address`, and `vlan`, `state`, `remote` ...
   * @throws NetlinkError EEXIST the entry exists, or the kernel has learned it; EOPNOTSUPP the device is not a port of a bridge
   * @example
   * await links.addFdbEntry({ device: 'web1', address: '02:00:00:00:00:09' });
   * await links.addFdbEntry({ device: 'vx7', address: '00:00:00:00:00:00', remote: '192.0.2.3' });
   */
  *addFdbEntry(entry: NewFdbEntry): Operation<void> {
    yield* changeEntry(this.#exchange, this.#devices, 'add', entry);
  }

  /**
   * Adds an entry, or replaces it. It also replaces an entry that the kernel has learned, and one of another port.
   *
   * @param entry as for `addFdbEntry`
   * @throws NetlinkError EOPNOTSUPP the device is not a port of a bridge, ENODEV there is no such device
   * @example
   * await links.setFdbEntry({ device: 'web2', address: '02:00:00:00:00:09' });
   */
  *setFdbEntry(entry: NewFdbEntry): Operation<void> {
    yield* changeEntry(this.#exchange, this.#devices, 'set', entry);
  }

  /**
   * Removes an entry.
   *
   * @param key `device`, `address`, and the fields that distinguish the entry: `vlan`, `remote`, `self`
   * @throws NetlinkError ENOENT there is no such entry, ENODEV there is no such device
   * @example
   * await links.removeFdbEntry({ device: 'web2', address: '02:00:00:00:00:09' });
   */
  *removeFdbEntry(key: FdbKey): Operation<void> {
    yield* changeEntry(this.#exchange, this.#devices, 'remove', key);
  }
}

/**
 * The links, addresses, routes, neighbours and rules of one network namespace (NETLINK_ROUTE).
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
   * Opens a socket in the namespace. It sends no request yet.
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
      // Since Linux 4.20, the kernel then checks the fields of a dump request, and filters by them.
      socket.setOption(SOL_NETLINK, NETLINK_GET_STRICT_CHK, 1);
    } catch (error) {
      if (!(error instanceof NetlinkError)) throw error;
    }
    return new Links(new Exchange(socket, 'rtnetlink', new Observer(options.logger)));
  }

  /**
   * Follows links, addresses, routes, neighbours, rules and forwarding tables, and reports each one that is new, has changed, or has gone. If you apply the
   * events to the state in order, you get the result of a new reading. An object that came and went between two readings may be left out.
   *
   * After events were lost, an item of type 'state' has all objects. The kernel does not announce the IPv4 routes that disappear because a
   * device is removed or switched off. The monitor then reads the routes again and reports them. Counters and clocks do not count as
   * changes. While a device is switched off, the kernel announces few changes of its settings.
   *
   * @param options `kinds` ('link', 'address', 'route', 'neighbour', 'rule', 'fdb'; default all), `initial` (begin with the state),
   * `receiveBufferBytes` (4096 to 1 GiB, default 8 MiB), `signal`
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
      fdb: () => this.fdb(),
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
