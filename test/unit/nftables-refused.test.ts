import { describe, expect, it } from 'vitest';
import { BatchError, NetlinkError } from '../../src/errors.ts';
import { Exchange } from '../../src/netlink/index.ts';
import { MESSAGES } from '../../src/nf_tables/message.ts';
import { Nftables, Transaction } from '../../src/nftables/index.ts';
import { acknowledge, MemoryTransport, received, refuse } from '../support/memory-transport.ts';

/** The first message behind the batch's begin. */
const FIRST = 2;
const ENOMEM = -12;
const EOPNOTSUPP = -95;
const ENOENT = -2;

const BATCH_END = MESSAGES['batch-end'].number;

const transaction = () =>
  new Transaction().add({ table: { family: 'ip', name: 't' } }).add({ chain: { family: 'ip', table: 't', name: 'c' } });

/**
 * A kernel whose commit fails, and that gives the error the number of the first message. `own`: it is that message which is wrong, so that the messages
 * without the commit fail as well.
 */
function kernel(errno: number, { own = false } = {}) {
  return new MemoryTransport(bytes => {
    const messages = received(bytes);
    const commits = messages.some(({ type }) => type === BATCH_END);
    const first = messages.find(({ sequence }) => sequence === FIRST)!;
    const last = messages.filter(({ type }) => type !== BATCH_END).at(-1)!;
    const answers = [acknowledge(last)];
    return commits || own ? [refuse(first, errno), ...answers] : answers;
  });
}

function refused(wire: MemoryTransport): Error {
  using nft = new Nftables(new Exchange(wire, 'nftables'));
  try {
    nft.sync.commit(transaction());
  } catch (error) {
    return error as Error;
  }
  throw new Error('it was taken');
}

describe('an error with the number of the batch', () => {
  it('belongs to no operation where only the messages are known', () => {
    for (const [errno, hint] of [
      [ENOMEM, /no memory for the transaction as a whole/],
      [EOPNOTSUPP, /flag offload/],
    ] as const) {
      const wire = kernel(errno);
      const error = refused(wire);
      expect(error).toBeInstanceOf(NetlinkError);
      expect(error).toMatchObject({
        errno,
        syscall: 'NFNL_MSG_BATCH_END',
        operation: 'nftables.commit',
        path: [],
      });
      expect((error as NetlinkError).subject).toBeUndefined();
      expect((error as NetlinkError).hint).toMatch(hint);
      // The same bytes but for the end that commits.
      const [whole, alone] = wire.sent;
      expect(wire.sent.length).toBe(2);
      expect(received(alone!).map(({ type }) => type)).toEqual(
        received(whole!)
          .map(({ type }) => type)
          .slice(0, -1),
      );
    }
  });

  it('belongs to the first operation where that is refused again, and is not tested where only that is possible', () => {
    const again = kernel(EOPNOTSUPP, { own: true });
    const error = refused(again);
    expect(error).toBeInstanceOf(BatchError);
    expect((error as BatchError).failures).toMatchObject([{ index: 0, errno: EOPNOTSUPP, path: ['table'] }]);
    expect(again.sent.length).toBe(2);
    const plain = kernel(ENOENT);
    expect(refused(plain)).toMatchObject({ failures: [{ index: 0, errno: ENOENT }] });
    expect(plain.sent.length).toBe(1);
  });

  it('is kept where the second test fails', () => {
    const wire = new MemoryTransport(bytes => {
      const messages = received(bytes);
      if (!messages.some(({ type }) => type === BATCH_END)) return [-105];
      return [refuse(messages.find(({ sequence }) => sequence === FIRST)!, ENOMEM)];
    });
    expect(refused(wire)).toMatchObject({ failures: [{ index: 0, errno: ENOMEM }] });
  });

  it('of a dry run is not tested', () => {
    const wire = kernel(ENOMEM, { own: true });
    using nft = new Nftables(new Exchange(wire, 'nftables'));
    expect(() => nft.sync.commit(transaction(), { dryRun: true })).toThrow(BatchError);
    expect(wire.sent.length).toBe(1);
  });
});
