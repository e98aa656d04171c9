import type { Namespace } from '../../machine/state.ts';
import type { Packet } from '../../packets/packet.ts';
import type { Attributes, Writer } from '../../wire/attributes.ts';
import type { Codec, RuleContext } from '../context.ts';
import type { Chain, Expression, NftObject, Rule, Verdict } from '../state.ts';

/** A hook that runs: the family and the number of the hook. */
export interface HookPoint {
  readonly family: number;
  readonly hook: number;
}

/** What expressions need of the kernel around them. */
export interface Engine extends Codec {
  /** Nanoseconds since 1970. */
  readonly wallClock: bigint;
  run(expression: Expression, run: Run): Outcome;
  /** Lets a named object have a packet. @returns whether the rule goes on */
  take(object: NftObject, run: Run): boolean;
}

/** What a rule may ask of the path that its packet takes. */
export interface PacketPath {
  /** Answers with an ICMP error, or with a TCP reset where there is no code, and drops the packet. */
  reject(code: number | undefined, run: Run): Outcome;
  /** A counter of the rule has counted the packet. */
  counted(run: Run): void;
  /** Tells those that listen to a group of NFLOG. */
  log(expression: Expression, run: Run): void;
  /** Sends a copy to a neighbour, by the device of that index where there is one. */
  copy(gateway: Uint8Array, device: number | undefined, run: Run): void;
  /** Sends a copy out by a device. */
  copyTo(device: number, run: Run): void;
  /** The packet leaves by another device. */
  redirect(device: number): void;
}

/** A packet in a chain. */
export interface Run {
  readonly engine: Engine;
  readonly namespace: Namespace;
  readonly path: PacketPath;
  readonly packet: Packet;
  readonly point: HookPoint;
  readonly chain: Chain;
  rule: Rule | undefined;
  /** 80 bytes: words 4 to 19 are the values. */
  readonly registers: Uint8Array;
  readonly view: DataView;
}

/** The rule goes on, does not match, or ends with a verdict. */
export type Outcome = undefined | 'break' | Verdict;

/** A base chain from which an expression can be reached. */
export interface Reached {
  readonly family: number;
  readonly type: string;
  readonly hook: number;
}

/** A kind of expression: how the kernel reads it from a message, writes it into one, and carries it out on a packet. */
export interface ExpressionType {
  read(attributes: Attributes | undefined, context: RuleContext): Omit<Expression, 'name'>;
  write(expression: Expression, writer: Writer, engine: Codec): void;
  run(expression: Expression, run: Run): Outcome;
  /** Whether base chains of that kind may lead to it; all may where this is absent. */
  allows?(expression: Expression, reached: Reached): boolean;
}

export const numberOf = (expression: Expression, field: string): number => expression.values[field] as number;
export const bytesOf = (expression: Expression, field: string): Uint8Array => expression.values[field] as Uint8Array;

/** The bytes of a register. */
export const registerBytes = ({ registers }: Run, word: number, length: number): Uint8Array =>
  registers.subarray(word * 4, word * 4 + length);

/** Puts bytes into a register; the rest of their last word is zero. */
export function store({ registers }: Run, word: number, bytes: Uint8Array): void {
  const start = word * 4;
  registers.set(bytes, start);
  registers.fill(0, start + bytes.length, (start + bytes.length + 3) & ~3);
}

/** Puts a number of the host's byte order into a register, as nft_reg_store8, 16 and 64 and an assignment do. */
export function storeNumber({ view }: Run, word: number, value: number): void {
  view.setUint32(word * 4, value, true);
}

/** memcmp() */
export function compare(left: Uint8Array, right: Uint8Array): number {
  for (let i = 0; i < left.length; i++) {
    const difference = left[i]! - right[i]!;
    if (difference !== 0) return difference;
  }
  return 0;
}
