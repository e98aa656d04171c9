import type { Socket } from 'node:net';
import { parseIPv4, parseIPv6 } from '../../codec/index.ts';
import { describeErrno } from '../../errors.ts';
import type { Ffi } from '../../ffi/index.ts';
import {
  AF_INET,
  AF_INET6,
  SO_ERROR,
  SO_LINGER,
  SOCK_CLOEXEC,
  SOCK_DGRAM,
  SOCK_NONBLOCK,
  SOL_SOCKET,
} from '../../linux/socket.ts';
import type { NetNs } from '../../netns/index.ts';

/*
 * `net.connect` inside of `NetNs.run` opens its socket in the home namespace: Node opens it later. A check from there may even pass, because
 * somebody else has the address. So the socket is opened by a call of C inside, and is handed to Node when it has connected.
 */

const EINPROGRESS = -115;
/** Of an answer by UDP so much is read, and after so many that are none, the check has failed: a server cannot keep the checker busy. */
const MOST_ANSWER_BYTES = 4096;
const MOST_ANSWERS = 16;
/** `struct linger`: on, 0 seconds. The kernel then ends the connection by RST, and keeps no TIME_WAIT entry. */
const RESET = new Uint8Array(new Int32Array([1, 0]).buffer);

/** A failed check, in a few words. */
export class CheckFailure extends Error {}

/** The end of a check's time. An AbortSignal for each check by TCP would cost as much as its system calls. */
export class Deadline {
  #over = false;
  #call: (() => void) | undefined;

  /** Calls back when the time is over; the call before is forgotten. */
  onOver(call: (() => void) | undefined): void {
    this.#call = call;
    if (this.#over) call?.();
  }

  end(): void {
    if (this.#over) return;
    this.#over = true;
    this.#call?.();
  }

  /** For code that takes a signal. */
  get signal(): AbortSignal {
    const controller = new AbortController();
    this.onOver(() => controller.abort(new CheckFailure('no answer in time')));
    return controller.signal;
  }
}

/** `struct sockaddr_in` or `struct sockaddr_in6`. */
function addressOf(address: string, port: number): Uint8Array {
  const ipv4 = parseIPv4(address);
  if (ipv4 !== undefined) {
    const bytes = new Uint8Array(16);
    const view = new DataView(bytes.buffer);
    new Uint16Array(bytes.buffer, 0, 1)[0] = AF_INET;
    view.setUint16(2, port);
    bytes.set(ipv4, 4);
    return bytes;
  }
  const bytes = new Uint8Array(28);
  new Uint16Array(bytes.buffer, 0, 1)[0] = AF_INET6;
  new DataView(bytes.buffer).setUint16(2, port);
  bytes.set(parseIPv6(address)!, 8);
  return bytes;
}

/** A socket in another namespace. It is this object's until it is handed to Node. */
class Outbound {
  readonly #ffi: Ffi;
  readonly fd: number;
  #watch: { close(): void } | undefined;

  constructor(ffi: Ffi, fd: number) {
    this.#ffi = ffi;
    this.fd = fd;
  }

  /** Calls back once the socket is writable, or readable, or has failed. */
  wait(readiness: 'readable' | 'writable', ready: () => void): void {
    this.#watch = this.#ffi.watch(
      this.fd,
      () => {
        this.unwatch();
        ready();
      },
      readiness,
    );
  }

  /** libuv must forget the number before it is closed, or belongs to a net.Socket. */
  unwatch(): void {
    this.#watch?.close();
    this.#watch = undefined;
  }

  /** The error that the connection has had; 0 if none. */
  get error(): number {
    const value = new Int32Array(1);
    const result = this.#ffi.getsockopt(this.fd, SOL_SOCKET, SO_ERROR, new Uint8Array(value.buffer));
    return result < 0 ? result : -value[0]!;
  }

  close(byReset: boolean): void {
    this.unwatch();
    if (byReset) this.#ffi.setsockopt(this.fd, SOL_SOCKET, SO_LINGER, RESET);
    this.#ffi.close(this.fd);
  }
}

const failure = (errno: number, syscall: string): CheckFailure => {
  const { code, text } = describeErrno(errno);
  return new CheckFailure(`${code}: ${text} (${syscall})`);
};

/** Connects from inside a namespace. @throws CheckFailure */
function connect(netns: NetNs, address: string, port: number, deadline: Deadline): Promise<Outbound> {
  const { ffi } = netns.access;
  const domain = address.includes(':') ? AF_INET6 : AF_INET;
  const fd = netns.run(() => ffi.streamSocket(domain));
  if (fd < 0) return Promise.reject(failure(fd, 'socket'));
  const socket = new Outbound(ffi, fd);
  return new Promise((resolve, reject) => {
    const abort = () => {
      socket.close(true);
      reject(new CheckFailure('no answer in time'));
    };
    const settle = (errno: number) => {
      deadline.onOver(undefined);
      if (errno === 0) return resolve(socket);
      socket.close(true);
      reject(failure(errno, 'connect'));
    };
    const result = ffi.connect(fd, addressOf(address, port));
    if (result !== EINPROGRESS) return settle(result);
    deadline.onOver(abort);
    socket.wait('writable', () => settle(socket.error));
  });
}

/** Whether the kernel of a server takes a connection. @throws CheckFailure */
export async function checkTcp(
  netns: NetNs,
  address: string,
  port: number,
  deadline: Deadline,
  byFin: boolean,
): Promise<void> {
  const socket = await connect(netns, address, port, deadline);
  socket.close(!byFin);
}

/** A connected socket of Node's. Node closes it. @throws CheckFailure */
export async function dial(netns: NetNs, address: string, port: number, deadline: Deadline): Promise<Socket> {
  const outbound = await connect(netns, address, port, deadline);
  const { Socket } = process.getBuiltinModule('node:net');
  try {
    return new Socket({ fd: outbound.fd, readable: true, writable: true });
  } catch (error) {
    outbound.close(true);
    throw error;
  }
}

/** Sends a datagram and waits for one that `isGood`. Others are ignored. @throws CheckFailure */
export function checkUdp(
  netns: NetNs,
  address: string,
  port: number,
  deadline: Deadline,
  payload: Uint8Array,
  isGood: (answer: Uint8Array) => boolean,
): Promise<void> {
  const { ffi } = netns.access;
  const domain = address.includes(':') ? AF_INET6 : AF_INET;
  const fd = netns.run(() => ffi.socket(domain, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (fd < 0) return Promise.reject(failure(fd, 'socket'));
  const socket = new Outbound(ffi, fd);
  return new Promise((resolve, reject) => {
    const settle = (error?: CheckFailure) => {
      deadline.onOver(undefined);
      socket.close(false);
      if (error === undefined) resolve();
      else reject(error);
    };
    const abort = () => settle(new CheckFailure('no answer in time'));
    const into = new Uint8Array(MOST_ANSWER_BYTES);
    let wrong = 0;
    const look = () => {
      const length = ffi.recv(fd, into, 0, null);
      if (length === -11) return socket.wait('readable', look);
      if (length < 0) return settle(failure(length, 'recv'));
      if (isGood(into.subarray(0, length))) return settle();
      if (++wrong >= MOST_ANSWERS)
        return settle(new CheckFailure(`${MOST_ANSWERS} answers, and none is the wanted one`));
      socket.wait('readable', look);
    };
    // Connected: the kernel then tells of an unreachable port, and no other sender can answer.
    const connected = ffi.connect(fd, addressOf(address, port));
    if (connected < 0) return settle(failure(connected, 'connect'));
    const sent = ffi.send(fd, payload, payload.length, 0);
    if (sent < 0) return settle(failure(sent, 'send'));
    deadline.onOver(abort);
    socket.wait('readable', look);
  });
}
