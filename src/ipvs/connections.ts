import { checkObject, formatIPv4, formatIPv6, fromHex } from '../codec/index.ts';
import { DecodeError, NetNsError, printable, typeError } from '../errors.ts';
import type { OpenFile } from '../netns/access.ts';
import type { NetNs } from '../netns/netns.ts';
import { checkSignal, throwIfAborted } from '../signal.ts';

/** An address and port of a connection. */
export interface ConnectionEnd {
  /** The address of this end. */
  address: string;
  /** The port of this end. */
  port: number;
}

/** One entry of the connection table. */
export interface Connection {
  /**
   * 'tcp', 'udp', 'sctp' or another name that the kernel prints, in lower case. 'ip' is a template of persistence: it ties a client, or a network of
   * clients by its first address, to a destination. Its ports may be 0.
   */
  protocol: 'tcp' | 'udp' | 'sctp' | 'ip' | (string & {});
  /** Where the connection comes from. */
  client: ConnectionEnd;
  /** The address and port that the client connected to. In a template of a firewall mark the address is the mark, as four bytes. */
  virtual: ConnectionEnd;
  /** The real server. */
  destination: ConnectionEnd;
  /** The kernel's name of the state: 'ESTABLISHED', 'FIN_WAIT', 'UDP', 'NONE', 'ASSURED' ... */
  state: string;
  /** Seconds until the entry expires if no packet comes. */
  expiresSeconds: number;
  /** The persistence engine of a template, and the data it compares: with 'sip' the Call-ID. Both come from packets, so do not trust the text. */
  engine?: string;
  /** The data of a persistence engine. */
  engineData?: string;
}

/** How `Ipvs.connections` reads. */
export interface ConnectionsOptions {
  /** Called with each line that is no connection, and the reason; the line is left out. Default: the handle's logger warns. */
  onSkipped?: (line: string, reason: string) => void;
  /** Ends the iteration between two reads. */
  signal?: AbortSignal;
}

const FILE = '/proc/thread-self/net/ip_vs_conn';
/** The kernel fills at most a page for each read, and its lines are far shorter than this. */
const READ_BYTES = 64 * 1024;
const MAX_LINE = 2048;

/**
 * Reads the connection table of a namespace, /proc/net/ip_vs_conn, line by line. The file is opened inside the namespace and stays with it. It is read
 * off the main thread, one page at a time, so that a large table neither blocks the event loop nor fills the memory. The kernel searches its place
 * again for each page: connections that come or go meanwhile may be missed or seen twice, and the time grows with the square of the size.
 */
export async function* readConnections(
  open: () => NetNs,
  options: ConnectionsOptions,
  warn: (line: string, reason: string) => void,
  checkOpen = () => {},
): AsyncGenerator<Connection, void, undefined> {
  const signal = checkOptions(options);
  const { onSkipped = warn } = options;
  throwIfAborted(signal);
  const file = openTable(open);
  const next = async () => {
    checkOpen();
    const page = await readPage(file, signal);
    checkOpen();
    return page;
  };
  try {
    yield* connectionsIn(next, onSkipped);
  } finally {
    file.close();
  }
}

function checkOptions(options: ConnectionsOptions): AbortSignal | undefined {
  checkObject(options, [], ['onSkipped', 'signal']);
  const { onSkipped, signal } = options;
  if (onSkipped !== undefined && typeof onSkipped !== 'function')
    throw typeError(['onSkipped'], 'a function', onSkipped);
  return checkSignal(signal, ['signal']);
}

function openTable(open: () => NetNs): OpenFile {
  const netns = open();
  try {
    return netns.access.files.open(FILE);
  } catch (error) {
    const { errno, syscall } = error as NodeJS.ErrnoException;
    if (error instanceof NetNsError || errno === undefined) throw error;
    throw new NetNsError('the connection table /proc/net/ip_vs_conn', {
      errno,
      ...(syscall !== undefined && { syscall }),
      ...(errno === -2 && { hint: 'the kernel has no IPVS: load the module on the host (modprobe ip_vs)' }),
    });
  } finally {
    netns.close();
  }
}

/** Reads the next part of the file; '' at its end. */
async function readPage(file: OpenFile, signal: AbortSignal | undefined): Promise<string> {
  throwIfAborted(signal);
  const page = await file.read(READ_BYTES);
  throwIfAborted(signal);
  // Bytes, not UTF-8: the data of an engine comes from a client.
  return Buffer.from(page.buffer, page.byteOffset, page.length).toString('latin1');
}

/** The connections in a text that comes in parts. */
export async function* connectionsIn(
  next: () => Promise<string>,
  onSkipped: (line: string, reason: string) => void,
): AsyncGenerator<Connection, void, undefined> {
  let rest = '';
  let titled = false;
  for (let part = await next(); ; part = await next()) {
    const lines = (rest + part).split('\n');
    rest = part === '' ? '' : lines.pop()!;
    if (rest.length > MAX_LINE) throw new DecodeError('the connection table has a line without an end');
    for (const line of lines) {
      if (line === '') continue;
      if (!titled) {
        if (!line.startsWith('Pro ')) throw new DecodeError(`no connection table: it begins with ${show(line)}`);
        titled = true;
      } else {
        const connection = parseConnection(line);
        if (typeof connection === 'string') onSkipped(show(line), connection);
        else yield connection;
      }
    }
    if (part === '') return;
  }
}

const show = (line: string): string => printable(line.slice(0, 200));

/** Parses one line of the table. Returns the reason if it is no connection. */
export function parseConnection(line: string): Connection | string {
  const fields = /^(\S+) +(\S+) (\S+) (\S+) (\S+) (\S+) (\S+) (\S+) +(\d{1,10})(?: (\S+)(?: (.*))?)?\s*$/.exec(line);
  if (fields === null) return 'it has not the fields of a connection';
  const [, protocol = '', , , , , , , state = '', expires = '', engine, engineData] = fields;
  const ends = [2, 4, 6].map(at => endOf(fields[at]!, fields[at + 1]!));
  const [client, virtual, destination] = ends;
  if (!client || !virtual || !destination) return 'it has an address or port that is none';
  const connection: Connection = {
    protocol: protocol.toLowerCase(),
    client,
    virtual,
    destination,
    state,
    expiresSeconds: Number(expires),
  };
  if (engine !== undefined) {
    connection.engine = engine;
    connection.engineData = engineData ?? '';
  }
  return connection;
}

/** IPv4 is eight hexadecimal digits, IPv6 eight groups of four; a port is four digits. */
function endOf(address: string, port: string): ConnectionEnd | undefined {
  if (!/^[0-9A-Fa-f]{4}$/.test(port)) return undefined;
  const bytes = /^(?:[0-9A-Fa-f]{8}|(?:[0-9A-Fa-f]{4}:){7}[0-9A-Fa-f]{4})$/.test(address)
    ? fromHex(address.replaceAll(':', '').toLowerCase())
    : undefined;
  if (bytes === undefined) return undefined;
  return { address: bytes.length === 4 ? formatIPv4(bytes) : formatIPv6(bytes), port: Number.parseInt(port, 16) };
}
