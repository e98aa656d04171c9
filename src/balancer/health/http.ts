import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import { printable } from '../../errors.ts';
import type { NetNs } from '../../netns/index.ts';
import type { HttpsCheck } from './declaration.ts';
import { CheckFailure, type Deadline, dial } from './dial.ts';

/** How much of a body is looked at: an answer that does not end costs no more. */
const MOST_BODY_BYTES = 64 * 1024;
/** The headers of an answer have a bound, too. */
const MOST_HEADER_BYTES = 16 * 1024;

/**
 * One request of HTTP/1.1 over a connection of its own, opened in the balancer's namespace.
 * @throws CheckFailure
 */
export async function checkHttp(
  netns: NetNs,
  address: string,
  port: number,
  deadline: Deadline,
  check: HttpsCheck,
  secure: boolean,
): Promise<void> {
  const raw = await dial(netns, address, port, deadline);
  const { signal } = deadline;
  let socket: Socket = raw;
  const abort = () => socket.destroy(new CheckFailure('no answer in time'));
  signal.addEventListener('abort', abort, { once: true });
  if (signal.aborted) abort();
  try {
    if (secure) socket = await handshake(raw, address, check, signal);
    const response = await request(socket, address, port, check, signal);
    await judge(response, check);
  } finally {
    signal.removeEventListener('abort', abort);
    socket.destroy();
    // An error that comes later is nobody's.
    socket.on('error', () => {});
    raw.on('error', () => {});
    if (secure) raw.destroy();
    else raw.resetAndDestroy();
  }
}

function handshake(
  raw: Socket,
  address: string,
  { serverName, ca, insecure }: HttpsCheck,
  signal: AbortSignal,
): Promise<Socket> {
  const { connect } = process.getBuiltinModule('node:tls');
  return new Promise((resolve, reject) => {
    const socket = connect({
      socket: raw,
      ALPNProtocols: ['http/1.1'],
      // An address is no name for SNI; the certificate is then checked against the address.
      ...(serverName === undefined ? { host: address } : { servername: serverName }),
      ...(ca !== undefined && { ca: ca as string | string[] }),
      rejectUnauthorized: insecure !== true,
    });
    const abort = () => socket.destroy(new CheckFailure('no answer in time'));
    signal.addEventListener('abort', abort, { once: true });
    socket.once('secureConnect', () => {
      signal.removeEventListener('abort', abort);
      resolve(socket);
    });
    socket.once('error', error => {
      signal.removeEventListener('abort', abort);
      reject(asFailure(error));
    });
    socket.once('close', () => reject(new CheckFailure('the connection ended during the handshake')));
  });
}

function request(
  socket: Socket,
  address: string,
  port: number,
  check: HttpsCheck,
  signal: AbortSignal,
): Promise<IncomingMessage> {
  const { request: send } = process.getBuiltinModule('node:http');
  const { path = '/', method = 'GET', host, headers } = check;
  return new Promise((resolve, reject) => {
    // Without `agent`: with any agent, Node ignores `createConnection` and connects from the home namespace.
    const outgoing = send({
      createConnection: () => socket,
      host: address,
      port,
      path,
      method,
      maxHeaderSize: MOST_HEADER_BYTES,
      headers: {
        ...headers,
        host: host ?? (address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`),
        connection: 'close',
      },
    });
    const abort = () => outgoing.destroy(new CheckFailure('no answer in time'));
    signal.addEventListener('abort', abort, { once: true });
    outgoing.once('response', response => {
      signal.removeEventListener('abort', abort);
      resolve(response);
    });
    outgoing.once('error', error => {
      signal.removeEventListener('abort', abort);
      reject(asFailure(error));
    });
    outgoing.end();
  });
}

async function judge(response: IncomingMessage, { status, body }: HttpsCheck): Promise<void> {
  const { statusCode = 0 } = response;
  const wanted = typeof status === 'number' ? [status] : status;
  if (wanted === undefined ? statusCode < 200 || statusCode > 399 : !wanted.includes(statusCode)) {
    response.on('error', () => {});
    response.destroy();
    throw new CheckFailure(`status ${statusCode}`);
  }
  if (body === undefined) {
    response.on('error', () => {});
    response.destroy();
    return;
  }
  const parts: Buffer[] = [];
  let length = 0;
  try {
    for await (const part of response as AsyncIterable<Buffer>) {
      parts.push(part);
      length += part.length;
      if (length >= MOST_BODY_BYTES) break;
    }
  } catch (error) {
    throw asFailure(error);
  }
  const text = Buffer.concat(parts).subarray(0, MOST_BODY_BYTES).toString();
  const found =
    typeof body === 'string'
      ? text.includes(body)
      : new RegExp(body.source, body.flags.replace(/[gy]/g, '')).test(text);
  if (!found) throw new CheckFailure('the body lacks what is wanted');
}

/** Texts of servers are hostile: they are short and printable. */
function asFailure(error: unknown): CheckFailure {
  if (error instanceof CheckFailure) return error;
  const { message = '', code } = error as { message?: string; code?: string };
  return new CheckFailure(printable(`${code === undefined ? '' : `${code}: `}${message}`.slice(0, 200)));
}
