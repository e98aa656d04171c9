import { checkInteger, checkObject, checkString } from '../codec/index.ts';
import { rangeError, typeError } from '../errors.ts';
import { NETLINK_NETFILTER, NETLINK_NO_ENOBUFS, NETLINK_ROUTE } from '../linux/netlink.ts';
import { SO_RCVBUF, SO_RCVBUFFORCE, SOL_NETLINK, SOL_SOCKET } from '../linux/socket.ts';
import { NetlinkSocket, syncAndAsync } from '../netlink/index.ts';
import { closedError } from '../netlink/lifetime.ts';
import { runNow } from '../netlink/operation.ts';
import { type NetNs, netnsOf } from '../netns/netns.ts';
import { type Logger, Observer } from '../observe.ts';
import { checkSignal, onAbort, reasonOf, throwIfAborted } from '../signal.ts';
import type { PacketColumns } from './columns.ts';
import {
  type BacklogOptions,
  backlogOf,
  type Copy,
  checkGroup,
  type Queue,
  type Settings,
  settingsOf,
} from './config.ts';
import { Devices } from './devices.ts';
import { bind, LogExchange, letGo, NflogOperations } from './operations.ts';
import type { Packet, RuleResolver } from './packet.ts';
import { type Loss, PacketReader } from './reader.ts';
import {
  type Capture,
  CaptureSink,
  checkRotation,
  checkWritable,
  type LogSink,
  type Rotation,
  type Sink,
  type WritableTarget,
} from './sinks/capture.ts';
import { Delivery } from './sinks/delivery.ts';
import { type CaptureFormat, PcapFormat } from './sinks/pcap.ts';
import { PcapngFormat } from './sinks/pcapng.ts';
import { type RecordLogger, type RecordOptions, RecordSink } from './sinks/records.ts';

/** The options of a log. `R` is the type of the rules that `rules` returns. */
export interface NflogOptions<R = unknown> {
  /** The namespace of the rules; the process's own by default. */
  netns?: NetNs;
  /** The groups that rules log to, each 0 to 65535. A group has one listener in its namespace. */
  groups: readonly number[];
  /**
   * How much of each packet is copied; the whole packet (65,531 bytes) by default. 128 bytes are enough for
   * `summary()`.
   */
  copy?: Copy;
  /** How the kernel gathers packets before it hands them over. */
  queue?: Queue;
  /** Number the packets of each group, so that each loss is counted; true by default. 8 bytes of each packet. */
  sequence?: boolean;
  /**
   * Number the packets of all groups of the namespace too, to have their order in `packet.globalSequence`; false by
   * default.
   */
  globalSequence?: boolean;
  /**
   * Have the kernel add the connection of each packet; false by default. Fails with `ENOTSUP` if the kernel is built
   * without.
   */
  conntrack?: boolean;
  /**
   * Kernel memory for unread packets, in bytes, 4,096 to 1 GiB; 8 MiB by default. A packet of 100 bytes takes 231
   * bytes of it in a batch and 832 alone. Without CAP_NET_ADMIN in the initial user namespace the kernel limits it to
   * twice net.core.rmem_max: see `receiveBufferBytes`.
   */
  receiveBufferBytes?: number;
  /** What to do when a `for await` loop or a Writable is slower than its packets. */
  backlog?: BacklogOptions;
  /** The container's name in records and files. */
  name?: string;
  /**
   * Finds the rule that logs with this prefix to this group, for `packet.rule`. It is called when a packet is first
   * asked for its rule, at most once a second for each prefix. Anybody who can write rules in the namespace can use
   * the same prefix.
   */
  rules?: RuleResolver<R>;
  /** A logger such as pino's; nothing is logged without one. */
  logger?: Logger;
  /** Closes the log; its iterations throw the signal's reason. If it is already aborted `open` throws the reason. */
  signal?: AbortSignal;
}

/** Options that a container sets. @internal */
export interface LogSurroundings {
  /** Used instead of `rules`, and asked for each packet. */
  ruleOf?: RuleResolver;
  /** Called once the log is closed. */
  closed?: () => void;
}

const OPTIONS = [
  'netns',
  'groups',
  'copy',
  'queue',
  'sequence',
  'globalSequence',
  'conntrack',
  'receiveBufferBytes',
  'backlog',
  'name',
  'rules',
  'logger',
  'signal',
] as const satisfies (keyof NflogOptions)[];

/** Counts packets and losses since the log was opened. */
export interface NflogStats {
  /** Packets read. */
  readonly received: number;
  /** Packets missing between those read, exact up to the last number seen of each group; 0 with `sequence: false`. */
  readonly lostPackets: number;
  /** Batches that did not fit the receive buffer, up to this moment (the kernel's own counter of the socket, modulo 2^32). */
  readonly lostDatagrams: number;
  /** Packets that `backlog` dropped, of loops and files together. */
  readonly droppedByBacklog: number;
  /** Datagrams that did not come from the kernel. Their contents are not read. */
  readonly rejectedSenders: number;
}

const DEFAULT_RECEIVE_BUFFER = 8 * 1024 * 1024;
/**
 * Reads the packets that rules of one namespace log to NFLOG groups (nft `log group 5`, iptables `-j NFLOG`). A log
 * reads nothing, and does not keep the process alive, until somebody takes packets: a `for await` loop, `onBatch`,
 * `onColumns` or a sink.
 * @example
 * const log = Nflog.open({ netns, groups: [5] });
 * for await (const packet of log) console.log(packet.prefix, packet.summary());
 */
export class Nflog<R = unknown> extends syncAndAsync(NflogOperations) implements AsyncIterable<Packet<R>> {
  /**
   * Opens a socket in the namespace and binds the groups, before this returns. All or none: a group that is refused closes the log.
   * @throws NetlinkError with the path of the group: EPERM no CAP_NET_ADMIN, or another socket has the group (the hint says which);
   * ENOTSUP no `conntrack` in this kernel; EINVAL no NFLOG in it. The reason of a `signal` that is aborted.
   * @param options the groups, and where and how to listen
   * @example
   * const log = Nflog.open({ netns, groups: [5], name: 'web1' });
   * for await (const packet of log) console.log(packet.summary());
   */
  static open<R = unknown>(options: NflogOptions<R>): Nflog<R> {
    return Nflog.within(options, {});
  }

  /** @internal As `open`, for a container. */
  static within<R>(options: NflogOptions<R>, { ruleOf, closed }: LogSurroundings): Nflog<R> {
    checkObject(options, [], OPTIONS);
    const signal = checkSignal(options.signal, ['signal']);
    throwIfAborted(signal);
    const groups = groupsOf(options.groups);
    const settings = settingsOf(options);
    const backlog = backlogOf(options.backlog);
    const { receiveBufferBytes = DEFAULT_RECEIVE_BUFFER } = options;
    checkInteger(receiveBufferBytes, ['receiveBufferBytes'], 4096, 1 << 30);
    if (options.name !== undefined) checkString(options.name, ['name'], 4096);
    if (options.rules !== undefined && typeof options.rules !== 'function') {
      throw typeError(['rules'], 'a function', options.rules);
    }
    const netns = netnsOf(options);
    const observer = new Observer(options.logger);

    const socket = new NetlinkSocket({ netns, protocol: NETLINK_NETFILTER });
    let log: Nflog<R> | undefined;
    try {
      // Without this option a full buffer makes the kernel drop everything until the buffer is empty. Losses are
      // counted by other means.
      socket.setOption(SOL_NETLINK, NETLINK_NO_ENOBUFS, 1);
      const size = setReceiveBuffer(socket, receiveBufferBytes);
      if (size < receiveBufferBytes) {
        observer.warn(
          { netns: netns.inode, wanted: receiveBufferBytes, bytes: size },
          'the receive buffer is smaller than asked',
        );
      }
      // Opened now: the caller may have dropped the right to enter the namespace before the first name is needed.
      const devices = new Devices(new NetlinkSocket({ netns, protocol: NETLINK_ROUTE }));
      const { name, rules } = options;
      log = new Nflog<R>({
        socket,
        devices,
        netns,
        settings,
        backlog,
        observer,
        receiveBufferBytes: size,
        name,
        ruleOf: ruleOf ?? (rules && remember(rules)),
      });
      log.#closed = closed;
      log.#exchange.operation = 'nflog.open';
      for (const [i, group] of groups.entries()) {
        runNow(bind(log.#exchange, group, { subject: options, path: ['groups', i] }));
      }
      const opened = log;
      opened.#unlisten = onAbort(signal, () => {
        opened.#delivery.abort(reasonOf(signal!));
        opened.close();
      });
      return opened;
    } catch (error) {
      if (log !== undefined) log.close();
      else void socket.close();
      throw error;
    }
  }

  readonly #exchange: LogExchange;
  readonly #reader: PacketReader;
  readonly #delivery: Delivery;
  readonly #devices: Devices;
  readonly #backlog: Required<BacklogOptions>;
  readonly #name: string | undefined;
  readonly #sinks = new Set<LogSink>();
  #failure: unknown;
  #unlisten = () => {};
  #closed: (() => void) | undefined;
  #finishing = false;
  /** Bytes of the kernel's receive buffer in force. */
  readonly receiveBufferBytes: number;

  private constructor(parts: {
    socket: NetlinkSocket;
    devices: Devices;
    netns: NetNs;
    settings: Settings;
    backlog: Required<BacklogOptions>;
    observer: Observer;
    receiveBufferBytes: number;
    name: string | undefined;
    ruleOf: RuleResolver | undefined;
  }) {
    if (parts === undefined) throw typeError([], 'Nflog.open({ groups }), not new Nflog()', parts);
    const { socket, devices, observer, receiveBufferBytes, ruleOf } = parts;
    const delivery = new Delivery(parts.backlog);
    const reader = new PacketReader({
      socket,
      surroundings: { devices, ruleOf },
      receiver: delivery,
      observer,
      receiveBufferBytes,
    });
    delivery.connect(reader, error => {
      observer.warn({ netns: parts.netns.inode, error }, 'the log cannot be read any more');
      this.#failure = error;
      this.close();
    });
    const exchange = new LogExchange(reader, parts.netns, parts.settings, observer);
    super(exchange);
    this.#exchange = exchange;
    this.#reader = reader;
    this.#delivery = delivery;
    this.#devices = devices;
    this.#backlog = parts.backlog;
    this.#name = parts.name;
    this.receiveBufferBytes = receiveBufferBytes;
  }

  /** The groups that are bound, in the order in which they were. */
  get groups(): number[] {
    return [...this.#reader.groups.keys()];
  }

  /** What was received and lost so far. */
  get stats(): NflogStats {
    const { received, lostPackets, lostDatagrams, rejectedSenders } = this.#reader;
    return { received, lostPackets, lostDatagrams, droppedByBacklog: this.#delivery.dropped, rejectedSenders };
  }

  /**
   * The packets one by one. `break` lets go of the loop, not of the log: a later loop goes on from there. Loops that
   * run at the same time share the packets. `close()` ends them; an aborted `signal` has them throw its reason; the
   * end of a container that the log is of ends them when all that was logged before has been taken. @throws
   * StateError `ERR_CLOSED` (the call itself, not the first `next`).
   */
  [Symbol.asyncIterator](): AsyncIterableIterator<Packet<R>> {
    return this.#delivery.iterate() as AsyncIterableIterator<Packet<R>>;
  }

  /**
   * Calls `handler` with what has been read, one packet or thousands at a time: for high rates. An error that it throws is uncaught.
   * It runs in the asynchronous context of this call (AsyncLocalStorage). Returns a function that ends it. For handlers that count,
   * `onColumns` costs less. @throws StateError `ERR_CLOSED`
   * @example
   * const end = nflog.onBatch(packets => console.log(packets.length));
   * end();
   */
  onBatch(handler: (packets: readonly Packet<R>[]) => void): () => void {
    if (typeof handler !== 'function') throw typeError(['handler'], 'a function', handler);
    this.#mustBeOpen();
    return this.#delivery.onBatch(handler as (packets: readonly Packet[]) => void);
  }

  /**
   * As `onBatch`, without an object for each packet: for the highest rates. The columns are the handler's until it returns, because their
   * memory is read over then; they throw `ERR_CLOSED` afterwards. Returns a function that ends it. @throws StateError `ERR_CLOSED`
   * @param handler asks for properties by the number of a packet, and for a packet that it wants to keep
   * @example
   * let bytes = 0;
   * const end = nflog.onColumns(columns => {
   *   for (let i = 0; i < columns.length; i++) bytes += columns.payloadLength(i);
   * });
   * end();
   */
  onColumns(handler: (columns: PacketColumns<R>) => void): () => void {
    if (typeof handler !== 'function') throw typeError(['handler'], 'a function', handler);
    this.#mustBeOpen();
    return this.#delivery.onColumns(handler as (columns: PacketColumns) => void);
  }

  /**
   * Writes a record for each packet and for each loss to a logger: pino on the standard output where it is left out.
   * The message is 'packet', or 'packets were lost' at the level warn. Any logger with pino's methods will do. Every sink gets all packets.
   * @throws StateError `ERR_CLOSED`; TypeError or RangeError for bad options
   * @param logger takes the object first, then the sentence
   * @param options which fields, at which level, and whether addresses are hidden
   * @example
   * const records = nflog.to(undefined, { level: 'warn', redact: true });
   * await records.finished;
   */
  to(logger?: RecordLogger, options: RecordOptions<R> = {}): Sink {
    this.#mustBeOpen();
    const sink = new RecordSink(logger, options as RecordOptions, { name: this.#name, netns: this.#reader.netnsInode });
    return this.#add(sink, () => {
      sink.attach({ attach: consumer => this.#delivery.attach(consumer), onLoss: handler => this.onLoss(handler) });
    });
  }

  /**
   * Writes the packets to a Writable as a pcap file of link type NFLOG (239), which tcpdump, tshark and Wireshark read: the kernel's
   * messages as they came, prefix, devices' numbers and all. Ends the Writable when the log is closed. A packet's time is the kernel's, or
   * that of receipt.
   * `rotate` makes several files of it. @throws StateError `ERR_CLOSED`; TypeError or RangeError for bad options
   * @param writable a file or a pipe
   * @example
   * const capture = nflog.toPcap(fs.createWriteStream('web1.pcap'));
   * await capture.finished;
   */
  toPcap(writable: WritableTarget, rotate?: Rotation): Capture {
    return this.#capture(() => new PcapFormat(), writable, rotate);
  }

  /**
   * As `toPcap`, as a pcapng file: with the devices' names as interfaces, inbound or outbound as a flag, the prefix as a comment, and a
   * comment on packets that are missing before one. It costs up to twice the processor time of pcap.
   * @param writable a file or a pipe
   * @param rotate makes several files of it, by size or time
   * @example
   * const file = (index: number) => fs.createWriteStream(`web1-${index}.pcapng`);
   * nflog.toPcapng(file(0), { bytes: 100_000_000, next: file });
   */
  toPcapng(writable: WritableTarget, rotate?: Rotation): Capture {
    return this.#capture(() => new PcapngFormat(this.#origin), writable, rotate);
  }

  get #origin(): string {
    const namespace = `network namespace ${this.#reader.netnsInode}`;
    return this.#name === undefined ? namespace : `${this.#name}, ${namespace}`;
  }

  #capture(format: () => CaptureFormat, target: WritableTarget, rotate: Rotation | undefined): Capture {
    this.#mustBeOpen();
    const writable = checkWritable(target, ['writable']);
    const sink = new CaptureSink(format(), writable, checkRotation(rotate), this.#backlog);
    return this.#add(sink, () => void sink.attach(this.#delivery));
  }

  #add<S extends LogSink>(sink: S, attach: () => void): S {
    this.#sinks.add(sink);
    void sink.settled.then(() => this.#sinks.delete(sink));
    attach();
    return sink;
  }

  #mustBeOpen(): void {
    if (this.closed) throw closedError('the log');
  }

  /**
   * Calls `handler` for each loss that is found while packets are read, in the asynchronous context of this call. Returns a function that
   * ends it.
   * @throws StateError `ERR_CLOSED`
   * @example
   * nflog.onLoss(loss => console.warn('packets were lost', loss));
   */
  onLoss(handler: (loss: Loss) => void): () => void {
    if (typeof handler !== 'function') throw typeError(['handler'], 'a function', handler);
    this.#mustBeOpen();
    return this.#delivery.onLoss(handler);
  }

  /**
   * Keeps the process alive while packets are being taken; so it is from the start. @throws StateError `ERR_CLOSED`
   * @example
   * nflog.unref().ref();
   */
  ref(): this {
    this.#mustBeOpen();
    this.#reader.ref();
    return this;
  }

  /**
   * Lets the process end although packets are being taken. @throws StateError `ERR_CLOSED`
   * @example
   * nflog.unref();
   */
  unref(): this {
    this.#mustBeOpen();
    this.#reader.unref();
    return this;
  }

  /**
   * Closes, and resolves when the kernel has released the groups and files have been written to their end. Loops end,
   * and packets that they have not taken are dropped.
   */
  override async [Symbol.asyncDispose](): Promise<void> {
    const closing = this.#shut();
    this.#delivery.end();
    await closing;
  }

  /**
   * @internal Closes the log when nothing more will be logged: unbinds the groups, then reads and delivers the
   * packets that the kernel still has. Loops end behind the last packet.
   */
  async finish(): Promise<void> {
    if (this.#finishing || this.closed) return;
    this.#finishing = true;
    await this.#reader.drain();
    // The kernel delivers the packets that it has gathered for a group when the group is unbound.
    for (const group of this.groups) await this.removeGroup(group).catch(() => {});
    await this.#reader.drain();
    this.#delivery.finish();
    await this.#shut();
  }

  async #shut(): Promise<void> {
    if (!this.closed) letGo(this.#exchange);
    // First of all: code that is called when sinks end must find the log closed.
    const closing = super[Symbol.asyncDispose]();
    this.#unlisten();
    this.#closed?.();
    this.#closed = undefined;
    const sinks = [...this.#sinks];
    for (const sink of sinks) sink.endWith(this.#failure);
    this.#devices.close();
    await Promise.all([closing, ...sinks.map(sink => sink.settled)]);
  }
}

/** A container can write any prefix; so many are kept at a time. */
const MAX_PREFIXES = 4096;
/** Rules change, so an older answer is asked for again. */
const TRUSTED_MILLISECONDS = 1000;

/** Asks once a second for each prefix and group. */
function remember(rules: RuleResolver): RuleResolver {
  const known = new Map<string, { rule: unknown; asOf: number }>();
  return (prefix, group) => {
    const key = `${group} ${prefix}`;
    const now = performance.now();
    const found = known.get(key);
    if (found !== undefined && now - found.asOf < TRUSTED_MILLISECONDS) return found.rule;
    if (known.size >= MAX_PREFIXES) known.clear();
    const rule = rules(prefix, group);
    known.set(key, { rule, asOf: now });
    return rule;
  };
}

function groupsOf(groups: unknown): number[] {
  if (!Array.isArray(groups)) throw typeError(['groups'], 'an array of group numbers', groups);
  return groups.map((group, i) => {
    const number = checkGroup(group, ['groups', i]);
    if (groups.indexOf(number) !== i) throw rangeError(['groups', i], 'each group once', number);
    return number;
  });
}

/** Returns the size in force: the kernel doubles the size that it is given, and counts its own overhead in it. */
function setReceiveBuffer(socket: NetlinkSocket, bytes: number): number {
  const half = Math.ceil(bytes / 2);
  try {
    socket.setOption(SOL_SOCKET, SO_RCVBUFFORCE, half);
  } catch {
    socket.setOption(SOL_SOCKET, SO_RCVBUF, half);
  }
  return socket.getOptions(SOL_SOCKET, SO_RCVBUF, 1)[0]!;
}
