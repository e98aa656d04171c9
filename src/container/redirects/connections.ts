import { checkOneOf, type Source } from '../../codec/index.ts';
import { type FlowSelection, flushMatching } from '../../conntrack/flush.ts';
import { countFlows } from '../../conntrack/requests.ts';
import type { ByteSpan, FlowView } from '../../conntrack/view.ts';
import { FILTER_FIELDS, STATUS, type WireFlow } from '../../ctnetlink/tables.ts';
import { StateError, UnsupportedError } from '../../errors.ts';
import { IPPROTO_UDP, IPPROTO_UDPLITE } from '../../linux/in.ts';
import { AF_INET, AF_INET6 } from '../../linux/socket.ts';
import type { EventLoopBudget, Exchange, Operation } from '../../netlink/index.ts';
import { noPorts, type Ports } from './input.ts';
import { VERSIONS, type Version } from './maps.ts';
import { eachKey, PortMap } from './port-map.ts';
import { NO_RANGES, protocolNumberOf, RangeLookup, type Ranges } from './ranges.ts';

/*
 * The kernel applies a redirect to the first packet of a connection, and keeps the result in its table of connections. So a change of the
 * redirects does not change existing connections. Connections with an old translation are ended after the commit: before it, their next
 * packet would create the same entry again.
 */

/** Whether connections end when their redirect changes or goes. */
export type ConnectionPolicy = 'keep' | 'end';

/** Checks the option. @throws TypeError, RangeError with the name of the option */
export function checkConnections(connections: unknown): ConnectionPolicy | undefined {
  if (connections === undefined) return undefined;
  return checkOneOf(connections, ['connections'], ['keep', 'end'] as const);
}

/** Whether the protocol has no end of a connection: a UDP client that keeps its port would keep the old translation for ever. */
const isConnectionless = (protocol: number): boolean => protocol === IPPROTO_UDP || protocol === IPPROTO_UDPLITE;

/**
 * Collects the changes of a commit for which connections have to end. It is filled while the commit is made, and `end` is called after the
 * commit. If no connection has to end, it keeps and sends nothing.
 */
export class StaleConnections {
  readonly #option: ConnectionPolicy | undefined;
  /** Keys that are removed or get another target, with their old ports. */
  #gone: Ports | undefined;
  /** Keys that are new or get another target, with their new ports. */
  #made: Ports | undefined;
  /** The ranges before and after the commit, as far as they are known. */
  #before = NO_RANGES;
  #after = NO_RANGES;
  #rangesChange = false;
  /** Whether the redirection of the container's own connections was switched off ('gone') or on ('made'). */
  #output: 'gone' | 'made' | undefined;
  /** All keys before the commit. */
  #present: Ports | undefined;

  constructor(option: ConnectionPolicy | undefined) {
    this.#option = option;
  }

  /** Whether connections of this protocol end. */
  ends(protocol: number): boolean {
    return this.#option === undefined ? isConnectionless(protocol) : this.#option === 'end';
  }

  /** Whether connections of any of these keys' protocols end. */
  concern(ports: Ports): boolean {
    return VERSIONS.some(({ map, length }) => {
      const { keys, keyLength } = ports[map];
      for (let at = length; at < keys.length; at += keyLength) if (this.ends(keys[at]!)) return true;
      return false;
    });
  }

  /** Whether connections may end when all these redirects are made or removed. */
  concernAny({ ports, ranges }: { ports: Ports; ranges: Ranges }): boolean {
    return !this.keepsAll && (ranges.size > 0 || this.concern(ports));
  }

  /** Whether no connection ends, whatever the changes. */
  get keepsAll(): boolean {
    return this.#option === 'keep';
  }

  /** Notes keys of one IP version that are removed, with their old ports. */
  *noteGone({ map, length }: Version, gone: PortMap, budget: EventLoopBudget): Operation<void> {
    if (this.keepsAll) return;
    const { keys, keyLength } = gone;
    yield* eachKey(gone, budget, i => {
      if (!this.ends(keys[i * keyLength + length]!)) return;
      this.#gone ??= noPorts();
      this.#gone[map].take(gone, i);
    });
  }

  /** Notes keys of one IP version that are added, with their new ports. A key that gets another target is noted as gone, too. */
  *noteMade({ map, length }: Version, made: PortMap, budget: EventLoopBudget): Operation<void> {
    if (this.keepsAll) return;
    const { keys, keyLength } = made;
    yield* eachKey(made, budget, i => {
      if (!this.ends(keys[i * keyLength + length]!)) return;
      this.#made ??= noPorts();
      this.#made[map].take(made, i);
    });
  }

  /** Notes all redirects of a container that had none. */
  *noteAllMade({ ports, ranges }: { ports: Ports; ranges: Ranges }, budget: EventLoopBudget): Operation<void> {
    for (const version of VERSIONS) yield* this.noteMade(version, ports[version.map], budget);
    this.noteRanges(NO_RANGES, ranges);
  }

  /** Notes all redirects of a container that loses them. */
  *noteAllGone({ ports, ranges }: { ports: Ports; ranges: Ranges }, budget: EventLoopBudget): Operation<void> {
    for (const version of VERSIONS) yield* this.noteGone(version, ports[version.map], budget);
    this.noteRanges(ranges, NO_RANGES);
  }

  noteRanges(before: Ranges, after: Ranges): void {
    if (this.keepsAll || (before.size === 0 && after.size === 0)) return;
    this.#before = before;
    this.#after = after;
    this.#rangesChange = before.differences(after).some(range => this.ends(protocolNumberOf(range)));
  }

  noteOutput(before: boolean, after: boolean): void {
    if (!this.keepsAll && before !== after) this.#output = after ? 'made' : 'gone';
  }

  /** Notes all keys before the commit: if a range or the settings have changed, an exact redirect still wins over them. */
  notePresent(present: Ports): void {
    this.#present = present;
  }

  /**
   * Ends the connections with an old translation. Called after the commit.
   * @throws UnsupportedError the kernel has no ctnetlink; StateError ERR_CONNECTIONS_KEPT they could not be ended
   */
  *end(exchange: Exchange): Operation<void> {
    const all = this.#rangesChange || this.#output !== undefined;
    if (!this.#gone && !this.#made && !all) return;
    try {
      // The commit stays, so the caller's signal does not end this part.
      const { sendingBudget: budget } = exchange;
      if ((yield* countFlows(exchange)) === 0) return;
      const present = yield* this.#presentKeys(budget);
      for (const version of VERSIONS) {
        const { map } = version;
        const gone = this.#gone?.[map] ?? new PortMap(version.length + 8);
        const made = this.#made?.[map] ?? new PortMap(version.length + 8);
        if (gone.length + made.length === 0 && !all) continue;
        const flows = new StaleFlows(version, this, {
          gone,
          made,
          present: present?.[map],
          before: new RangeLookup(this.#before, version),
          after: new RangeLookup(this.#after, version),
          output: this.#output,
          narrow: !all,
        });
        yield* flushMatching(exchange, flows, budget);
      }
    } catch (error) {
      this.#report(error, exchange);
    }
  }

  /** The keys before the commit, in a map in which `find` finds them. Undefined if they do not matter. */
  *#presentKeys(budget: EventLoopBudget): Operation<Ports | undefined> {
    const present = this.#present;
    if (present === undefined || (!this.#rangesChange && this.#output === undefined)) return undefined;
    const all = noPorts();
    for (const { map, length } of VERSIONS) {
      const { keys, keyLength } = present[map];
      yield* eachKey(present[map], budget, i => {
        if (this.ends(keys[i * keyLength + length]!)) all[map].take(present[map], i);
      });
    }
    return all;
  }

  #report(error: unknown, exchange: Exchange): void {
    const state = 'the redirects are set, but connections with an old translation go on';
    if (error instanceof UnsupportedError) {
      // Without ctnetlink no connection can be ended. That matters only if the caller has asked for it, or an old translation is gone.
      const asked = this.#option === 'end' || this.#gone !== undefined || (this.#rangesChange && this.#before.size > 0);
      if (asked)
        throw new UnsupportedError(
          'ending connections',
          undefined,
          `its module nf_conntrack_netlink is not loaded; ${state} (pass { connections: 'keep' } to leave them)`,
        );
      exchange.observer.warn({ netns: exchange.transport.netnsInode }, 'connections to new redirects cannot be ended');
      return;
    }
    const why = error instanceof Error ? error.message : String(error);
    throw new StateError('ERR_CONNECTIONS_KEPT', `${state}: ${why}`, error);
  }
}

/** The changes of a commit, of one IP version. */
interface Changes {
  readonly gone: PortMap;
  readonly made: PortMap;
  /** All keys before the commit, if they matter. */
  readonly present: PortMap | undefined;
  readonly before: RangeLookup;
  readonly after: RangeLookup;
  readonly output: 'gone' | 'made' | undefined;
  /** Only connections to `gone` and `made` may have to end. */
  readonly narrow: boolean;
}

/** Selects the connections of one IP version that have an old translation. */
class StaleFlows implements FlowSelection {
  readonly #version: Version;
  readonly #stale: StaleConnections;
  readonly #changes: Changes;
  /** The key of the flow that is looked at. */
  readonly #key: PortMap;

  constructor(version: Version, stale: StaleConnections, changes: Changes) {
    this.#version = version;
    this.#stale = stale;
    this.#changes = changes;
    this.#key = new PortMap(version.length + 8, 1);
  }

  request(): { family: number; wire: WireFlow } {
    const { length } = this.#version;
    const family = length === 4 ? AF_INET : AF_INET6;
    const wire: WireFlow = {};
    const { gone, made, narrow } = this.#changes;
    if (!narrow) return { family, wire };
    // Connections that a redirect has translated have this flag. Those to a new key do not have it.
    if (made.length === 0)
      Object.assign(wire, { status: [STATUS['destination-nat']], statusMask: STATUS['destination-nat'] });
    const shared = sharedBytes([gone, made]);
    const same = (from: number, to: number) => shared.subarray(from, to).every(byte => byte >= 0);
    // Linux 6.1 and 6.18 compare IPv6 addresses the wrong way round, so the kernel is not asked to compare them.
    let fields = 0;
    const original: WireFlow['original'] = {};
    if (length === 4 && same(0, length)) {
      original.destination4 = shared.subarray(0, length).join('.');
      fields |= FILTER_FIELDS.destination;
    }
    if (same(length, length + 1)) {
      original.protocol = shared[length]!;
      fields |= FILTER_FIELDS.protocol;
      if (same(length + 4, length + 6)) {
        original.destinationPort = shared[length + 4]! * 256 + shared[length + 5]!;
        fields |= FILTER_FIELDS.destinationPort;
      }
    }
    if (fields === 0) return { family, wire };
    return { family, wire: { ...wire, original, filter: { originalFields: fields, replyFields: 0 } } };
  }

  matches(source: Source, { original, reply, status }: FlowView): boolean {
    const { length } = this.#version;
    const { destination, protocol, destinationPort: port } = original;
    if (!this.#stale.ends(protocol) || destination.end - destination.start !== length || port < 0) return false;
    const keys = this.#key.reserve();
    for (let i = 0; i < length; i++) keys[i] = source.bytes[destination.start + i]!;
    keys[length] = protocol;
    keys[length + 4] = port >> 8;
    keys[length + 5] = port;
    const { gone, made, present, output } = this.#changes;
    const wasAt = gone.find(this.#key, 0);
    const isAt = made.find(this.#key, 0);
    const stayed = wasAt < 0 && isAt < 0 ? (present?.find(this.#key, 0) ?? -1) : -1;
    const address = keys.subarray(0, length);
    let before: number | undefined;
    let after: number | undefined;
    if (stayed >= 0) before = after = present!.portAt(stayed);
    else {
      before = wasAt >= 0 ? gone.portAt(wasAt) : this.#changes.before.target(protocol, address, port);
      after = isAt >= 0 ? made.portAt(isAt) : this.#changes.after.target(protocol, address, port);
    }
    const translated = (status & STATUS['destination-nat']) !== 0;
    if (translated) {
      if (before === undefined || reply.sourcePort !== before) return false;
      return before !== after || (output === 'gone' && isLoopback(source, reply.source));
    }
    if (after === undefined || !isConnectionless(protocol) || (before !== undefined && output !== 'made')) return false;
    return reply.sourcePort === port && sameBytes(source, reply.source, destination);
  }
}

/** The bytes that all keys share; -1 where they differ. */
function sharedBytes(maps: readonly PortMap[]): Int16Array {
  let shared: Int16Array | undefined;
  for (const { keys, keyLength, length } of maps)
    for (let i = 0; i < length; i++) {
      shared ??= Int16Array.from(keys.subarray(0, keyLength));
      for (let at = 0; at < keyLength; at++) if (shared[at] !== keys[i * keyLength + at]) shared[at] = -1;
    }
  return shared ?? new Int16Array(0);
}

function isLoopback({ bytes }: Source, { start, end }: ByteSpan): boolean {
  if (end - start === 4) return bytes[start] === 127;
  return bytes.subarray(start, end).every((byte, i) => byte === (i === 15 ? 1 : 0));
}

function sameBytes({ bytes }: Source, one: ByteSpan, other: ByteSpan): boolean {
  const length = one.end - one.start;
  if (one.start < 0 || length !== other.end - other.start) return false;
  for (let i = 0; i < length; i++) if (bytes[one.start + i] !== bytes[other.start + i]) return false;
  return true;
}
