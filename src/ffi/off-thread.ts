import fs from 'node:fs';
import { SOCK_NONBLOCK } from '../linux/socket.ts';
import { Calls } from './calls.ts';
import { settled } from './node-calls.ts';

/**
 * For backends without asynchronous calls that keep errno: they are made on a thread of Node's own pool. On a connected socket write(2) is
 * send(2) without flags, and read(2) on one that does not block is recv(2) with MSG_DONTWAIT.
 */
export abstract class CallsByNode extends Calls {
  /** Not blocking: a read off the thread must not wait. */
  override socket(domain: number, type: number, protocol: number): number {
    return super.socket(domain, type | SOCK_NONBLOCK, protocol);
  }

  protected sendAway(fd: number, bytes: Uint8Array, length: number): Promise<number> {
    return settled(done => fs.write(fd, bytes, 0, length, null, done));
  }
  protected recvAway(fd: number, into: Uint8Array): Promise<number> {
    return settled(done => fs.read(fd, into, 0, into.length, null, done));
  }
  protected async closeRangeAway(first: number, last: number): Promise<number> {
    let result = 0;
    for (let fd = first; fd <= last; fd++) result = await settled(done => fs.close(fd, done));
    return result;
  }
}
