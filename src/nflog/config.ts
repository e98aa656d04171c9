import {
  attribute,
  attributes,
  checkInteger,
  checkObject,
  checkOneOf,
  flags,
  named,
  opt,
  struct,
  U8,
  U16_BE,
  U32_BE,
  u32be,
} from '../codec/index.ts';
import { type Path, typeError } from '../errors.ts';
import * as C from '../linux/nfnetlink_log.ts';

/**
 * How much of each packet the kernel copies: 'none' copies the prefix and the sequence numbers only, 'meta' all
 * attributes but the payload, `bytes` at most so many bytes of the payload.
 */
export type Copy =
  | 'none'
  | 'meta'
  | {
      /** How much of each packet is copied, in bytes. */
      bytes: number;
    };

/**
 * When the kernel delivers the packets that it has gathered: at whichever limit comes first. In batches a packet
 * costs a quarter of the processor time.
 */
export interface Queue {
  /**
   * Packets, 1 (each at once) to 4,294,967,295; 1000 by default. A rule's own queue-threshold counts if it is
   * smaller.
   */
  packets?: number;
  /**
   * Milliseconds since the first packet of the batch, 0 to 42,949,670; 10 by default. The kernel counts in 1/100 s
   * and rounds up to its tick.
   */
  milliseconds?: number;
  /** Bytes of one batch, 8,192 to 131,072; 65,536 by default. The kernel allocates one such buffer for each group. */
  bufferBytes?: number;
}

/** Limits the packets that the `for await` loop has not taken yet. */
export interface BacklogOptions {
  /**
   * Packets kept in this process, 1 to 16,777,216; 16,384 by default. Each keeps the memory alive that it was
   * received in.
   */
  packets?: number;
  /**
   * 'leave-to-kernel' (default) stops reading; then the kernel's receive buffer fills, and the kernel drops packets,
   * which are counted as lost. It exceeds `packets` by at most one batch. 'drop-oldest' and 'drop-newest' continue to
   * read; dropped packets are counted in `droppedByBacklog`.
   */
  when?: BacklogPolicy;
}

/** The policies for a full backlog: the values of `backlog.when`. */
export type BacklogPolicy = (typeof POLICIES)[number];
const POLICIES = ['drop-oldest', 'drop-newest', 'leave-to-kernel'] as const;

/** `struct nfulnl_msg_config_mode`. */
const configMode = struct('nfulnl_msg_config_mode', {
  copy_range: [4, U32_BE],
  copy_mode: [1, named(U8, { none: C.NFULNL_COPY_NONE, meta: C.NFULNL_COPY_META, packet: C.NFULNL_COPY_PACKET })],
  _pad: [1, U8],
});

/**
 * The settings of a group. The kernel takes all of them in one message, the command first, so that no packet is
 * logged under half of the settings. It silently ignores an unknown mode and a size out of range, so both are checked
 * here.
 */
export const configTable = attributes('NFULA_CFG', () => ({
  command: opt(attribute(C.NFULA_CFG_CMD, named(U8, { bind: C.NFULNL_CFG_CMD_BIND, unbind: C.NFULNL_CFG_CMD_UNBIND }))),
  mode: opt(attribute(C.NFULA_CFG_MODE, configMode)),
  /** Bytes of a batch. */
  bufferBytes: opt(u32be(C.NFULA_CFG_NLBUFSIZ)),
  /** In 1/100 s. */
  timeout: opt(u32be(C.NFULA_CFG_TIMEOUT)),
  /** Packets of a batch. */
  packets: opt(u32be(C.NFULA_CFG_QTHRESH)),
  flags: opt(
    attribute(
      C.NFULA_CFG_FLAGS,
      flags(U16_BE, {
        sequence: C.NFULNL_CFG_F_SEQ,
        'sequence-global': C.NFULNL_CFG_F_SEQ_GLOBAL,
        conntrack: C.NFULNL_CFG_F_CONNTRACK,
      }),
    ),
  ),
}));

type Config = NonNullable<ReturnType<typeof configTable.read>>;

/** The settings that a log binds each of its groups with. */
export type Settings = Omit<Config, 'command' | 'unknown'>;

/** The kernel's own limit: an attribute's 16-bit length without its header. */
const MAX_COPY = 0xffff - 4;
/** NFULNL_NLBUFSIZ_DEFAULT is 3776 with pages of 4 KiB and at most 7872: this is above it everywhere. */
const MIN_BATCH = 8192;
const MAX_BATCH = 131072;
/** The kernel multiplies the hundredths by HZ (at most 1000) in 32 bits. */
const MAX_TIMEOUT = Math.floor(0xffffffff / 1000) * 10;

export function checkGroup(value: unknown, path: Path): number {
  return checkInteger(value, path, 0, 0xffff);
}

export function checkFlag(value: unknown, path: Path): boolean {
  if (typeof value !== 'boolean') throw typeError(path, 'true or false', value);
  return value;
}

export function settingsOf(options: {
  copy?: Copy;
  queue?: Queue;
  sequence?: boolean;
  globalSequence?: boolean;
  conntrack?: boolean;
}): Settings {
  const { queue = {} } = options;
  checkObject(queue, ['queue'], ['packets', 'milliseconds', 'bufferBytes']);
  const { packets = 1000, milliseconds = 10, bufferBytes = 65536 } = queue;
  const settings: Settings = {
    mode: modeOf(options.copy ?? { bytes: MAX_COPY }),
    bufferBytes: checkInteger(bufferBytes, ['queue', 'bufferBytes'], MIN_BATCH, MAX_BATCH),
    timeout: Math.ceil(checkInteger(milliseconds, ['queue', 'milliseconds'], 0, MAX_TIMEOUT) / 10),
    packets: checkInteger(packets, ['queue', 'packets'], 1, 0xffffffff),
    flags: [],
  };
  if (checkFlag(options.sequence ?? true, ['sequence'])) settings.flags!.push('sequence');
  if (checkFlag(options.globalSequence ?? false, ['globalSequence'])) settings.flags!.push('sequence-global');
  if (checkFlag(options.conntrack ?? false, ['conntrack'])) settings.flags!.push('conntrack');
  return settings;
}

function modeOf(copy: Copy): NonNullable<Settings['mode']> {
  if (typeof copy === 'string')
    return { copy_range: 0, copy_mode: checkOneOf(copy, ['copy'], ['none', 'meta'] as const) };
  checkObject(copy, ['copy'], ['bytes']);
  return { copy_range: checkInteger(copy.bytes, ['copy', 'bytes'], 1, MAX_COPY), copy_mode: 'packet' };
}

export function backlogOf(options: BacklogOptions = {}): Required<BacklogOptions> {
  checkObject(options, ['backlog'], ['packets', 'when']);
  const { packets = 16384, when = 'leave-to-kernel' } = options;
  return {
    packets: checkInteger(packets, ['backlog', 'packets'], 1, 1 << 24),
    when: checkOneOf(when, ['backlog', 'when'], POLICIES),
  };
}
