import { checkInteger, checkObject, checkOneOf, checkString } from '../../codec/index.ts';
import { type Path, rangeError, typeError } from '../../errors.ts';

/** The server that a check function is asked about. */
export interface CheckedServer {
  /** The name of the service. */
  service: string;
  /** The name of the server. */
  name: string;
  /** Its address. */
  address: string;
  /** The port that is checked. */
  port: number;
}

/** When servers are checked, and how many answers it takes to change a verdict. */
export interface HealthTiming {
  /** The time from the start of a check to the start of the next one, in milliseconds: 50 to 2^31-1. Default 2000. */
  intervalMs?: number;
  /** The time from the start of a check to its failure, in milliseconds: 10 to 2^31-1. Default 1000. */
  timeoutMs?: number;
  /** The part of the interval by which the time to the next check varies at random, so that checks do not come together: 0 to 1, default 0.1. */
  jitter?: number;
  /** The number of good checks in a row after which a failed server is healthy, 1 to 1000. Default 2. */
  rise?: number;
  /** The number of bad checks in a row after which a server has failed, 1 to 1000. Default 3. */
  fall?: number;
  /** The port to check. Default: the server's own, `toPort` or `port`. */
  port?: number;
  /** What a failed server gets: weight 0, so that its connections stay, or removal. Default 'weight', and 'remove' with persistence. */
  onFailure?: 'weight' | 'remove';
  /**
   * For how long, in milliseconds, the weight of a server that comes back rises in steps: 0 to 2^31-1, default 0. It is for schedulers that
   * count connections (lc, wlc, sed, nq): they would give a server without any all the new ones. sh, mh and dh refuse it.
   */
  slowStartMs?: number;
}

/** A check by a TCP connection: the server's kernel takes it. */
export interface TcpCheck {
  /** End the connection by FIN instead of RST. RST (the default) leaves no TIME_WAIT entry in the balancer. */
  closeByFin?: boolean;
}

/** A check by one request of HTTP/1.1, each on a connection of its own. */
export interface HttpCheck {
  /** The path. Default '/'. */
  path?: string;
  /** The method. Default 'GET'. */
  method?: 'GET' | 'HEAD' | 'OPTIONS';
  /** The Host header. Default: address and port. */
  host?: string;
  /** More headers. */
  headers?: Readonly<Record<string, string>>;
  /** The statuses that are good. Default: 200 to 399. */
  status?: number | readonly number[];
  /** The text or pattern that the first 64 KiB of the body must have. */
  body?: string | RegExp;
}

/** A check by HTTPS. */
export interface HttpsCheck extends HttpCheck {
  /** The name that the certificate must have, also sent as SNI. Default: the certificate is checked against the address. */
  serverName?: string;
  /** Certificates of the authorities that are trusted, as PEM. Default: those of Node. */
  ca?: string | readonly string[];
  /** Take any certificate. Default false. */
  insecure?: boolean;
}

/** A check by a datagram and its answer. Silence is a failure: an open UDP port that says nothing looks like a dead server. */
export interface UdpCheck {
  /** The datagram: a text, or bytes. */
  payload: string | Uint8Array;
  /** The text or the bytes that the answer must contain, or its pattern. Default: any answer is good. */
  answer?: string | Uint8Array | RegExp;
}

/** How the servers of a service are checked: one of tcp, http, https, udp and exec, and the timing. */
export type HealthCheck = HealthTiming &
  (
    | {
        /** A TCP connection. */
        tcp: true | TcpCheck;
        http?: never;
        https?: never;
        udp?: never;
        exec?: never;
      }
    | {
        /** A request by HTTP. */
        http: true | HttpCheck;
        tcp?: never;
        https?: never;
        udp?: never;
        exec?: never;
      }
    | {
        /** A request by HTTPS. */
        https: true | HttpsCheck;
        tcp?: never;
        http?: never;
        udp?: never;
        exec?: never;
      }
    | {
        /** A datagram and its answer. */
        udp: UdpCheck;
        tcp?: never;
        http?: never;
        https?: never;
        exec?: never;
      }
    | {
        /**
         * A function. Its promise (or value) is the verdict, an error is a failure. The signal aborts when the time is over. It runs in the home
         * namespace: sockets that it opens are there, not in the balancer.
         */
        exec: (server: CheckedServer, signal: AbortSignal) => boolean | Promise<boolean>;
        tcp?: never;
        http?: never;
        https?: never;
        udp?: never;
      }
  );

/** A check as it is run, with its defaults. */
export interface Check {
  readonly kind: 'tcp' | 'http' | 'https' | 'udp' | 'exec';
  readonly intervalMs: number;
  readonly timeoutMs: number;
  readonly jitter: number;
  readonly rise: number;
  readonly fall: number;
  readonly port: number | undefined;
  readonly onFailure: 'weight' | 'remove';
  readonly slowStartMs: number;
  readonly tcp: TcpCheck;
  readonly http: HttpsCheck;
  readonly udp: UdpCheck | undefined;
  readonly exec: ((server: CheckedServer, signal: AbortSignal) => boolean | Promise<boolean>) | undefined;
}

const KINDS = ['tcp', 'http', 'https', 'udp', 'exec'] as const;
const TIMING = ['intervalMs', 'timeoutMs', 'jitter', 'rise', 'fall', 'port', 'onFailure', 'slowStartMs'];
const HTTP = ['path', 'method', 'host', 'headers', 'status', 'body'];
const MOST_MS = 0x7fffffff;
/** Schedulers that choose by a hash: another weight moves clients to other servers. */
const BY_HASH: readonly string[] = ['sh', 'mh', 'dh'];

/** @throws TypeError, RangeError with the place */
export function readHealth(
  health: HealthCheck,
  { scheduler, persistence }: { scheduler: string; persistence?: unknown },
  path: Path,
): Check {
  checkObject(health, path, [...KINDS, ...TIMING]);
  const kinds = KINDS.filter(kind => health[kind] !== undefined);
  const [kind] = kinds;
  if (kind === undefined || kinds.length > 1)
    throw typeError(path, 'one of { tcp }, { http }, { https }, { udp }, { exec }', health);
  const { intervalMs = 2000, timeoutMs = 1000, jitter = 0.1, rise = 2, fall = 3, port, slowStartMs = 0 } = health;
  const { onFailure = persistence === undefined ? 'weight' : 'remove' } = health;
  checkInteger(intervalMs, [...path, 'intervalMs'], 50, MOST_MS);
  checkInteger(timeoutMs, [...path, 'timeoutMs'], 10, MOST_MS);
  if (typeof jitter !== 'number') throw typeError([...path, 'jitter'], 'a number from 0 to 1', jitter);
  if (!(jitter >= 0 && jitter <= 1)) throw rangeError([...path, 'jitter'], 'a number from 0 to 1', jitter);
  checkInteger(rise, [...path, 'rise'], 1, 1000);
  checkInteger(fall, [...path, 'fall'], 1, 1000);
  if (port !== undefined) checkInteger(port, [...path, 'port'], 1, 65_535);
  checkOneOf(onFailure, [...path, 'onFailure'], ['weight', 'remove']);
  checkInteger(slowStartMs, [...path, 'slowStartMs'], 0, MOST_MS);
  if (slowStartMs > 0 && BY_HASH.includes(scheduler))
    throw rangeError(
      [...path, 'slowStartMs'],
      `0 with the scheduler ${scheduler}, which moves clients when a weight changes`,
      slowStartMs,
    );
  return {
    kind,
    intervalMs,
    timeoutMs,
    jitter,
    rise,
    fall,
    port,
    onFailure,
    slowStartMs,
    tcp: readTcp(health.tcp, [...path, 'tcp']),
    http: readHttp(kind === 'https' ? health.https : health.http, [...path, kind], kind === 'https'),
    udp: health.udp === undefined ? undefined : readUdp(health.udp, [...path, 'udp']),
    exec: readExec(health.exec, [...path, 'exec']),
  };
}

function readTcp(tcp: true | TcpCheck | undefined, path: Path): TcpCheck {
  if (tcp === undefined || tcp === true) return {};
  checkObject(tcp, path, ['closeByFin']);
  if (tcp.closeByFin !== undefined && typeof tcp.closeByFin !== 'boolean')
    throw typeError([...path, 'closeByFin'], 'true or false', tcp.closeByFin);
  return tcp;
}

function readHttp(http: true | HttpsCheck | undefined, path: Path, secure: boolean): HttpsCheck {
  if (http === undefined || http === true) return {};
  checkObject(http, path, secure ? [...HTTP, 'serverName', 'ca', 'insecure'] : HTTP);
  const { path: target, method, host, headers, status, body, serverName } = http;
  if (target !== undefined) {
    checkString(target, [...path, 'path'], 4096);
    if (!/^\/[!-~]*$/.test(target))
      throw rangeError([...path, 'path'], "a path that begins with '/', of printable ASCII without spaces", target);
  }
  if (method !== undefined) checkOneOf(method, [...path, 'method'], ['GET', 'HEAD', 'OPTIONS']);
  for (const [name, text] of Object.entries({ host, serverName })) {
    if (text === undefined) continue;
    checkString(text, [...path, name], 255);
    if (!/^[!-~]+$/.test(text)) throw rangeError([...path, name], 'printable ASCII without spaces', text);
  }
  if (headers !== undefined) {
    if (typeof headers !== 'object' || headers === null)
      throw typeError([...path, 'headers'], 'an object of texts', headers);
    for (const [name, text] of Object.entries(headers)) {
      if (!/^[\w!#$%&'*+.^`|~-]+$/.test(name))
        throw rangeError([...path, 'headers', name], 'the name of a header', name);
      if (typeof text !== 'string' || /[^\t -~]/.test(text))
        throw typeError([...path, 'headers', name], 'printable ASCII', text);
    }
  }
  const statuses = status === undefined ? [] : typeof status === 'number' ? [status] : status;
  if (!Array.isArray(statuses)) throw typeError([...path, 'status'], 'a status, or an array of them', status);
  for (const each of statuses) checkInteger(each, [...path, 'status'], 100, 599);
  if (body !== undefined && typeof body !== 'string' && !(body instanceof RegExp))
    throw typeError([...path, 'body'], 'a text or a RegExp', body);
  return http;
}

function readUdp(udp: UdpCheck, path: Path): UdpCheck {
  checkObject(udp, path, ['payload', 'answer']);
  const { payload, answer } = udp;
  const length =
    typeof payload === 'string' ? Buffer.byteLength(payload) : payload instanceof Uint8Array ? payload.length : -1;
  if (length < 0) throw typeError([...path, 'payload'], 'a text or a Uint8Array', payload);
  if (length < 1 || length > 1400) throw rangeError([...path, 'payload'], '1 to 1,400 bytes', payload);
  if (
    answer !== undefined &&
    typeof answer !== 'string' &&
    !(answer instanceof Uint8Array) &&
    !(answer instanceof RegExp)
  )
    throw typeError([...path, 'answer'], 'a text, a Uint8Array or a RegExp', answer);
  return udp;
}

function readExec(exec: Check['exec'], path: Path): Check['exec'] {
  if (exec !== undefined && typeof exec !== 'function') throw typeError(path, 'a function', exec);
  return exec;
}
