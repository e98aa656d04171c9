import { checkObject, formatIPv4, formatIPv6, toBytes } from '../codec/index.ts';
import { isNotFound, StateError, typeError } from '../errors.ts';
import { Transaction } from '../nftables/index.ts';
import { NftablesOperations } from '../nftables/nftables.ts';
import { type Exchange, type Operation, twoForms } from '../transport/index.ts';
import { commitAnew, FAMILY, findOwned, isClash } from './owned-table.ts';
import {
  createRedirects,
  keyOf,
  type Ports,
  REDIRECT_CHAIN,
  REDIRECTS,
  type Redirect,
  type RedirectDrift,
  type RedirectKey,
  RedirectSet,
  redirectOf,
  removeKeys,
  VERSIONS,
} from './redirect-set.ts';

const TABLE = { family: FAMILY, name: REDIRECTS } as const;
const PLACE = { family: FAMILY, table: REDIRECTS } as const;
const PROTOCOL_NAMES: Record<number, Redirect['protocol']> = {
  6: 'tcp',
  17: 'udp',
  33: 'dccp',
  132: 'sctp',
  136: 'udplite',
};

/**
 * A container's redirects: one base chain, and for each IP version one rule and one map, so that 100,000 of them cost a packet one look-up,
 * and a change one element. They stand in a table of their own, `inet netsteer-redirects`, known by its comment.
 */
export class RedirectsOperations {
  readonly #nft: NftablesOperations;

  constructor(exchange: Exchange, nft = new NftablesOperations(exchange)) {
    this.#nft = nft;
  }

  /**
   * Makes these the container's redirects, and no others, in one transaction of what differs from what is there.
   * @throws TypeError, RangeError with the place in the list
   * @throws StateError ERR_FOREIGN_TABLE somebody else has a table of that name
   */
  *set(redirects: readonly Redirect[] | RedirectSet): Operation<void> {
    yield* this.#bring(wantedOf(redirects), true);
  }

  /** Makes sure that these are there, each leading to its port. The others stay. */
  *add(redirects: readonly Redirect[]): Operation<void> {
    const wanted = wantedOf(redirects);
    if (yield* findOwned(this.#nft, REDIRECTS)) {
      try {
        // The kernel takes what is there already, and refuses what leads elsewhere: nothing has to be read.
        yield* this.#nft.commit(wanted.change(new Transaction(), new Map(), false));
        return;
      } catch (error) {
        if (!isClash(error)) throw error;
      }
    }
    yield* this.#bring(wanted, false);
  }

  /** Makes sure that these are not there. */
  *remove(keys: readonly RedirectKey[]): Operation<void> {
    if (!Array.isArray(keys)) throw typeError([], 'an array of redirects', keys);
    const names = new Set(keys.map(keyOf));
    yield* commitAnew(this.#nft, this, function* (this: RedirectsOperations) {
      const present = yield* this.#present();
      return removeKeys(
        new Transaction(),
        [...names].filter(name => present?.has(name)),
      );
    });
  }

  /** The redirects that are there. */
  *list(): Operation<Redirect[]> {
    return listOf(yield* this.#present());
  }

  /** How what is there differs from these. */
  *differences(redirects: readonly Redirect[] | RedirectSet): Operation<RedirectDrift> {
    return wantedOf(redirects).differences((yield* this.#present()) ?? new Map());
  }

  /**
   * Takes over what an earlier process has left, and returns it: chain, rules and maps are mended where somebody has changed them. The other
   * operations recognise it too. With `force`, a table of that name that is somebody else's is replaced by an empty one of ours.
   * @throws StateError ERR_FOREIGN_TABLE somebody else has a table of that name
   */
  *adopt(options: { force?: boolean } = {}): Operation<Redirect[]> {
    checkObject(options, [], ['force']);
    try {
      const present = yield* this.#present();
      if (present !== undefined) yield* this.#bring(new RedirectSet(listOf(present)), true);
      return listOf(present);
    } catch (error) {
      const foreign = error instanceof StateError && error.code === 'ERR_FOREIGN_TABLE';
      if (options.force !== true || !foreign) throw error;
      yield* this.#nft.commit(createRedirects(new Transaction().delete({ table: TABLE }), new Map()));
      return [];
    }
  }

  /** Removes all of it: redirects, maps, rules, chain and table. */
  *release(): Operation<void> {
    if (yield* findOwned(this.#nft, REDIRECTS)) yield* this.#nft.commit(new Transaction().destroy({ table: TABLE }));
  }

  *#bring(wanted: RedirectSet, exactly: boolean): Operation<void> {
    yield* commitAnew(this.#nft, this, function* (this: RedirectsOperations) {
      const present = yield* this.#present();
      if (present === undefined) return wanted.fresh;
      if (yield* this.#isWhole()) return wanted.change(new Transaction(), present, exactly);
      // Somebody has damaged it: it is made anew, in the same transaction.
      const kept: Ports = exactly ? wanted.ports : new Map([...present, ...wanted.ports]);
      return createRedirects(new Transaction().delete({ table: TABLE }), kept);
    });
  }

  /** The port of each key; undefined where there is no table. A map that somebody has removed counts as empty. */
  *#present(): Operation<Map<string, number> | undefined> {
    if (!(yield* findOwned(this.#nft, REDIRECTS))) return undefined;
    const present = new Map<string, number>();
    for (const { map, length } of VERSIONS) {
      try {
        for (const { key, data } of yield* this.#nft.elements({ ...PLACE, name: map }))
          readElement(present, key, data, length);
      } catch (error) {
        if (!isNotFound(error)) throw error;
      }
    }
    return present;
  }

  /** Each map has the rule that looks it up. */
  *#isWhole(): Operation<boolean> {
    const rules = yield* this.#nft.rules({ ...PLACE, chain: REDIRECT_CHAIN });
    const sets = yield* this.#nft.sets(PLACE);
    const looksUp = (map: string) =>
      rules.some(({ expressions = [] }) => expressions.some(each => 'lookup' in each && each.lookup.set === map));
    const whole = VERSIONS.every(({ map }) => looksUp(map) && sets.some(({ name }) => name === map));
    return whole && rules.length === VERSIONS.length;
  }
}

/** The redirects of one container, in both forms. They share the socket of its `nftables`. */
export class Redirects extends twoForms(RedirectsOperations) {}

const wantedOf = (redirects: readonly Redirect[] | RedirectSet): RedirectSet =>
  redirects instanceof RedirectSet ? redirects : new RedirectSet(redirects);

const listOf = (present: Ports = new Map()): Redirect[] => [...present].map(([key, port]) => redirectOf(key, port));

/** An element's key and value as the kernel has them: each part of the key is filled up to four bytes. What is none of ours is left out. */
function readElement(present: Map<string, number>, key: unknown, data: unknown, length: number): void {
  if (typeof key !== 'string' || typeof data !== 'string') return;
  const bytes = toBytes(key);
  const protocol = PROTOCOL_NAMES[bytes?.[length] ?? 0];
  if (bytes === undefined || protocol === undefined) return;
  const address = length === 4 ? formatIPv4(bytes) : formatIPv6(bytes);
  const port = bytes[length + 4]! * 256 + bytes[length + 5]!;
  present.set(`${address} ${protocol} ${port}`, Number.parseInt(data, 16));
}
