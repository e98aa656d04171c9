import { BatchError, isExists, isNotFound, NetlinkError, StateError } from '../errors.ts';
import type { Transaction } from '../nftables/index.ts';
import type { NftablesOperations } from '../nftables/nftables.ts';
import type { Operation } from '../transport/index.ts';

/** The remark by which a later process of this library knows a table as the library's. */
export const OWNED = 'managed by netsteer';
export const FAMILY = 'inet';

/**
 * Whether a table of this library's is there.
 * @throws StateError ERR_FOREIGN_TABLE somebody else has a table of that name
 */
export function* findOwned(nft: NftablesOperations, name: string): Operation<boolean> {
  const [table] = yield* nft.tables({ family: FAMILY, table: name });
  if (table === undefined) return false;
  if (table.comment === OWNED) return true;
  throw new StateError(
    'ERR_FOREIGN_TABLE',
    `the table ${FAMILY} ${name} has not the remark '${OWNED}': it is somebody else's (adopt({ force: true }) takes it)`,
  );
}

/** Others may change a table between our look and our commit; nobody does so this many times in a row. */
const ATTEMPTS = 10;

/** Commits what `changes` says, again where somebody else has changed the table since it was read. */
export function* commitAnew<T>(
  nft: NftablesOperations,
  self: T,
  changes: (this: T) => Operation<Transaction>,
): Operation<void> {
  for (let attempt = 1; ; attempt++) {
    const transaction = yield* changes.call(self);
    try {
      yield* nft.commit(transaction);
      return;
    } catch (error) {
      if (attempt === ATTEMPTS || !isClash(error)) throw error;
    }
  }
}

/** Something was there, or was not, otherwise than we had read. */
export function isClash(error: unknown): boolean {
  if (error instanceof BatchError) return error.failures.every(isClash);
  return error instanceof NetlinkError && (isExists(error) || isNotFound(error));
}
