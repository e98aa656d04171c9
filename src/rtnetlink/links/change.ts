import { NetlinkError, rangeError, UnsupportedError } from '../../errors.ts';
import { IFF_UP } from '../../linux/if.ts';
import { NETLINK_ROUTE } from '../../linux/netlink.ts';
import { RTM_DELLINK, RTM_DELLINKPROP, RTM_NEWLINK, RTM_NEWLINKPROP, RTM_SETLINK } from '../../linux/rtnetlink.ts';
import { Exchange, NetlinkSocket, type Operation } from '../../netlink/index.ts';
import type { NetNs } from '../../netns/netns.ts';
import { checkDevice, quote } from '../device.ts';
import { type Devices, getLink, nameAttribute } from '../devices.ts';
import { CREATE, type Refusals, read, request } from '../request.ts';
import type { AnyData, AnyLinkKind } from './kind.ts';
import {
  LINK_HEADER,
  type Link,
  type LinkAttributes,
  type LinkChanges,
  type LinkHeader,
  type LinkKinds,
  portNamed,
} from './link.ts';
import { FLAGS, type LaterSettings, type NewLink, PORT_FIELDS, refusalsOfChanges, wasRead } from './settings.ts';
import { makeTun } from './tun.ts';

/** The objects that all operations on links need. */
export interface LinkContext {
  readonly exchange: Exchange;
  readonly devices: Devices;
  readonly kinds: LinkKinds;
  /** Returns the same context for another namespace. */
  elsewhere(exchange: Exchange): LinkContext;
}

/** Reads one link, by its name or by its index. */
export function* readOne({ exchange, devices, kinds }: LinkContext, which: string | number): Operation<Link> {
  const byName = typeof which === 'string';
  const call = getLink(
    byName ? LINK_HEADER : { ...LINK_HEADER, ifi_index: which },
    byName ? nameAttribute(which) : {},
    `${which}`,
    ['name'],
    { name: which },
  );
  const [header, attributes] = yield* exchange.get(call, message => read(kinds.messages, message));
  const others = new Map<number, string>();
  for (const index of new Set(kinds.devicesOf(attributes))) {
    const other = yield* devices.nameOf(index);
    if (other !== undefined) others.set(index, other);
  }
  return kinds.read(header, attributes, index => others.get(index));
}

/** Creates a link with one message. More messages follow for settings that the kernel accepts only for a device that exists. */
export function* createLink(context: LinkContext, kind: string, options: NewLink, subject: object): Operation<void> {
  const { exchange, devices, kinds } = context;
  const known = kinds.kindOf(kind, ['kind'], options);
  const { wire, link, later, data } = kinds.write(kind, options);
  const { attributes } = wire;
  const { master } = options;
  if (data !== undefined) yield* resolveDevices(devices, known, (attributes.info as AnyData)[kind] as AnyData, subject);
  if (link !== undefined) {
    const index = yield* devices.indexOf(link, 'link', subject);
    if (known.linkRow === undefined) attributes.link = index;
    else
      attributes.info = {
        ...attributes.info,
        [kind]: { ...((attributes.info as AnyData)[kind] as object), [known.linkRow]: index },
      };
  }
  if (master !== undefined) attributes.master = yield* devices.indexOf(master, 'master', subject);
  const isVerified = data !== undefined && known.madeBy === undefined && known.isRead;
  const { alias, altNames, protoDown } = later;
  const ports = PORT_FIELDS.filter(field => later[field] !== undefined);
  let last: Partial<LinkAttributes> = { ...(alias && { alias }), ...(protoDown !== undefined && { protoDown }) };
  let { flags, change } = wire;
  const [isFirst, isLast] = [known.madeBy === undefined, { flags: 0, change: 0 }];
  if (!isFirst) {
    const { name: _name, info: _info, netnsFd: _netns, ...rest } = attributes;
    last = { ...last, ...rest };
    Object.assign(isLast, { flags, change });
  } else if (master !== undefined && (flags & IFF_UP) !== 0) {
    // A bond accepts only devices that are down, and the kernel would switch the device on before it joins the bond.
    Object.assign(isLast, { flags: IFF_UP, change: IFF_UP });
    flags &= ~IFF_UP;
    change &= ~IFF_UP;
  }
  const isSet = isLast.change !== 0 || Object.keys(last).length > 0;
  const isChanged = isSet || ports.length > 0 || (altNames !== undefined && altNames.length > 0);
  const there = 'netns' in options ? contextIn(context, options.netns, isChanged) : context;
  try {
    if (isFirst) {
      const call = request(kinds.messages, {
        syscall: 'RTM_NEWLINK',
        type: RTM_NEWLINK,
        flags: CREATE,
        header: { ...LINK_HEADER, ifi_flags: flags, ifi_change: change },
        value: attributes,
        subject,
        rename: path => kinds.fieldOf(path, options),
        refusals: kinds.refusals(kind, options),
      });
      yield* exchange.request(call);
    } else {
      makeDevice(context, options, data ?? {}, subject);
    }
    if (there === undefined || !(isChanged || isVerified)) return;
    try {
      const index = yield* there.devices.indexOf(options.name, 'name', subject);
      const refusals = kinds.refusals(kind, options);
      if (altNames !== undefined) yield* addAltNames(there, index, altNames, subject);
      if (isSet) {
        const header = { ...LINK_HEADER, ifi_index: index, ifi_flags: isLast.flags, ifi_change: isLast.change };
        yield* setLink(there, header, last, subject, refusals);
      }
      for (const field of ports) yield* changePort(there, index, field, later[field]!, subject);
      if (isVerified) yield* verify(there, index, known, data, kind);
    } catch (error) {
      yield* removeAgain(there, options.name);
      throw error;
    }
  } finally {
    if (there !== undefined && there !== context) void there.exchange.lifetime.close();
  }
}

function makeDevice({ exchange }: LinkContext, options: NewLink, data: object, subject: object): void {
  const { transport, operation } = exchange;
  if ('netns' in options && options.netns !== undefined) {
    makeTun(options.netns, options.name, data, operation, subject);
    return;
  }
  if (!(transport instanceof NetlinkSocket)) throw new UnsupportedError('tun devices without a socket of the kernel');
  const netns = transport.namespace();
  try {
    makeTun(netns, options.name, data, operation, subject);
  } finally {
    netns.close();
  }
}

/** Opens a socket in the other namespace for the remaining steps; undefined if this process may not enter it and does not need to. */
function contextIn(context: LinkContext, netns: NetNs | undefined, isNeeded: boolean): LinkContext | undefined {
  const { exchange } = context;
  if (netns === undefined || !(exchange.transport instanceof NetlinkSocket)) return undefined;
  try {
    const socket = new NetlinkSocket({ netns, protocol: NETLINK_ROUTE });
    const other = new Exchange(socket, exchange.subsystem, exchange.observer);
    other.operation = exchange.operation;
    return context.elsewhere(other);
  } catch (error) {
    if (isNeeded) throw error;
    return undefined;
  }
}

/** Removes a new device whose creation failed later, so that no half-made device stays. */
function* removeAgain({ exchange, kinds }: LinkContext, name: string): Operation<void> {
  const call = { syscall: 'RTM_DELLINK', type: RTM_DELLINK, header: LINK_HEADER, value: { name } };
  try {
    yield* exchange.request(request(kinds.messages, call));
  } catch {
    // The caller gets the error that ended the creation, so an error of this removal is ignored.
  }
}

/** Replaces the names of devices by their indexes. */
function* resolveDevices(devices: Devices, kind: AnyLinkKind, data: AnyData, subject: object): Operation<void> {
  for (const row of kind.deviceRows) {
    const name = data[row];
    if (typeof name === 'string') data[row] = yield* devices.indexOf(name, `${kind.name}.${row}`, subject);
  }
}

/**
 * Changes a link. It sends several messages, in this order: `up: false`, the settings of its kind, the other names, everything else at
 * once, the settings of the port.
 */
export function* changeLink(context: LinkContext, name: string, changes: LinkChanges): Operation<void> {
  checkDevice(name, ['name']);
  const { devices, kinds } = context;
  const { attributes: own, flags, change, later, kind } = kinds.writeChanges(changes);
  const attributes: Partial<LinkAttributes> = own;
  const subject = { name, ...changes };
  const { master } = changes;
  if (master === null) attributes.master = 0;
  else if (master !== undefined) attributes.master = yield* devices.indexOf(master, 'master', subject);
  const refusals = refusalsOfChanges(name, changes);
  const index = yield* devices.indexOf(name, 'name', subject);
  const header = { ...LINK_HEADER, ifi_index: index, ifi_flags: flags, ifi_change: change };
  if (wasRead(changes)) dropWhatIs(yield* readOne(context, index), changes, header, attributes, later);
  const isMore = (kind ?? changes.kindData) !== undefined || Object.keys(later).length > 0;
  if (changes.up === false && (isMore || Object.keys(attributes).length > 0)) {
    yield* setLink(context, { ...header, ifi_flags: 0, ifi_change: IFF_UP }, {}, subject, refusals);
    header.ifi_change &= ~IFF_UP;
  }
  if (kind !== undefined) yield* changeSettings(context, index, kind, (changes as AnyData)[kind] as object, subject);
  if (changes.kindData !== undefined) yield* changeRaw(context, index, changes.kindData, subject);
  if (later.altNames !== undefined) yield* setAltNames(context, index, later.altNames, subject);
  if (header.ifi_change !== 0 || Object.keys(attributes).length > 0 || !isMore)
    yield* setLink(context, header, attributes, subject, refusals);
  for (const field of PORT_FIELDS)
    if (later[field] !== undefined) yield* changePort(context, index, field, later[field], subject);
}

/**
 * Leaves out the settings that already have the given value. A link that was read has all settings, and drivers refuse some even unchanged.
 */
function dropWhatIs(
  link: Link,
  changes: LinkChanges,
  header: LinkHeader,
  attributes: Partial<LinkAttributes>,
  later: LaterSettings,
): void {
  const now = link as object as AnyData;
  for (const key of Object.keys(attributes) as (keyof LinkAttributes)[]) {
    const value = key === 'master' ? changes.master : attributes[key];
    if (JSON.stringify(now[key]) === JSON.stringify(value)) delete attributes[key];
  }
  // An ipvlan or ipvtap shares the hardware address of the device below.
  if (link.kind === 'ipvlan' || link.kind === 'ipvtap') delete attributes.address;
  if (JSON.stringify(now.altNames) === JSON.stringify(later.altNames)) delete later.altNames;
  for (const [key, bit, usual] of FLAGS) if ((now[key] ?? usual) === (changes[key] ?? usual)) header.ifi_change &= ~bit;
  header.ifi_flags &= header.ifi_change;
}

function* setLink(
  { exchange, kinds }: LinkContext,
  header: LinkHeader,
  value: Partial<LinkAttributes>,
  subject: object,
  refusals: Refusals,
): Operation<void> {
  const call = request(kinds.messages, {
    syscall: 'RTM_SETLINK',
    type: RTM_SETLINK,
    header,
    value,
    subject,
    rename: path => (path[0] === 'name' ? ['newName'] : kinds.fieldOf(path)),
    refusals,
  });
  yield* exchange.request(call);
}

/** Changes the settings of the device's kind. */
function* changeSettings(
  context: LinkContext,
  index: number,
  name: string,
  given: object,
  subject: object,
): Operation<void> {
  const { exchange, devices, kinds } = context;
  const kind = kinds.kindOf(name, ['kind']);
  const link = yield* readOne(context, index);
  if (link.kind !== name)
    throw rangeError([name], `nothing: ${quote(link.name)} is of kind ${link.kind ?? 'none'}`, given, 'ERR_CONFLICT');
  const settings = kind.change(given, ((link as object as AnyData)[name] ?? {}) as object, [name]) as
    | AnyData
    | undefined;
  if (settings === undefined) return;
  const data = kind.toWire(settings) as AnyData;
  yield* resolveDevices(devices, kind, data, subject);
  if (kind.replacesAll && kind.linkRow !== undefined && link.link !== undefined)
    data[kind.linkRow] = typeof link.link === 'number' ? link.link : yield* devices.indexOf(link.link, 'link', subject);
  const options = { ...subject, name: link.name } as NewLink;
  yield* exchange.request(
    request(kinds.messages, {
      syscall: 'RTM_NEWLINK',
      type: RTM_NEWLINK,
      header: { ...LINK_HEADER, ifi_index: index },
      value: { info: { kind: name, [name]: data } },
      subject,
      rename: path => kinds.fieldOf(path, options),
      refusals: kind.refusals(options),
    }),
  );
  yield* verify(context, index, kind, given, name);
}

/** Changes the data of a kind that is not decoded. The kernel decides which of its attributes change something. */
function* changeRaw(context: LinkContext, index: number, kindData: string, subject: object): Operation<void> {
  const { exchange, kinds } = context;
  const { name, kind, kindData: before } = yield* readOne(context, index);
  if (kindData === before) return;
  if (kind === undefined || kinds.known(kind) !== undefined)
    throw rangeError(
      ['kindData'],
      `nothing: the settings of ${quote(name)} are in the field ${kind ?? 'of its kind'}`,
      kindData,
      'ERR_CONFLICT',
    );
  yield* exchange.request(
    request(kinds.messages, {
      syscall: 'RTM_NEWLINK',
      type: RTM_NEWLINK,
      header: { ...LINK_HEADER, ifi_index: index },
      value: { info: { kind, kindData } },
      subject,
      rename: path => kinds.fieldOf(path),
    }),
  );
  if ((yield* readOne(context, index)).kindData === before)
    throw new UnsupportedError(`kindData ${JSON.stringify(kindData)} of a device of kind ${kind}`);
}

/** Changes the settings of a device as a port of a bridge, or as a part of a bond. */
function* changePort(
  context: LinkContext,
  index: number,
  field: (typeof PORT_FIELDS)[number],
  given: object,
  subject: object,
): Operation<void> {
  const { exchange, devices, kinds } = context;
  const kind = portNamed(field);
  const master = field === 'port' ? 'bridge' : 'bond';
  const link = yield* readOne(context, index);
  if (link.slaveKind !== master)
    throw rangeError([field], `nothing: ${quote(link.name)} is not a port of a ${master}`, given, 'ERR_CONFLICT');
  const settings = kind.change(given, link[field] ?? {}, [field]) as AnyData | undefined;
  if (settings === undefined) return;
  yield* resolveDevices(devices, kind, settings, subject);
  yield* exchange.request(
    request(kinds.messages, {
      syscall: 'RTM_NEWLINK',
      type: RTM_NEWLINK,
      header: { ...LINK_HEADER, ifi_index: index },
      value: { info: { slaveKind: master, [field]: settings } },
      subject,
      rename: path => kinds.fieldOf(path),
      refusals: kind.refusals({ name: link.name, [field]: given } as NewLink),
    }),
  );
  yield* verify(context, index, kind, given, field);
}

/** Reads the settings back, because kernels acknowledge settings that they do not know. */
function* verify(
  context: LinkContext,
  index: number,
  kind: AnyLinkKind,
  given: object,
  field: string,
): Operation<void> {
  let link: Link;
  try {
    link = yield* readOne(context, index);
  } catch (error) {
    // The change succeeded, but the device has been removed since.
    if (error instanceof NetlinkError && error.code === 'ENODEV') return;
    throw error;
  }
  const now = ((link as object as AnyData)[field] ?? {}) as AnyData;
  const ignored = kind.ignored(given, now);
  if (ignored === undefined) return;
  const row = ignored.field.slice(kind.name.length + 1);
  const [wanted, got] = [(given as AnyData)[row], now[row]].map(value => JSON.stringify(value));
  throw new UnsupportedError(
    `${ignored.field} ${wanted}${got === undefined ? '' : ` (the kernel made it ${got})`}`,
    ignored.since,
  );
}

/** Makes the given list the complete list of a device's alternative names. */
function* setAltNames(
  context: LinkContext,
  index: number,
  names: NonNullable<LaterSettings['altNames']>,
  subject: object,
): Operation<void> {
  const { altNames = [] } = yield* readOne(context, index);
  const old = altNames.filter(name => !names.includes(name));
  if (old.length > 0) yield* changeAltNames(context, 'RTM_DELLINKPROP', index, old, subject);
  yield* addAltNames(
    context,
    index,
    names.filter(name => !altNames.includes(name)),
    subject,
  );
}

function* addAltNames(context: LinkContext, index: number, names: string[], subject: object): Operation<void> {
  // The kernel adds the names of a list one by one. If it refuses one, the names before it stay.
  if (names.length > 0) yield* changeAltNames(context, 'RTM_NEWLINKPROP', index, names, subject);
}

function* changeAltNames(
  { exchange, kinds }: LinkContext,
  syscall: 'RTM_NEWLINKPROP' | 'RTM_DELLINKPROP',
  index: number,
  altNames: string[],
  subject: object,
): Operation<void> {
  const adds = syscall === 'RTM_NEWLINKPROP';
  const call = request(kinds.messages, {
    syscall,
    type: adds ? RTM_NEWLINKPROP : RTM_DELLINKPROP,
    flags: adds ? CREATE : 0,
    header: { ...LINK_HEADER, ifi_index: index },
    value: { altNames },
    subject,
    rename: () => ['altNames'],
    refusals: {
      hints: { EEXIST: 'a device has one of these names already', EOPNOTSUPP: 'Linux 5.5 has other names' },
      blame: { EEXIST: ['altNames'], EINVAL: ['altNames'], EOPNOTSUPP: ['altNames'] },
    },
  });
  yield* exchange.request(call);
}
