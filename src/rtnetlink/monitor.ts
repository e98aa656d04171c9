import { checkInteger, checkObject } from '../codec/index.ts';
import { DecodeError, oneOf, rangeError, typeError } from '../errors.ts';
import { NLM_F_APPEND, NLM_F_REPLACE } from '../linux/netlink.ts';
import * as C from '../linux/rtnetlink.ts';
import { AF_BRIDGE } from '../linux/socket.ts';
import { GroupIteration } from '../netlink/group-iteration.ts';
import { type GroupReader, type Message, messagesIn } from '../netlink/index.ts';
import { checkSignal } from '../signal.ts';
import { ADDRESS, type LinkAddress, readAddress } from './address.ts';
import { ENTRY, type FdbEntry, readEntry } from './fdb.ts';
import { LINKS, type Link } from './links/link.ts';
import { NEIGHBOUR, type Neighbour, readNeighbour } from './neighbour.ts';
import { read } from './request.ts';
import { ROUTE } from './routes/attributes.ts';
import { devicesOf, type Route, readRoute } from './routes/route.ts';
import { RULE } from './rules/attributes.ts';
import { type Rule, readRule } from './rules/rule.ts';

/** The objects that a monitor follows, by kind. */
interface Objects {
  link: Link;
  address: LinkAddress;
  route: Route;
  neighbour: Neighbour;
  rule: Rule;
  fdb: FdbEntry;
}
/** The kind of object that an event is about. */
export type LinksEventKind = keyof Objects;

/** The options of a monitor. */
export interface LinksMonitorOptions {
  /** Only events of these kinds. Default: all. */
  kinds?: readonly LinksEventKind[];
  /** Start with an item of type 'state' that has all present objects. Default false. */
  initial?: boolean;
  /** The size of the kernel's buffer for events that are not read yet, in bytes, 4096 to 1 GiB. Default 8 MiB, some thousand events. */
  receiveBufferBytes?: number;
  /** Ends the iteration, which then throws the signal's reason. */
  signal?: AbortSignal;
}

/** One change. `object` is the present object. For 'gone', it is the last known one. */
export type LinksEvent = {
  [K in LinksEventKind]: {
    /** What happened, or 'state' for all that there is. */
    type: 'new' | 'changed' | 'gone';
    /** The kind of object. */
    kind: K;
    /** The object, as lists have it. */
    object: Objects[K];
  };
}[LinksEventKind];

/** All present objects, at the start and after events were lost. Kinds that the monitor does not follow are empty. */
export interface LinksState {
  /** What happened, or 'state' for all that there is. */
  type: 'state';
  /** Why the state comes: it is the first, or events were lost. */
  reason: 'initial' | 'lost';
  /** The links. */
  links: Link[];
  /** The addresses. */
  addresses: LinkAddress[];
  /** The routes. */
  routes: Route[];
  /** The neighbours. */
  neighbours: Neighbour[];
  /** The policy rules. */
  rules: Rule[];
  /**
   * The entries of forwarding tables. The lists of hardware addresses that devices listen to are left out, because the kernel does not announce
   * their changes.
   */
  fdb: FdbEntry[];
}

/** An item that the iteration of a monitor yields. */
export type LinksItem = LinksEvent | LinksState;

const KINDS: readonly LinksEventKind[] = ['link', 'address', 'route', 'neighbour', 'rule', 'fdb'];
const GROUPS: Record<LinksEventKind, readonly number[]> = {
  link: [C.RTNLGRP_LINK],
  address: [C.RTNLGRP_IPV4_IFADDR, C.RTNLGRP_IPV6_IFADDR],
  route: [C.RTNLGRP_IPV4_ROUTE, C.RTNLGRP_IPV6_ROUTE, C.RTNLGRP_NEXTHOP],
  neighbour: [C.RTNLGRP_NEIGH],
  rule: [C.RTNLGRP_IPV4_RULE, C.RTNLGRP_IPV6_RULE],
  fdb: [C.RTNLGRP_NEIGH],
};
export const MONITOR_BUFFER_BYTES = 8 * 1024 * 1024;
const MAX_BUFFER_BYTES = 1024 * 1024 * 1024;

/**
 * Returns the multicast groups for the options. Links are always among them, for device names. @throws TypeError, RangeError with the path
 */
export function groupsOf(options: LinksMonitorOptions): number[] {
  checkObject(options, [], ['kinds', 'initial', 'receiveBufferBytes', 'signal']);
  const { kinds = KINDS, initial = false, receiveBufferBytes } = options;
  if (!Array.isArray(kinds)) throw typeError(['kinds'], 'an array of kinds', kinds);
  for (const [i, kind] of kinds.entries())
    if (!KINDS.includes(kind)) throw rangeError(['kinds', i], oneOf(KINDS, kind), kind);
  if (kinds.length === 0) throw rangeError(['kinds'], 'at least one kind', kinds);
  if (typeof initial !== 'boolean') throw typeError(['initial'], 'a boolean', initial);
  if (receiveBufferBytes !== undefined)
    checkInteger(receiveBufferBytes, ['receiveBufferBytes'], 4096, MAX_BUFFER_BYTES);
  checkSignal(options.signal, ['signal']);
  return [...new Set(KINDS.filter(kind => kind === 'link' || kinds.includes(kind)).flatMap(kind => GROUPS[kind]))];
}

/** The lists that a monitor reads in addition to events. */
export type LinksSource = { readonly [K in LinksEventKind]: () => Promise<Objects[K][]> };

/**
 * Events of links, addresses, routes, neighbours, rules and forwarding tables. Opened by `Links.monitor`.
 *
 * @example
 * const monitor = links.monitor({ kinds: ['link', 'address'] });
 * setTimeout(() => void monitor.close(), 10_000);
 * for await (const item of monitor) console.log(item.type);
 */
export class LinksMonitor extends GroupIteration<LinksItem> {
  /** @internal */
  constructor(reader: GroupReader, source: LinksSource, options: LinksMonitorOptions, closed: () => void) {
    super('monitor', reader, new Follower(reader, source, options).items(), options.signal, closed);
  }
}

/** Fields that change by themselves, and fields that differ between events and lists. */
const NOT_COMPARED = /^statistics$|Centiseconds$|Seconds$|^probes$|^unknown$/;
/** Fields that distinguish the routes to one destination. */
const WAYS = new Set([
  'via',
  'device',
  'nextHops',
  'source',
  'scope',
  'type',
  'protocol',
  'flags',
  'onLink',
  'metrics',
]);

const text = (value: object, leave: (key: string) => boolean): string =>
  JSON.stringify(value, (key, item) => {
    if (leave(key)) return undefined;
    return typeof item === 'bigint' ? `${item}n` : item;
  });
const contentOf = (object: object): string => text(object, key => NOT_COMPARED.test(key));

/** The identity of an object, which does not change. A route uses its whole content, because several routes may have one destination. */
const KEYS: { readonly [K in LinksEventKind]: (object: Objects[K]) => string } = {
  link: ({ index }) => `${index}`,
  address: ({ device, address, peer = '' }) => `${device} ${address} ${peer}`,
  route: route => text(route, key => NOT_COMPARED.test(key) || key === 'flags'),
  neighbour: ({ device, address, flags }) => `${device} ${address} ${flags.includes('proxy')}`,
  rule: rule => text(rule, key => NOT_COMPARED.test(key) || key === 'flags'),
  // In the table of a bridge, an address can move from one port to another.
  fdb: ({ device, address, master, vlan, self, remote, destinationPort, networkId, remoteDevice, sourceNetworkId }) =>
    JSON.stringify(
      self === true
        ? [device, address, remote, destinationPort, networkId, remoteDevice, sourceNetworkId]
        : [master ?? device, address, vlan],
    ),
};
const placeOf = (kind: LinksEventKind, object: object): string =>
  kind === 'route' ? text(object, key => NOT_COMPARED.test(key) || WAYS.has(key)) : '';

class Follower {
  readonly #reader: GroupReader;
  readonly #source: LinksSource;
  /** The kinds to follow. Links are always read as well, for the names of devices. */
  readonly #kinds: ReadonlySet<LinksEventKind>;
  readonly #told: ReadonlySet<LinksEventKind>;
  readonly #initial: boolean;
  readonly #known = new Map<LinksEventKind, Map<string, LinksEvent['object']>>();
  readonly #names = new Map<number, string>();
  /** Kinds whose events do not tell everything. The monitor reads them again and compares. */
  readonly #doubtful = new Set<LinksEventKind>();

  constructor(reader: GroupReader, source: LinksSource, options: LinksMonitorOptions) {
    this.#reader = reader;
    this.#source = source;
    this.#kinds = new Set(['link', ...(options.kinds ?? KINDS)] as LinksEventKind[]);
    this.#told = new Set(options.kinds ?? KINDS);
    this.#initial = options.initial ?? false;
  }

  async *items(): AsyncGenerator<LinksItem, void> {
    if (this.#reader.closed) return;
    const first = await this.#state('initial');
    if (this.#initial) yield first;
    for (;;) {
      const datagram = await this.#reader.read();
      if (datagram === 'closed') return;
      let lost = datagram === 'lost';
      const events: LinksEvent[] = [];
      if (datagram !== 'lost') {
        try {
          for (const message of messagesIn(this.#reader.source, 0, datagram.length)) this.#take(message, events);
        } catch (error) {
          // A message that cannot be decoded counts as lost, so that no message of the kernel disappears silently.
          if (!(error instanceof DecodeError)) throw error;
          lost = true;
        }
      }
      yield* events.filter(({ kind }) => this.#told.has(kind));
      if (this.#reader.closed) return;
      if (lost) {
        // The kernel delivers no new events until the socket is empty.
        this.#reader.drain();
        yield await this.#state('lost');
        continue;
      }
      yield* (await this.#readAgain()).filter(({ kind }) => this.#told.has(kind));
    }
  }

  /** Reads all kinds that the monitor follows. */
  async #state(reason: LinksState['reason']): Promise<LinksState> {
    this.#doubtful.clear();
    const state: LinksState = {
      type: 'state',
      reason,
      links: [],
      addresses: [],
      routes: [],
      neighbours: [],
      rules: [],
      fdb: [],
    };
    const read = async <K extends LinksEventKind>(kind: K): Promise<Objects[K][]> => {
      if (!this.#kinds.has(kind)) return [];
      const objects = await this.#objects(kind);
      this.#known.set(kind, new Map(objects.map(object => [KEYS[kind](object), object])));
      return this.#told.has(kind) ? objects : [];
    };
    state.links = await read('link');
    this.#learnNames();
    state.addresses = await read('address');
    state.routes = await read('route');
    state.neighbours = await read('neighbour');
    state.rules = await read('rule');
    state.fdb = await read('fdb');
    return state;
  }

  async #objects<K extends LinksEventKind>(kind: K): Promise<Objects[K][]> {
    const objects: Objects[K][] = await this.#source[kind]();
    return kind === 'fdb' ? objects.filter(entry => isAnnounced(entry as FdbEntry)) : objects;
  }

  #learnNames(): void {
    this.#names.clear();
    for (const link of this.#of('link').values()) this.#names.set(link.index, link.name);
  }

  #of<K extends LinksEventKind>(kind: K): Map<string, Objects[K]> {
    let known = this.#known.get(kind);
    if (known === undefined) {
      known = new Map();
      this.#known.set(kind, known);
    }
    return known as Map<string, Objects[K]>;
  }

  /** Reads the doubtful kinds again, and reports the differences from what the caller knows. */
  async #readAgain(): Promise<LinksEvent[]> {
    const events: LinksEvent[] = [];
    for (const kind of KINDS) {
      if (!this.#doubtful.delete(kind) || !this.#kinds.has(kind)) continue;
      const objects = await this.#objects(kind);
      this.#compare(kind, objects, events);
      if (kind === 'link') this.#learnNames();
    }
    return events;
  }

  #compare<K extends LinksEventKind>(kind: K, objects: Objects[K][], events: LinksEvent[]): void {
    const old = this.#of(kind);
    const now = new Map(objects.map(object => [KEYS[kind](object), object]));
    const gone = [...old].filter(([key]) => !now.has(key));
    this.#known.set(kind, now);
    for (const [key, object] of now) {
      const before = old.get(key);
      if (before !== undefined) {
        if (contentOf(before) !== contentOf(object)) events.push(eventOf('changed', kind, object));
        continue;
      }
      // If only the way to the destination changed, the route counts as the same.
      const place = placeOf(kind, object);
      const at = place === '' ? -1 : gone.findIndex(([, other]) => placeOf(kind, other) === place);
      if (at >= 0) gone.splice(at, 1);
      events.push(eventOf(at >= 0 ? 'changed' : 'new', kind, object));
    }
    for (const [, object] of gone) events.push(eventOf('gone', kind, object));
  }

  /** Records that one object is present or has gone. */
  #update<K extends LinksEventKind>(
    kind: K,
    object: Objects[K] | undefined,
    isGone: boolean,
    events: LinksEvent[],
  ): void {
    if (!this.#kinds.has(kind) || object === undefined) return;
    const known = this.#of(kind);
    const key = KEYS[kind](object);
    const before = known.get(key);
    if (isGone) {
      if (before === undefined) this.#doubtful.add(kind);
      else events.push(eventOf('gone', kind, before));
      known.delete(key);
      return;
    }
    known.set(key, object);
    if (before === undefined) events.push(eventOf('new', kind, object));
    else if (contentOf(before) !== contentOf(object)) events.push(eventOf('changed', kind, object));
  }

  #take(message: Message, events: LinksEvent[]): void {
    const isGone = DELETIONS.has(message.type);
    switch (message.type) {
      case C.RTM_NEWLINK:
      case C.RTM_DELLINK:
        this.#takeLink(message, isGone, events);
        return;
      case C.RTM_NEWADDR:
      case C.RTM_DELADDR: {
        const parts = read(ADDRESS, message);
        const device = parts && this.#nameOf(parts[0].ifa_index, 'address');
        if (parts && device !== undefined) this.#update('address', readAddress(...parts, device), isGone, events);
        return;
      }
      case C.RTM_NEWNEIGH:
      case C.RTM_DELNEIGH: {
        if (message.source.bytes[message.payload] === AF_BRIDGE) {
          this.#takeEntry(message, isGone, events);
          return;
        }
        const parts = read(NEIGHBOUR, message);
        const device = parts && this.#nameOf(parts[0].ndm_ifindex, 'neighbour');
        if (parts && device !== undefined) this.#update('neighbour', readNeighbour(...parts, device), isGone, events);
        return;
      }
      case C.RTM_NEWRULE:
      case C.RTM_DELRULE: {
        const parts = read(RULE, message);
        if (parts) this.#update('rule', readRule(...parts), isGone, events);
        return;
      }
      case C.RTM_NEWROUTE:
      case C.RTM_DELROUTE:
        this.#takeRoute(message, isGone, events);
        return;
      case C.RTM_DELNEXTHOP:
        // The routes over a nexthop object disappear with it, but the kernel does not announce that.
        this.#doubtful.add('route');
    }
  }

  /** The name of a device. If the name is unknown, the kind is read again. */
  #nameOf(index: number, kind: LinksEventKind): string | undefined {
    const name = this.#names.get(index);
    if (name === undefined) this.#doubtful.add('link').add(kind);
    return name;
  }

  #takeLink(message: Message, isGone: boolean, events: LinksEvent[]): void {
    const parts = read(LINKS.messages, message);
    if (parts === undefined) return;
    const [header, attributes] = parts;
    if (header.ifi_family !== 0) {
      // This message is about the device as a port of a bridge. Even if it reports a removal, the device still exists.
      this.#doubtful.add('link');
      return;
    }
    const index = header.ifi_index;
    const before = this.#of('link').get(`${index}`);
    if (!isGone) this.#names.set(index, attributes.name);
    const link = LINKS.read(header, attributes, other => this.#names.get(other));
    this.#update('link', link, isGone, events);
    // The kernel does not announce IPv4 routes that disappear because a device was removed or switched off.
    if (isGone || (before?.up === true && !link.up)) this.#doubtful.add('route');
    if (isGone) this.#doubtful.add('fdb');
    if (before !== undefined && before.name !== link.name) for (const kind of KINDS) this.#doubtful.add(kind);
    if (isGone) this.#names.delete(index);
  }

  #takeEntry(message: Message, isGone: boolean, events: LinksEvent[]): void {
    const parts = read(ENTRY, message);
    if (parts === undefined) return;
    const [{ ndm_ifindex }, { master, remoteDevice }] = parts;
    for (const index of [ndm_ifindex, master, remoteDevice])
      if (index !== undefined && this.#nameOf(index, 'fdb') === undefined) return;
    const entry = readEntry(...parts, index => this.#names.get(index));
    if (entry !== undefined && isAnnounced(entry)) this.#update('fdb', entry, isGone, events);
  }

  #takeRoute(message: Message, isGone: boolean, events: LinksEvent[]): void {
    const parts = read(ROUTE, message);
    if (parts === undefined) return;
    // The kernel does not say which route was replaced, or to which route this one was added.
    if (!isGone && (message.flags & (NLM_F_REPLACE | NLM_F_APPEND)) !== 0) {
      this.#doubtful.add('route');
      return;
    }
    const known = devicesOf(parts[1]).every(index => this.#nameOf(index, 'route') !== undefined);
    if (known)
      this.#update(
        'route',
        readRoute(...parts, index => this.#names.get(index)),
        isGone,
        events,
      );
  }
}

/** Whether the kernel announces changes of an entry. It does so for tables, but not for the addresses that a device listens to. */
const isAnnounced = ({ self, remote, nextHopId }: FdbEntry): boolean =>
  self !== true || remote !== undefined || nextHopId !== undefined;

const DELETIONS: ReadonlySet<number> = new Set([
  C.RTM_DELLINK,
  C.RTM_DELADDR,
  C.RTM_DELNEIGH,
  C.RTM_DELRULE,
  C.RTM_DELROUTE,
  C.RTM_DELNEXTHOP,
]);

const eventOf = (type: LinksEvent['type'], kind: LinksEventKind, object: object): LinksEvent =>
  ({ type, kind, object }) as LinksEvent;
