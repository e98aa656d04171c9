import { NO_CONTEXT, Writer } from '../codec/index.ts';
import { NetlinkError, type Path, StateError } from '../errors.ts';
import { NLM_F_REQUEST } from '../linux/netlink.ts';
import { NFNL_SUBSYS_ULOG } from '../linux/nfnetlink.ts';
import { NFULNL_MSG_CONFIG } from '../linux/nfnetlink_log.ts';
import {
  beginMessage,
  type Call,
  Exchange,
  endMessage,
  nfnetlinkType,
  type Operation,
  writeHeader,
} from '../netlink/index.ts';
import { retry } from '../netlink/retry.ts';
import type { NetNs } from '../netns/netns.ts';
import type { Observer } from '../observe.ts';
import { checkGroup, configTable, type Settings } from './config.ts';
import { explainPermission } from './group-owner.ts';
import type { PacketReader } from './reader.ts';

/**
 * The kernel drops an answer if the receive buffer is full. The request is then repeated, and the second answer tells
 * whether the first request was carried out.
 */
const ATTEMPTS = 10;

/** The exchange of a log, with what its operations need to know. */
export class LogExchange extends Exchange {
  readonly reader: PacketReader;
  readonly netns: NetNs;
  readonly settings: Settings;

  constructor(reader: PacketReader, netns: NetNs, settings: Settings, observer: Observer) {
    super(reader, 'nflog', observer);
    this.reader = reader;
    this.netns = netns;
    this.settings = settings;
  }
}

type Described = Pick<Call, 'subject'> & { readonly path: Path };

/** Binds a group with all of its settings in one message. */
export function* bind(exchange: LogExchange, group: number, { subject, path }: Described): Operation<void> {
  const { netns, settings, reader } = exchange;
  const hints: Record<string, () => string> = {
    EPERM: () => explainPermission(netns, group),
    EBUSY: () => `this log has group ${group} already`,
    EOPNOTSUPP: () => 'this kernel cannot add connections (nf_conntrack_netlink, CONFIG_NETFILTER_NETLINK_GLUE_CT)',
    EINVAL: () => 'the kernel has no NFLOG: load the module on the host (modprobe nfnetlink_log)',
  };
  const request: Call = {
    type: nfnetlinkType(NFNL_SUBSYS_ULOG, NFULNL_MSG_CONFIG),
    syscall: 'NFULNL_MSG_CONFIG',
    subject,
    hint: code => hints[code]?.(),
    blame: code => (code === 'EOPNOTSUPP' && path.length > 0 ? ['conntrack'] : path),
    write: writer => {
      writeHeader(writer, 0, group);
      configTable.write(writer, { command: 'bind', ...settings }, NO_CONTEXT);
    },
  };
  const had = reader.groups.has(group);
  yield* confirm(exchange, request, had ? undefined : 'EBUSY');
  // The first packets may have arrived before the acknowledgement.
  if (!reader.groups.has(group)) reader.groups.set(group, 0);
}

function* unbind(exchange: LogExchange, group: number): Operation<void> {
  const { netns, reader } = exchange;
  const hints: Record<string, () => string> = {
    EPERM: () => explainPermission(netns, group),
    ENODEV: () => `nobody has group ${group}`,
  };
  const request: Call = {
    type: nfnetlinkType(NFNL_SUBSYS_ULOG, NFULNL_MSG_CONFIG),
    syscall: 'NFULNL_MSG_CONFIG',
    subject: group,
    hint: code => hints[code]?.(),
    write: writer => {
      writeHeader(writer, 0, group);
      configTable.write(writer, { command: 'unbind' }, NO_CONTEXT);
    },
  };
  yield* confirm(exchange, request, reader.groups.has(group) ? 'ENODEV' : undefined);
  reader.groups.delete(group);
}

/**
 * Unbinds all groups without waiting for answers. Closing the socket would unbind them too, but only when the kernel
 * has cleaned it up: until then the next log would find its group taken.
 */
export function letGo({ reader }: LogExchange): void {
  if (reader.groups.size === 0) return;
  const writer = new Writer(256);
  for (const group of reader.groups.keys()) {
    const start = beginMessage(writer, nfnetlinkType(NFNL_SUBSYS_ULOG, NFULNL_MSG_CONFIG), NLM_F_REQUEST, 0);
    writeHeader(writer, 0, group);
    configTable.write(writer, { command: 'unbind' }, NO_CONTEXT);
    endMessage(writer, start);
  }
  reader.send(writer.bytes, writer.length);
}

/**
 * Sends a request until it is answered. If the receive buffer is full of packets the kernel drops the answer
 * silently, but has carried out the request. The second answer is then the error `done`, which counts as success.
 */
function* confirm(exchange: Exchange, request: Call, done: string | undefined): Operation<void> {
  const again = (error: unknown) =>
    error instanceof NetlinkError
      ? error.syscall === 'recvmsg'
      : error instanceof StateError && error.code === 'ERR_NO_REPLY';
  yield* retry(
    'the answers of the log',
    function* (attempt) {
      try {
        yield* exchange.request(request);
      } catch (error) {
        if (attempt === 1 || !(error instanceof NetlinkError) || error.code !== done) throw error;
      }
    },
    { attempts: ATTEMPTS, again, exhausted: error => error },
  );
}

/** The requests of a log. */
export class NflogOperations {
  readonly #exchange: LogExchange;

  constructor(exchange: Exchange) {
    this.#exchange = exchange as LogExchange;
  }

  /**
   * Listens to one more group. @throws NetlinkError EBUSY this log has it already, EPERM another socket has it, or no right to.
   * @param group 0 to 65,535
   * @example
   * await nflog.addGroup(6);
   */
  *addGroup(group: number): Operation<void> {
    checkGroup(group, ['group']);
    yield* bind(this.#exchange, group, { subject: group, path: [] });
  }

  /**
   * Lets go of a group; what the kernel has gathered for it still arrives. @throws NetlinkError ENODEV nobody has it, EPERM another socket
   * has it.
   * @param group 0 to 65,535
   * @example
   * await nflog.removeGroup(5);
   */
  *removeGroup(group: number): Operation<void> {
    checkGroup(group, ['group']);
    yield* unbind(this.#exchange, group);
  }
}
