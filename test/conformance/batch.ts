import { fromHex, sourceOf } from '../../src/codec/index.ts';
import { NLM_F_ACK, NLM_F_CREATE, NLM_F_REQUEST } from '../../src/linux/netlink.ts';
import { messagesIn, NetlinkSocket } from '../../src/netlink/index.ts';
import { withReadableTypeof } from '../../src/nft/typeof.ts';
import { decodeMessage } from '../../src/nftables/index.ts';

/* Batches to the kernel, as they are compared with those that nft has sent. */

/** Keeps what it sends. */
export class RecordingSocket extends NetlinkSocket {
  /** The datagrams that begin with the beginning of a batch, since `forget`. */
  batches: Uint8Array[] = [];

  override send(bytes: Uint8Array, length: number): number {
    this.#keep(bytes.slice(0, length));
    return super.send(bytes, length);
  }

  override sendParts(parts: readonly Uint8Array[]): number {
    this.#keep(Buffer.concat(parts));
    return super.sendParts(parts);
  }

  #keep(datagram: Uint8Array): void {
    const [first] = messagesIn(sourceOf(datagram));
    if (first !== undefined && first.type === BATCH_BEGIN) this.batches.push(datagram);
  }
}

/** NFNL_MSG_BATCH_BEGIN */
const BATCH_BEGIN = 0x10;

export function bytesOf(hex: string): Uint8Array {
  const bytes = fromHex(hex);
  if (bytes === undefined) throw new Error(`not hex: ${hex}`);
  return bytes;
}

/**
 * The messages of a batch, one a line: type, family, flags and what it says, the codec's names in the order of the alphabet. What differs from
 * line to line between programs and means the same to the kernel is left out:
 * - NLM_F_CREATE of tables: they are made without it, too;
 * - the types of the attributes in a list of elements: nft counts them, the kernel does not look;
 * - the order of the elements of a set, and the numbers that sets, chains and rules have for the time of the batch;
 * - the number of a set that has a name, in rules: the kernel looks for the name first;
 * - the order of the devices of a chain or flowtable: nft turns it round, and lists them sorted; the data of an object that goes;
 * - descriptions of types that another version of nft would take for something else: they are not written;
 * - the operation of a bitwise that has none: mask and xor; names of objects that do not end with a zero.
 */
export function linesOf(datagrams: readonly Uint8Array[]): string[] {
  const labels = new Labels();
  return datagrams.flatMap(datagram =>
    [...messagesIn(sourceOf(datagram))].flatMap(({ start, end }) => {
      const { type, family, flags = 0, object } = decodeMessage(datagram.subarray(start, end));
      if (type.startsWith('batch')) return [];
      const { numbered: _, ...content } = type === 'newset' ? withReadableTypeof(object as Fields) : (object as Fields);
      if (type === 'newset' || type === 'newchain' || type === 'newrule') labels.define(type.slice(3), content);
      const settled = labels.settled(content) as Fields;
      if (Array.isArray(settled.devices)) settled.devices.sort();
      if (type === 'delobj') delete settled.data;
      if (Array.isArray(settled.elements)) settled.elements = settled.elements.map(each => JSON.stringify(each)).sort();
      const ignored = NLM_F_ACK | NLM_F_REQUEST | (type === 'newtable' ? NLM_F_CREATE : 0);
      return [`${type} ${family} 0x${(flags & ~ignored).toString(16)} ${JSON.stringify(settled)}`];
    }),
  );
}

type Fields = Record<string, unknown>;

/** The attributes of objects that refer to a number of the batch, and the kind that has it. */
const NUMBERS: Readonly<Record<string, string>> = { setId: 'set', chainId: 'chain', positionId: 'rule' };

/** Gives each number of a batch a name that says what it stands for. */
class Labels {
  readonly #labels = new Map<string, string>();
  readonly #counts = new Map<string, number>();

  /** Replaces the number of what a message makes. Nobody refers to most rules. */
  define(kind: string, content: Fields): void {
    const { id, name } = content;
    if (id === undefined) return;
    const key = `${kind} ${name ?? ''}`;
    const count = (this.#counts.get(key) ?? 0) + 1;
    this.#counts.set(key, count);
    this.#labels.set(`${kind} ${id}`, `${key} ${count}`);
    if (kind === 'rule') delete content.id;
    else content.id = `${key} ${count}`;
  }

  settled(value: unknown): unknown {
    if (typeof value === 'bigint') return `${value}`;
    if (Array.isArray(value)) return value.map(each => this.settled(each));
    if (typeof value !== 'object' || value === null) return value;
    const found: Fields = {};
    const fields = withNames(value as Fields);
    for (const key of Object.keys(fields).sort()) {
      const kind = NUMBERS[key];
      if (kind === undefined) {
        if (key !== 'op' || fields[key] !== 'mask-xor') found[key] = this.settled(fields[key]);
      } else if (kind !== 'set' || typeof fields.set !== 'string' || fields.set.includes('%'))
        found[key] = this.#labels.get(`${kind} ${fields[key]}`) ?? fields[key];
    }
    return found;
  }
}

const OBJREF_NAMES: Readonly<Record<number, string>> = { 2: 'name', 4: 'set' };

/** nft sends the names in a reference to an object without their NUL, which the codec keeps raw: here both are alike. */
function withNames(value: Fields): Fields {
  const { objref } = value as { objref?: { unknown?: { type: number; bytes: string }[] } };
  if (objref?.unknown === undefined) return value;
  const { unknown, ...fields } = objref as Fields;
  const others = objref.unknown.filter(({ type, bytes }) => {
    const field = OBJREF_NAMES[type];
    if (field === undefined || bytes.endsWith('00')) return true;
    fields[field] = Buffer.from(bytes, 'hex').toString();
    return false;
  });
  if (others.length > 0) fields.unknown = others;
  return { ...value, objref: fields };
}
