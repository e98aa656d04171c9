import type { Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { describeErrno, rangeError } from '../errors.ts';
import { ffi } from '../ffi/index.ts';
import { AF_UNIX, SO_PEERCRED, SOL_SOCKET } from '../linux/socket.ts';

/** `struct sockaddr_un`: the family, and so many bytes of path with the NUL. */
const MAX_PATH = 108;
/** `struct ucred`: pid, uid and gid, each 32 bits. */
const UCRED_LENGTH = 12;
const EAGAIN = -11;
/** The queue of a daemon that is slow to accept is full for a while. */
const RETRY_MILLISECONDS = 10;

/**
 * Connects to a unix socket and asks the kernel who is at the other end: the user of the process that listens, as it was when it began to.
 * @throws Error with the errno's `code`; RangeError the path has a NUL, or does not fit
 */
export async function connectUnix(path: string, signal: AbortSignal): Promise<{ socket: Socket; uid: number }> {
  const backend = ffi();
  const address = addressOf(path);
  const fd = checked(backend.streamSocket(AF_UNIX), 'socket');
  try {
    let result = backend.connect(fd, address);
    while (result === EAGAIN) {
      await delay(RETRY_MILLISECONDS, undefined, { signal });
      result = backend.connect(fd, address);
    }
    checked(result, 'connect');
    const credentials = new Uint8Array(UCRED_LENGTH);
    checked(backend.getsockopt(fd, SOL_SOCKET, SO_PEERCRED, credentials), 'getsockopt');
    const { Socket } = process.getBuiltinModule('node:net');
    return { socket: new Socket({ fd, readable: true, writable: true }), uid: new Uint32Array(credentials.buffer)[1]! };
  } catch (error) {
    backend.close(fd);
    throw error;
  }
}

function addressOf(path: string): Uint8Array {
  const bytes = Buffer.from(path);
  if (bytes.length === 0 || bytes.length >= MAX_PATH || bytes.includes(0))
    throw rangeError(['socket'], `1 to ${MAX_PATH - 1} bytes without NUL`, path);
  // With a NUL in its first place it would name a socket outside of the file system.
  const address = new Uint8Array(2 + bytes.length + 1);
  new Uint16Array(address.buffer, 0, 1)[0] = AF_UNIX;
  address.set(bytes, 2);
  return address;
}

function checked(result: number, syscall: string): number {
  if (result >= 0) return result;
  const { code, text } = describeErrno(result);
  throw Object.assign(new Error(`${code}: ${text}, ${syscall}`), { code, errno: result, syscall });
}
