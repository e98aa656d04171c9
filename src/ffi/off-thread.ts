import fs from 'node:fs';

type Done = (error: NodeJS.ErrnoException | null, result?: number) => void;

/**
 * Calls on a thread of Node's own pool, for backends without asynchronous calls that keep errno: on a connected socket write(2) is send(2)
 * without flags, and read(2) on one that does not block is recv(2) with MSG_DONTWAIT.
 */
export const writeAway = (fd: number, bytes: Uint8Array, length: number): Promise<number> =>
  settle(done => fs.write(fd, bytes, 0, length, null, done));

export const readAway = (fd: number, into: Uint8Array): Promise<number> =>
  settle(done => fs.read(fd, into, 0, into.length, null, done));

export const closeAway = (fd: number): Promise<number> => settle(done => fs.close(fd, done));

function settle(call: (done: Done) => void): Promise<number> {
  return new Promise(resolve => {
    call((error, result = 0) => resolve(error === null ? result : (error.errno ?? -5)));
  });
}
