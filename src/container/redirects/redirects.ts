import { type Exchange, type Operation, syncAndAsync } from '../../netlink/index.ts';
import { NftablesOperations } from '../../nftables/nftables-operations.ts';
import { checkForce, type ForceOptions, type RedirectSettings, retryWhileMoved, settingsIn } from '../owned/table.ts';
import { type ConnectionPolicy, checkConnections, StaleConnections } from './connections.ts';
import type { Redirect, RedirectKey } from './input.ts';
import { VERSIONS } from './maps.ts';
import {
  besides,
  changeRedirects,
  keysOf,
  namedIn,
  type RedirectDrift,
  RedirectSet,
  removeRedirects,
  withoutNamed,
  withPresent,
} from './set.ts';
import { RedirectTable, settled } from './table.ts';

/** An option of calls that change redirects. */
export interface ConnectionPolicyOptions {
  /**
   * Whether connections end when the redirect that has translated them changes or goes. 'end' ends them right after the commit, so the new
   * redirects apply to their next packet. 'keep' leaves them as they are.
   *
   * Default: 'end' for UDP (and UDP-Lite), 'keep' for other protocols, as kube-proxy does. The kernel applies a redirect to the first
   * packet of a connection, so a UDP client that keeps its port would keep the old target for ever. A TCP connection ends by itself, and
   * its users want it to go on; 'end' resets it. UDP connections that began before a new redirect are ended, too: otherwise it would never
   * apply to them.
   */
  connections?: ConnectionPolicy;
}

/** The settings of a container's redirects, and how a change of them is made. */
export interface RedirectOptions extends Partial<RedirectSettings>, ForceOptions, ConnectionPolicyOptions {
  /** Ends the call between two requests. A change that was sent is not taken back: the promise tells its result. */
  signal?: AbortSignal;
}

const REPLACES = 'pass { force: true } to replace it';
const LIST_REMEDY = 'list({ force: true }) treats it as empty, adopt({ force: true }) replaces it';
const DIFFERENCES_REMEDY = 'differences(redirects, { force: true }) reports it';

/**
 * A container's redirects: one base chain, and for each IP version one rule and one map. So a packet costs one look-up beside 100,000
 * redirects, and a change costs one element. Redirects with a prefix, any address or several ports are in sets of ranges, which are looked
 * into where the map has no entry. All are in a table of their own, `inet netsteer-redirects`, which the library knows by its comment.
 *
 * `set`, `add`, `remove` and `adopt` mend changes that others have made to the table, or throw.
 */
export class RedirectsOperations {
  readonly #table: RedirectTable;

  constructor(exchange: Exchange, nft = new NftablesOperations(exchange)) {
    this.#table = new RedirectTable(exchange, nft);
  }

  /**
   * Makes these the container's only redirects, in one transaction that has only the differences. Settings that are left out get their
   * defaults.
   * @throws TypeError, RangeError with the place in the list; ERR_OVERLAP two ranges overlap and lead to different ports
   * @throws StateError ERR_FOREIGN_TABLE somebody else has a table of that name, and `force` is not set; ERR_CONNECTIONS_KEPT the redirects
   * are as wanted, but connections could not be ended
   * @throws UnsupportedError as ERR_CONNECTIONS_KEPT: the kernel has no nf_conntrack_netlink
   * @example
   * await web1.redirects.set([
   *   { protocol: 'tcp', address: '10.10.0.100', port: 80, toPort: 8080 },
   *   { protocol: 'tcp', address: '10.10.0.0/24', port: { from: 8000, to: 8010 }, toPort: 8080 },
   *   { protocol: 'udp', port: 53, toPort: 5353 },
   * ], { output: true });
   * @param redirects in any order
   * @param options the settings, `connections`, `force` and `signal`
   */
  *set(redirects: readonly Redirect[] | RedirectSet, options: RedirectOptions = {}): Operation<void> {
    const wanted = wantedOf(redirects, options);
    const stale = staleBy(options);
    yield* retryWhileMoved(() => this.#table.set(wanted, options.force === true, REPLACES, stale()));
  }

  /**
   * Adds these redirects, or changes their target port. The other redirects stay, and so do settings that are left out.
   * @throws as `set`; ERR_OVERLAP also with a range that is there
   * @example
   * await web1.redirects.add([{ protocol: 'tcp', address: '10.10.0.100', port: 443, toPort: 8443 }]);
   * @param redirects in any order
   * @param options settings that change, `connections`, `force` and `signal`
   */
  *add(redirects: readonly Redirect[], options: RedirectOptions = {}): Operation<void> {
    const given = givenIn(options);
    const wanted = new RedirectSet(redirects, given);
    const plain = Object.keys(given).length === 0 && wanted.ranges.size === 0;
    const stale = staleBy(options);
    if (plain && (yield* this.#table.addAtOnce(wanted, stale()))) return;
    const table = this.#table;
    yield* retryWhileMoved(function* () {
      const found = yield* table.find(options.force === true, REPLACES);
      const connections = stale();
      if (found === undefined) return yield* table.create(wanted, connections);
      const { elements } = found;
      const all = yield* besides(wanted, elements, table.budget);
      yield* table.bring(found, {
        settings: { ...found.settings, ...given },
        ranges: all.ranges,
        content: () => withPresent(all, elements.ports, table.budget),
        stale: 0,
        write: transaction => changeRedirects(transaction, all, elements, false, table.budget, connections),
        connections,
      });
    });
  }

  /**
   * Removes these redirects, if they are there. A range can only be removed as a whole.
   * @throws as `set`
   * @param keys protocol, address and port of each
   * @param options `connections`, `force` and `signal`
   * @example
   * await web1.redirects.remove([{ protocol: 'tcp', address: '10.10.0.100', port: 80 }]);
   */
  *remove(keys: readonly RedirectKey[], options: RedirectOptions = {}): Operation<void> {
    const given = givenIn(options);
    const named = keysOf(keys);
    const plain = Object.keys(given).length === 0 && named.ranges.size === 0;
    const stale = staleBy(options);
    if (plain && (yield* this.#table.removeAtOnce(named, stale()))) return;
    const table = this.#table;
    yield* retryWhileMoved(function* () {
      const found = yield* table.find(options.force === true, REPLACES);
      if (found === undefined) return;
      const { elements } = found;
      const connections = stale();
      yield* table.bring(found, {
        settings: { ...found.settings, ...given },
        ranges: elements.ranges.without(named.ranges),
        content: () => withoutNamed(elements, named, table.budget),
        stale: 0,
        *write(transaction) {
          const there = yield* namedIn(elements, named, table.budget);
          for (const version of VERSIONS) yield* connections.noteGone(version, there.ports[version.map], table.budget);
          return removeRedirects(transaction, there);
        },
        connections,
      });
    });
  }

  /**
   * Lists the redirects. With `force`, the table of somebody else counts as empty.
   * @throws StateError ERR_TOO_MANY the container's root has added too many; ERR_FOREIGN_TABLE as `set`
   * @param options `force`
   * @example
   * for (const { address, port, toPort } of await web1.redirects.list()) console.log(address, port, toPort);
   */
  *list(options: ForceOptions = {}): Operation<Redirect[]> {
    checkForce(options);
    const table = this.#table;
    return yield* retryWhileMoved(function* () {
      const found = yield* table.find(options.force === true, LIST_REMEDY);
      return found === undefined || found.foreign ? [] : yield* table.listed(found.elements);
    });
  }

  /**
   * Compares the table with what `set` would make of it: redirects, and in `differences` everything else, with nat chains of others that
   * see packets before ours. It changes nothing.
   * @example
   * const wanted: Redirect[] = [{ protocol: 'tcp', address: '10.10.0.100', port: 80, toPort: 8080 }];
   * const { missing, different, unexpected, differences = [] } = await web1.redirects.differences(wanted);
   * @param redirects those that are wanted
   * @param options the settings that are wanted, `force` and `signal`
   * @throws StateError ERR_FOREIGN_TABLE somebody else has a table of that name, and `force` is not set
   */
  *differences(redirects: readonly Redirect[] | RedirectSet, options: RedirectOptions = {}): Operation<RedirectDrift> {
    const wanted = wantedOf(redirects, options);
    return yield* retryWhileMoved(() => this.#table.differences(wanted, options.force === true, DIFFERENCES_REMEDY));
  }

  /**
   * Takes over the redirects of an earlier process, and returns them. It mends table, chains, rules and maps, and removes elements that are
   * no redirects. Settings that are left out stay. With `force`, the table of somebody else is replaced by an empty one of ours.
   * @throws StateError ERR_FOREIGN_TABLE somebody else has a table of that name, and `force` is not set
   * @param options settings that change, `force` and `signal`
   * @example
   * const redirects = await web1.redirects.adopt();
   */
  *adopt(options: RedirectOptions = {}): Operation<Redirect[]> {
    const given = givenIn(options);
    const table = this.#table;
    return yield* retryWhileMoved(function* () {
      const found = yield* table.find(options.force === true, REPLACES);
      if (found === undefined) return [];
      const { elements } = found;
      const redirects = yield* table.listed(elements);
      yield* table.bring(found, {
        settings: { ...found.settings, ...given },
        ranges: elements.ranges,
        content: () => settled(elements),
        stale: 0,
        write: settled,
        connections: new StaleConnections(options.connections),
      });
      return redirects;
    });
  }

  /**
   * Removes the table with its redirects, maps, rules and chains. With `force`, also the table of somebody else.
   * @param options `connections` and `force`
   * @throws StateError ERR_FOREIGN_TABLE somebody else has a table of that name, and `force` is not set
   * @example
   * await web1.redirects.release();
   */
  *release(options: ForceOptions & ConnectionPolicyOptions = {}): Operation<void> {
    checkForce(options, ['connections']);
    const stale = staleBy(options);
    const remedy = 'release({ force: true }) removes it';
    yield* retryWhileMoved(() => this.#table.release(options.force === true, remedy, stale()));
  }
}

function wantedOf(redirects: readonly Redirect[] | RedirectSet, options: RedirectOptions): RedirectSet {
  const given = givenIn(options);
  return redirects instanceof RedirectSet ? redirects : new RedirectSet(redirects, given);
}

function givenIn(options: RedirectOptions): Partial<RedirectSettings> {
  checkForce(options, ['priority', 'output', 'connections']);
  checkConnections(options.connections);
  return settingsIn(options);
}

/** Makes the record of an attempt: which connections it has to end. */
function staleBy({ connections }: ConnectionPolicyOptions): () => StaleConnections {
  checkConnections(connections);
  return () => new StaleConnections(connections);
}

/**
 * The redirects of one container, in both forms. They share the socket of its `nftables`.
 * @example
 * await web1.redirects.set([{ protocol: 'tcp', address: '10.10.0.100', port: 80, toPort: 8080 }]);
 */
export class Redirects extends syncAndAsync(RedirectsOperations) {}
