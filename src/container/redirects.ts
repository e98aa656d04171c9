import { checkObject } from '../codec/index.ts';
import { isNotFound, StateError } from '../errors.ts';
import { Transaction } from '../nftables/index.ts';
import { packedElements } from '../nftables/listing.ts';
import { NftablesOperations } from '../nftables/nftables.ts';
import { type Exchange, type Operation, twoForms } from '../transport/index.ts';
import { commitAnew, FAMILY, findOwned, isClash } from './owned-table.ts';
import {
  createRedirects,
  keysOf,
  listOf,
  noPorts,
  type Ports,
  REDIRECT_CHAIN,
  REDIRECTS,
  type Redirect,
  type RedirectDrift,
  type RedirectKey,
  RedirectSet,
  redirectsIn,
  removeRedirects,
  VERSIONS,
} from './redirect-set.ts';

const TABLE = { family: FAMILY, name: REDIRECTS } as const;
const PLACE = { family: FAMILY, table: REDIRECTS } as const;

/**
 * A container's redirects: one base chain, and for each IP version one rule and one map, so that 100,000 of them cost a packet one look-up,
 * and a change one element. They stand in a table of their own, `inet netsteer-redirects`, known by its comment.
 */
export class RedirectsOperations {
  readonly #exchange: Exchange;
  readonly #nft: NftablesOperations;

  constructor(exchange: Exchange, nft = new NftablesOperations(exchange)) {
    this.#exchange = exchange;
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
        yield* this.#nft.commit(wanted.addAll(new Transaction()));
        return;
      } catch (error) {
        if (!isClash(error)) throw error;
      }
    }
    yield* this.#bring(wanted, false);
  }

  /** Makes sure that these are not there. */
  *remove(keys: readonly RedirectKey[]): Operation<void> {
    const named = keysOf(keys);
    if (!(yield* findOwned(this.#nft, REDIRECTS))) return;
    try {
      // They are there nearly always, and then nothing has to be read.
      yield* this.#nft.commit(removeRedirects(new Transaction(), named));
      return;
    } catch (error) {
      if (!isClash(error)) throw error;
    }
    yield* commitAnew(this.#nft, this, function* (this: RedirectsOperations) {
      const present = (yield* this.#present()) ?? noPorts();
      const found = noPorts();
      for (const { map } of VERSIONS) {
        for (let i = 0; i < present[map].length; i++)
          if (named[map].find(present[map], i) >= 0) found[map].copy(present[map], i);
      }
      return removeRedirects(new Transaction(), found);
    });
  }

  /** The redirects that are there. */
  *list(): Operation<Redirect[]> {
    return listOf((yield* this.#present()) ?? noPorts());
  }

  /** How what is there differs from these. */
  *differences(redirects: readonly Redirect[] | RedirectSet): Operation<RedirectDrift> {
    return wantedOf(redirects).differences((yield* this.#present()) ?? noPorts());
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
      if (present === undefined) return [];
      const redirects = listOf(present);
      yield* this.#bring(new RedirectSet(redirects), true);
      return redirects;
    } catch (error) {
      const foreign = error instanceof StateError && error.code === 'ERR_FOREIGN_TABLE';
      if (options.force !== true || !foreign) throw error;
      yield* this.#nft.commit(createRedirects(new Transaction().delete({ table: TABLE }), noPorts()));
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
      const kept = exactly ? wanted.ports : wanted.with(present);
      return createRedirects(new Transaction().delete({ table: TABLE }), kept);
    });
  }

  /** Undefined where there is no table. A map that somebody has removed counts as empty. */
  *#present(): Operation<Ports | undefined> {
    if (!(yield* findOwned(this.#nft, REDIRECTS))) return undefined;
    const present = noPorts();
    for (const version of VERSIONS) {
      const { map } = version;
      try {
        yield* packedElements(this.#exchange, { ...PLACE, name: map }, () => {
          present[map].clear();
          return redirectsIn(version, present[map]);
        });
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
